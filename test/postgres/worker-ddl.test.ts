import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { brief, fieldOf, makeBed, type WorkerBed } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});

afterAll(async () => {
  await server?.stop();
});

const setup = `create table orders (id integer primary key, status text, total integer, secret text);
  create table customers (id integer primary key, name text)`;
const customers = { table: 'public.customers' };
const HELD_GROUP = 'table:public.orders';

async function held(bed: WorkerBed, count: number): Promise<void> {
  await eventually(
    async () =>
      (await bed.sql(`select 1 from banyan.dead_letter where status = 'parked' and group_key = '${HELD_GROUP}'`))
        .length === count,
    () => `never ${count} held changes`,
    { timeoutMs: 15_000 },
  );
}

describe('DDL in mid-stream, with a mapping that names no column', () => {
  test('added, dropped, renamed and retyped columns are in the events from the next row on', async () => {
    await using bed = await makeBed(server, { name: 'free_ddl', setup });
    await bed.start({ capture: [{ table: 'public.orders' }] });
    await bed.sql(`insert into orders values (1, 'new', 5, 's');
      alter table orders add column weight numeric(6,2) default 1.50;
      insert into orders values (2, 'new', 5, 's', 2.25);
      alter table orders drop column secret;
      insert into orders values (3, 'new', 5, 3);
      alter table orders rename column status to state;
      insert into orders values (4, 'new', 5, 4);
      alter table orders alter column total type text using total || ' EUR';
      insert into orders values (5, 'new', 'five', 5);
      update orders set total = 'six' where id = 1`);
    await bed.confirmed();
    const byKey = new Map(
      bed.events.map(({ metadata, data }) => [`${metadata.operation} ${String(metadata.key['id'])}`, data]),
    );
    expect(Object.fromEntries(byKey)).toEqual({
      'insert 1': { id: 1, status: 'new', total: 5, secret: 's' },
      'insert 2': { id: 2, status: 'new', total: 5, secret: 's', weight: '2.25' },
      'insert 3': { id: 3, status: 'new', total: 5, weight: '3.00' },
      'insert 4': { id: 4, state: 'new', total: 5, weight: '4.00' },
      'insert 5': { id: 5, state: 'new', total: 'five', weight: '5.00' },
      'update 1': { id: 1, state: 'new', total: 'six', weight: '1.50' },
    });
  });

  test('a type that did not exist when the worker started is written as the server would', async () => {
    await using bed = await makeBed(server, { name: 'new_type', setup });
    await bed.start({ capture: [{ table: 'public.orders' }] });
    await bed.sql(`create type money_amount as (amount numeric, currency text);
      create type mood as enum ('sad', 'ok');
      alter table orders add column price money_amount, add column moods mood[];
      insert into orders (id, price, moods) values (1, row(1.50, 'EUR'), '{sad,NULL}')`);
    await bed.accepted(1);
    expect(bed.events[0]?.data).toMatchObject({ price: { amount: '1.50', currency: 'EUR' }, moods: ['sad', null] });
  });
});

describe('a mapping that names a column which vanishes', () => {
  const naming = {
    table: 'public.orders',
    detail: { orderId: 'id', state: 'status' },
  };
  const mended = { table: 'public.orders', detail: { orderId: 'id', state: 'state' } };

  test('holds its table, lets the others flow, and sends all in order after the mend and a redrive', async () => {
    await using bed = await makeBed(server, { name: 'renamed', setup });
    const first = await bed.start({ capture: [naming, customers] });
    await bed.sql(`insert into orders values (1, 'a'); insert into customers values (1, 'x')`);
    await bed.sql(`alter table orders rename column status to state`);
    await bed.sql(`update orders set state = 'b'; insert into orders values (2, 'a'); update orders set state = 'c';
      update customers set name = 'y'; delete from orders where id = 2`);
    await held(bed, 5);
    await bed.confirmed();
    expect(first.status().state).toBe('streaming');
    expect(first.table('public.orders').held).toMatchObject({ kind: 'schema-drift' });
    expect(first.table('public.orders').held?.message).toContain('status');
    expect(first.table('public.customers').held).toBeUndefined();
    expect(fieldOf(bed.events, { key: 1, field: 'name' })).toEqual([undefined, 'x', 'y']);
    await first.stop();

    const second = await bed.start({ capture: [mended, customers] });
    expect(second.table('public.orders').held).toBeDefined();
    await bed.sql(`update orders set state = 'd'`);
    await held(bed, 6);
    expect(await bed.ask('redrive', { table: 'public.orders' })).toEqual({
      sent: 6,
      parked: 0,
      withoutEvent: 0,
      stopped: [],
    });
    expect(second.table('public.orders').held).toBeUndefined();
    await bed.sql(`update orders set state = 'e'`);
    await bed.confirmed();
    const orders = bed.events.filter(({ metadata }) => metadata.table === 'public.orders');
    expect(brief(orders.filter(({ metadata }) => metadata.key['id'] === 1))).toHaveLength(5);
    expect(fieldOf(orders, { key: 1, field: 'state' })).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(brief(orders.filter(({ metadata }) => metadata.key['id'] === 2))).toEqual([
      'insert 2',
      'update 2',
      'delete 2',
    ]);
    const sequences = orders
      .filter(({ metadata }) => metadata.key['id'] === 1)
      .map(({ metadata }) => metadata.sequence);
    expect(sequences).toEqual(sequences.toSorted());
    expect(new Set(orders.map(({ metadata }) => metadata.id)).size).toBe(orders.length);
  });

  test('is held on through restarts that mend nothing, and a redrive then says why', async () => {
    await using bed = await makeBed(server, { name: 'unmended', setup });
    const first = await bed.start({ capture: [naming, customers] });
    await bed.sql(
      `insert into orders values (1, 'a'); alter table orders drop column status; insert into orders values (2)`,
    );
    await held(bed, 1);
    await first.stop();
    const second = await bed.start({ capture: [naming, customers] });
    await bed.sql(`insert into orders values (3); insert into customers values (1, 'x')`);
    await held(bed, 2);
    await bed.confirmed();
    expect(second.table('public.orders').held?.kind).toBe('schema-drift');
    expect(await bed.ask('redrive', { all: true })).toMatchObject({ sent: 0, stopped: [{ group: HELD_GROUP }] });
    await held(bed, 2);
    expect(second.status().findings).toMatchObject([{ code: 'MAPPING_BROKEN', subject: 'public.orders' }]);
  });

  test('is not released by a redrive while it still does not fit, even where nothing waits any more', async () => {
    await using bed = await makeBed(server, { name: 'not_released', setup });
    const running = await bed.start({ capture: [naming, customers] });
    await bed.sql(`alter table orders rename column status to state; insert into orders values (1, 'a')`);
    await held(bed, 1);
    await bed.ask('discard', { table: 'public.orders' });
    expect(await bed.ask('redrive', { table: 'public.orders' })).toMatchObject({ stopped: [{ group: HELD_GROUP }] });
    await bed.sql(`insert into orders values (2, 'b')`);
    await held(bed, 1);
    expect(running.table('public.orders').held).toBeDefined();
  });

  test('flows again without a restart where the column came back', async () => {
    await using bed = await makeBed(server, { name: 'came_back', setup });
    await bed.start({ capture: [naming] });
    await bed.sql(`insert into orders values (1, 'a'); alter table orders rename column status to state;
      alter table orders rename column state to status; update orders set status = 'b'`);
    await bed.accepted(2);
    await bed.sql(`alter table orders rename column status to state; update orders set state = 'c'`);
    await held(bed, 1);
    await bed.sql(`alter table orders rename column state to status; update orders set status = 'd'`);
    await held(bed, 2);
    // The change that was stored without the column can not become an event; given up, the later one can.
    expect(await bed.ask('redrive', { all: true })).toMatchObject({ sent: 0, stopped: [{ group: HELD_GROUP }] });
    const [letter] = await bed.sql<{ id: string }>(
      `select min(id) as id from banyan.dead_letter where status = 'parked'`,
    );
    await bed.ask('discard', { ids: [Number(letter?.id)] });
    expect(await bed.ask('redrive', { all: true })).toMatchObject({ sent: 1, stopped: [] });
    await bed.sql(`update orders set status = 'e'`);
    await bed.confirmed();
    expect(fieldOf(bed.events, { key: undefined, field: 'orderId' })).toEqual([]);
    expect(bed.events.map(({ data }) => data['state'])).toEqual(['a', 'b', 'd', 'e']);
  });

  test('halts past the hold limit, and nothing is lost', async () => {
    await using bed = await makeBed(server, { name: 'hold_limit', setup });
    const limited = { ...naming, holdLimit: { rows: 5 } };
    const first = await bed.start({ capture: [limited] });
    await bed.sql(`alter table orders rename column status to state`);
    await bed.sql(`insert into orders select g, 'a' from generate_series(1, 20) g`);
    const { problem } = await first.reaches('halted');
    expect(problem?.kind).toBe('hold-limit');
    expect(problem?.message).toContain('public.orders');
    await first.stop();
    const second = await bed.start({ capture: [mended] });
    await bed.confirmed();
    await bed.ask('redrive', { all: true });
    expect(new Set(bed.events.map(({ data }) => data['orderId'])).size).toBe(20);
    expect(new Set(bed.events.map(({ metadata }) => metadata.id)).size).toBe(20);
    expect(second.table('public.orders').held).toBeUndefined();
  });

  test('in a CEL expression: a changed type that does not fit holds the table too', async () => {
    await using bed = await makeBed(server, { name: 'retyped', setup });
    const typed = { table: 'public.orders', detail: { twice: { cel: 'row.total * 2' } } };
    const running = await bed.start({ capture: [typed] });
    await bed.sql(`insert into orders values (1, 'a', 4)`);
    await bed.accepted(1);
    await bed.sql(`alter table orders alter column total type text; update orders set total = 'four'`);
    await held(bed, 1);
    expect(running.table('public.orders').held?.kind).toBe('schema-drift');
  });
});

describe('a column that must not leave and vanishes', () => {
  test.each([
    ['excluded', { exclude: ['secret'] }],
    ['masked', { mask: { secret: 'redact' } }],
    ['masked in a detail', { detail: { s: { column: 'secret', mask: 'redact' } } }],
  ])('halts where it was %s, since its values might leave under another name', async (name, options) => {
    await using bed = await makeBed(server, { name: `secret_${name.replaceAll(' ', '_')}`, setup });
    const running = await bed.start({ capture: [{ table: 'public.orders', ...options }] });
    await bed.sql(`alter table orders rename column secret to hidden; insert into orders values (1, 'a', 1, 'TOP')`);
    const { problem } = await running.reaches('halted');
    expect(problem?.message).toContain('secret');
    expect(problem?.remedy).not.toBe('');
    expect(bed.events).toEqual([]);
    const stored = await bed.sql(`select 1 from banyan.dead_letter where concat(event, change, message) like '%TOP%'`);
    expect(stored).toEqual([]);
    await running.stop();
    const renamed = JSON.parse(JSON.stringify(options).replaceAll('secret', 'hidden')) as object;
    await bed.start({ capture: [{ table: 'public.orders', ...renamed }] });
    await bed.accepted(1);
    expect(bed.events[0]?.detail).not.toContain('TOP');
  });
});

test('a table that is dropped before its rows are decoded does not stop the stream', async () => {
  await using bed = await makeBed(server, { name: 'dropped', setup });
  const first = await bed.start({ capture: [{ table: 'public.orders' }, customers] });
  await first.stop();
  await bed.sql(`insert into orders values (1, 'a'); insert into customers values (1, 'x'); drop table orders`);
  // Named in the configuration and gone: a finding, or a gap, but never silence.
  const running = await bed.start({ capture: [{ table: 'public.orders' }, customers] }, { dontWait: true });
  const { problem } = await running.reaches('halted');
  expect(problem?.message).toContain('orders');
  await running.stop();
  await bed.start({ capture: [customers] });
  await bed.confirmed();
  expect(bed.events.map(({ metadata }) => metadata.table)).toEqual(['public.customers']);
});
