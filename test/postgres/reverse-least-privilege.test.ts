import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { bodyOf, makeReverseWorkerBed } from '../support/reverse-worker-bed.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server?.stop());

const NAME = 'least_privilege';

const SETUP = `
  create schema shop; create schema kinds; create type kinds.state as enum ('placed', 'shipped');
  create table shop.customers (id int primary key, name text, secret text);
  create table shop.orders (
    id bigint primary key, customer int references shop.customers, state kinds.state, total numeric(10,2) check (total >= 0),
    note text, number serial, place int generated always as identity);
  create table shop.lines (order_id bigint, line int, sku text, primary key (order_id, line)) partition by hash (order_id);
  create table shop.lines_0 partition of shop.lines for values with (modulus 2, remainder 0);
  create table shop.lines_1 partition of shop.lines for values with (modulus 2, remainder 1);
  create table shop.gone (id int primary key, note text);
  create table shop.private (id int primary key);
  insert into shop.customers values (1, 'Ada', 'x'); insert into shop.gone values (1, 'old'), (2, 'older');
  create function shop.upper_note() returns trigger language plpgsql as 'begin new.note := upper(new.note); return new; end';
  create trigger upper_note before insert or update on shop.orders for each row execute function shop.upper_note()`;

const version = 'detail.version';
const entry = (type: string, more: object) => ({ match: { 'detail-type': [type] }, version, ...more });
const APPLY = [
  entry('Order', {
    table: 'shop.orders',
    operation: 'upsert',
    key: { id: 'detail.id' },
    set: { customer: 'detail.customer', state: 'detail.state', total: 'detail.total', note: 'detail.note' },
  }),
  entry('State', {
    table: 'shop.orders',
    operation: 'update',
    carries: 'patch',
    key: { id: 'detail.id' },
    set: { state: 'detail.state' },
  }),
  entry('Line', {
    table: 'shop.lines',
    operation: 'insert',
    key: { order_id: 'detail.order', line: 'detail.line' },
    set: { sku: 'detail.sku' },
  }),
  entry('LineGone', {
    table: 'shop.lines',
    operation: 'delete',
    key: { order_id: 'detail.order', line: 'detail.line' },
  }),
  entry('Gone', { table: 'shop.gone', operation: 'delete', key: { id: 'detail.id' }, conflict: 'new-wins' }),
  entry('Named', {
    table: 'shop.customers',
    operation: 'update',
    key: { id: 'detail.id' },
    set: { name: 'detail.name' },
    expect: { name: 'detail.before' },
  }),
];
const CAPTURE = ['orders', 'customers', 'lines', 'gone'].map((name) => ({ table: `shop.${name}` }));

test('everything that events do is done by a role with what init --role grants, and no other right', async () => {
  await using bed = await makeReverseWorkerBed(server, { name: NAME, setup: SETUP });
  const worker = await bed.startRunning({ capture: CAPTURE, reverse: { apply: APPLY } });
  const send = (id: string, type: string, detail: object) => bed.queue.send(bodyOf({ id, type, detail }));
  const order = { customer: 1, state: 'placed', total: '9.90', note: 'call' };
  await send('o-1', 'Order', { id: 1, version: 1, ...order });
  await send('l-1', 'Line', { order: 1, line: 1, sku: 'a', version: 1 });
  await send('l-2', 'Line', { order: 1, line: 2, sku: 'b', version: 1 });
  await send('g-1', 'Gone', { id: 1, version: 1 });
  await send('c-1', 'Named', { id: 1, name: 'Ada L.', before: 'Ada', version: 1 });
  await bed.queue.empty();
  await send('o-2', 'Order', { id: 1, version: 2, ...order, state: 'shipped', total: '19.80' });
  await send('s-1', 'State', { id: 1, version: 3, state: 'placed' });
  await send('l-3', 'LineGone', { order: 1, line: 2, version: 2 });
  // A repeat, a late one, one that nobody knew of (refused), one that a constraint refuses, one whose parent is not there yet.
  await send('o-1', 'Order', { id: 1, version: 1, ...order });
  await send('o-0', 'Order', { id: 1, version: 0, ...order });
  await send('c-2', 'Named', { id: 1, name: 'B', before: 'somebody else', version: 1 });
  await send('o-3', 'Order', { id: 2, version: 1, ...order, total: '-1' });
  await send('o-4', 'Order', { id: 3, version: 1, ...order, customer: 2 });
  await bed.queue.empty();
  await bed.sql(`insert into shop.customers values (2, 'Bob')`);
  await eventually(async () => (await bed.sql('select from shop.orders where id = 3')).length === 1);

  expect(
    await bed.sql(
      'select id, customer, state, total, note, number is not null as numbered from shop.orders order by id',
    ),
  ).toEqual([
    { id: '1', customer: 1, state: 'placed', total: '19.80', note: 'CALL', numbered: true },
    { id: '3', customer: 2, state: 'placed', total: '9.90', note: 'CALL', numbered: true },
  ]);
  expect(await bed.sql('select * from shop.lines')).toEqual([{ order_id: '1', line: 1, sku: 'a' }]);
  expect(await bed.sql('select id from shop.gone')).toEqual([{ id: 2 }]);
  expect(await bed.sql('select name from shop.customers where id = 1')).toEqual([{ name: 'Ada L.' }]);
  expect(await bed.sql(`select kind, status from banyan.dead_letter where kind = 'row-refused'`)).toEqual([
    { kind: 'row-refused', status: 'parked' },
  ]);
  const { reverse } = worker.status();
  expect(reverse).toMatchObject({ state: 'running', problem: undefined, heldTables: [] });
  // It owns nothing but its own schema, and may do no more than that.
  const owned = await bed.sql(
    `select distinct relnamespace::regnamespace::text as place from pg_class
     where relowner = '"${NAME} worker"'::regrole and relkind in ('r', 'S')`,
  );
  expect(owned).toEqual([{ place: 'banyan' }]);
  const client = new pg.Client(bed.workerUrl);
  await client.connect();
  try {
    for (const forbidden of [
      'select from shop.private',
      'delete from shop.orders',
      'update shop.customers set secret = null',
      'insert into shop.customers (id) values (9)',
      `update shop.gone set note = ''`,
      'insert into shop.lines_0 (order_id, line) values (1, 1)',
      'alter table shop.orders add column x int',
    ])
      await expect(client.query(forbidden)).rejects.toMatchObject({ code: '42501' });
  } finally {
    await client.end();
  }
});
