import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { applyPrefix, formatMessage } from '../../src/postgres/apply-tag.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { ownTransaction, PRODUCER } from '../support/own-transaction.ts';
import { makeBed, type RunningWorker, type SeenEvent, type WorkerBed } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});

afterAll(async () => {
  await server?.stop();
});

const setup = `create table orders (id integer primary key, quantity integer, note text);
  create table audit (id integer primary key generated always as identity, what text);
  insert into orders values (1, 10, 'legacy'), (2, 20, 'legacy')`;
const capture = [{ table: 'public.orders' }, { table: 'public.audit' }];

/** `origin causedBy hops: operation table`, one line an event. */
function origins(events: readonly SeenEvent[]): string[] {
  return events.map(({ metadata }) => {
    const { origin, causedBy, hops } = metadata as { origin?: string; causedBy?: string; hops?: number };
    const cause = causedBy === undefined ? '' : ` of ${causedBy}, hop ${hops}`;
    return `${origin}${cause}: ${metadata.operation} ${metadata.table}`;
  });
}

/** All events of what was committed before, in the order of the stream: events of different keys arrive in any. */
async function settled(bed: WorkerBed): Promise<readonly SeenEvent[]> {
  await bed.confirmed();
  return bed.events.toSorted((a, b) => (a.metadata.sequence < b.metadata.sequence ? -1 : 1));
}

const setQuantity = (event: string, id: number, quantity: number) => ({
  event,
  table: 'orders',
  op: 'update' as const,
  key: { id: `${id}` },
  sql: `update orders set quantity = ${quantity} where id = ${id}`,
});

const updateAt = (key: Readonly<Record<string, string>>) => ({ table: 'orders', op: 'update' as const, key });

/** Events that the inbox knows of, as apply would have left them. */
async function claimed(bed: WorkerBed, name: string, ...events: string[]): Promise<void> {
  for (const event of events) {
    await bed.sql(`insert into banyan.inbox (connector, producer, event_id, target)
      values ('${name}', '${PRODUCER}', '${event}', 'public.orders#1')`);
  }
}

async function observed(bed: WorkerBed, event: string): Promise<{ verdict: string | null; observed: boolean }> {
  const [row] = await bed.sql<{ verdict: string | null; observed: boolean }>(
    `select verdict, observed_at is not null as observed from banyan.inbox where event_id = '${event}'`,
  );
  if (row === undefined) throw new Error(`the inbox has no ${event}`);
  return row;
}

function originsOf(running: RunningWorker, table = 'public.orders') {
  return running.table(table).origins;
}

describe('a write of reverse sync', () => {
  test('is not published where the row is as its event meant it, and the inbox is told that it was seen', async () => {
    await using bed = await makeBed(server, { name: 'own_echo', setup });
    const running = await bed.start({ capture });
    await claimed(bed, 'own_echo', 'e1', 'e2', 'e3', 'e4', 'unseen');
    await ownTransaction(bed, 'own_echo', async (own) => {
      await own.write(setQuantity('e1', 1, 11));
      await own.write({ ...setQuantity('e2', 2, 21), asMeant: 'quantity = 21' });
      await own.write({
        ...setQuantity('e3', 3, 0),
        op: 'insert',
        sql: `insert into orders values (3, 30, 'new') on conflict (id) do update set quantity = 30`,
      });
      await own.write({ ...setQuantity('e4', 1, 0), op: 'delete', sql: 'delete from orders where id = 1' });
    });
    expect(await settled(bed)).toEqual([]);
    expect(originsOf(running).echo).toBe(4);
    expect(originsOf(running)).toMatchObject({ legacy: 0, correction: 0, trigger: 0 });
    // The position is not confirmed before the inbox was told.
    for (const event of ['e1', 'e2', 'e3', 'e4']) {
      expect(await observed(bed, event)).toEqual({ verdict: 'echo', observed: true });
    }
    expect(await observed(bed, 'unseen')).toEqual({ verdict: null, observed: false });
  });

  test('is published as a correction where a BEFORE trigger made another row of it, caused by the event', async () => {
    await using bed = await makeBed(server, {
      name: 'own_correction',
      setup: `${setup};
        create function cap() returns trigger language plpgsql as $$ begin
          insert into audit (what) values ('capped'); new.quantity := least(new.quantity, 50); return new; end $$;
        create trigger cap before update on orders for each row execute function cap()`,
    });
    const running = await bed.start({ capture });
    await claimed(bed, 'own_correction', 'big', 'small');
    await ownTransaction(bed, 'own_correction', async (own) => {
      await own.write({ ...setQuantity('big', 1, 99), asMeant: 'quantity = 99' });
      await own.write({ ...setQuantity('small', 2, 9), asMeant: 'quantity = 9', hops: 1 });
    });
    const events = await settled(bed);
    expect(origins(events)).toEqual([
      'trigger of big, hop 1: insert public.audit',
      'correction of big, hop 1: update public.orders',
      'trigger of small, hop 2: insert public.audit',
    ]);
    expect(events[1]?.data).toEqual({ id: 1, quantity: 50, note: 'legacy' });
    expect(originsOf(running)).toMatchObject({ correction: 1, echo: 1, legacy: 0 });
    expect(originsOf(running, 'public.audit')).toMatchObject({ trigger: 2, legacy: 0 });
    expect(await observed(bed, 'big')).toEqual({ verdict: 'correction', observed: true });
  });

  test('has what AFTER triggers did published: in other tables, and in the same row', async () => {
    await using bed = await makeBed(server, {
      name: 'own_trigger',
      setup: `${setup};
        create function after_order() returns trigger language plpgsql as $$ begin
          insert into audit (what) values (new.note);
          if new.note is distinct from 'stamped' then update orders set note = 'stamped' where id = new.id; end if;
          return null; end $$;
        create trigger after_order after update on orders for each row execute function after_order()`,
    });
    await bed.start({ capture });
    await ownTransaction(bed, 'own_trigger', async (own) => {
      await own.sql(`insert into audit (what) values ('before any tag')`);
      await own.write(setQuantity('e1', 1, 11));
    });
    const events = await settled(bed);
    expect(origins(events)).toEqual([
      'legacy: insert public.audit',
      'trigger of e1, hop 1: insert public.audit',
      'trigger of e1, hop 1: update public.orders',
      'trigger of e1, hop 1: insert public.audit',
    ]);
    expect(events[2]?.data).toEqual({ id: 1, quantity: 11, note: 'stamped' });
  });

  test('is an echo in a partitioned table too, also where it moves the row to another partition', async () => {
    await using bed = await makeBed(server, {
      name: 'own_partition',
      setup: `create table orders (id integer, region text, quantity integer, note text, primary key (region, id))
          partition by list (region);
        create table orders_north partition of orders for values in ('n');
        create table orders_south partition of orders for values in ('s');
        alter table orders replica identity full;
        alter table orders_north replica identity full;
        alter table orders_south replica identity full;
        create table audit (id integer primary key);
        insert into orders values (1, 'n', 10, ''), (2, 's', 20, '')`,
    });
    const running = await bed.start({ capture });
    await ownTransaction(bed, 'own_partition', async (own) => {
      await own.write({
        ...updateAt({ id: '1', region: 'n' }),
        event: 'stay',
        sql: `update orders set quantity = 11 where id = 1`,
      });
      await own.write({
        ...updateAt({ id: '2' }),
        event: 'move',
        sql: `update orders set region = 'n' where id = 2`,
      });
      await own.write({
        ...updateAt({ id: '1' }),
        event: 'fix',
        sql: `update orders set region = 's' where id = 1`,
        asMeant: 'false',
      });
    });
    await bed.sql(`insert into orders values (100, 'n', 0, 'last')`);
    const events = await settled(bed);
    expect(origins(events)).toEqual([
      'correction of fix, hop 1: delete public.orders',
      'correction of fix, hop 1: insert public.orders',
      'legacy: insert public.orders',
    ]);
    expect(originsOf(running)).toMatchObject({ echo: 3, correction: 2, legacy: 1 });
  });
});

describe('a refusal', () => {
  const row = { id: '1', quantity: '10', note: null };

  test('publishes the row as it stands, also of a table that the stream has not shown, and that it is gone', async () => {
    await using bed = await makeBed(server, { name: 'own_refusal', setup });
    const running = await bed.start({ capture });
    await ownTransaction(bed, 'own_refusal', async (own) => {
      await own.refuse({ event: 'r1', table: 'orders', key: { id: '1' }, row });
      await own.refuse({ event: 'r2', table: 'orders', key: { id: '7' }, hops: 1 });
    });
    const events = await settled(bed);
    expect(origins(events)).toEqual([
      'correction of r1, hop 1: update public.orders',
      'correction of r2, hop 2: delete public.orders',
    ]);
    expect(events.map(({ data }) => data)).toEqual([{ id: 1, quantity: 10, note: null }, { id: 7 }]);
    expect(events.map(({ metadata }) => metadata.key)).toEqual([{ id: 1 }, { id: 7 }]);
    expect(new Set(events.map(({ metadata }) => metadata.id)).size).toBe(2);
    expect(originsOf(running)).toMatchObject({ refusal: 2, legacy: 0, correction: 0 });
    // Now that the stream has shown it.
    await ownTransaction(bed, 'own_refusal', (own) =>
      own.refuse({ event: 'r3', table: 'orders', key: { id: '1' }, row }),
    );
    expect(origins(await settled(bed)).slice(2)).toEqual(['correction of r3, hop 1: update public.orders']);
  });

  test('is published where no rule takes it, and stands in its place among other changes', async () => {
    await using bed = await makeBed(server, { name: 'own_refusal_rules', setup });
    await bed.start({
      capture: [{ table: 'public.orders', emit: [{ on: 'insert', detailType: 'OrderPlaced' }], exclude: ['note'] }],
    });
    await ownTransaction(bed, 'own_refusal_rules', async (own) => {
      await own.write(setQuantity('e1', 2, 21));
      await own.refuse({ event: 'r1', table: 'orders', key: { id: '1' }, row });
      await own.write({ ...setQuantity('e2', 1, 12), asMeant: 'false' });
      // Nobody captures it.
      await own.refuse({ event: 'r2', table: 'audit', key: { id: '1' }, row: { id: '1', what: 'x' } });
    });
    await bed.sql(`insert into orders values (100, 0, 'last')`);
    const events = await settled(bed);
    expect(events.map(({ detailType, data }) => [detailType, data])).toEqual([
      ['OrdersCorrected', { id: 1, quantity: 10 }],
      ['OrdersCorrected', { id: 1, quantity: 12 }],
      ['OrderPlaced', { id: 100, quantity: 0 }],
    ]);
  });

  test('of a table whose mapping does not fit is set aside with the table', async () => {
    await using bed = await makeBed(server, { name: 'own_refusal_held', setup });
    const running = await bed.start({ capture: [{ table: 'public.orders', detail: { n: 'note' } }] });
    await bed.sql('alter table orders rename note to remark');
    await ownTransaction(bed, 'own_refusal_held', (own) =>
      own.refuse({ event: 'r1', table: 'orders', key: { id: '1' }, row: { id: '1', quantity: '10', remark: 'x' } }),
    );
    await running.until('the table is held', () => running.table('public.orders').held !== undefined);
    const letters = await eventually(
      async () => {
        const rows = await bed.sql(`select change::json -> 'origin' as origin from banyan.dead_letter`);
        return rows.length > 0 ? rows : undefined;
      },
      () => 'the refusal was never set aside',
    );
    expect(letters[0]?.['origin']).toEqual({ kind: 'correction', causedBy: 'r1', hops: 1 });
  });
});

describe('a message that is not ours', () => {
  test('hides nothing: neither one without the secret nor a copy of a true one', async () => {
    await using bed = await makeBed(server, { name: 'own_forged', setup });
    const running = await bed.start({ capture: [...capture, { messages: applyPrefix('own_forged') }] });
    const [{ oid } = { oid: '' }] = await bed.sql<{ oid: string }>(`select 'orders'::regclass::oid::text as oid`);
    const tag = {
      kind: 'tag',
      event: 'f1',
      producer: PRODUCER,
      hops: 0,
      table: Number(oid),
      columns: ['id'],
      key: ['1'],
      op: 'update',
    } as const;
    const pair = (key: Parameters<typeof formatMessage>[1]) =>
      [formatMessage(tag, key), formatMessage({ kind: 'echo', event: 'f1' }, key)] as const;
    let copied: readonly string[] = [];
    await ownTransaction(bed, 'own_forged', async (own) => {
      copied = pair(own.key);
      const [first, second] = pair({ ...own.key, secret: Buffer.alloc(32, 7) });
      await own.emitText(first);
      await own.sql('update orders set quantity = 1 where id = 1');
      await own.emitText(second);
      await own.emitText('no JSON at all');
    });
    await ownTransaction(bed, 'own_forged', async (own) => {
      await own.emitText(copied[0] ?? '');
      await own.sql('update orders set quantity = 2 where id = 1');
      await own.emitText(copied[1] ?? '');
    });
    expect(origins(await settled(bed))).toEqual(['legacy: update public.orders', 'legacy: update public.orders']);
    expect(running.status().loop.forged).toBe(5);
    expect(originsOf(running)).toMatchObject({ echo: 0, legacy: 2 });
  });
});

test('what went back and forth too often is not published any more, and counted', async () => {
  await using bed = await makeBed(server, { name: 'own_hops', setup });
  const running = await bed.start({ capture });
  await ownTransaction(bed, 'own_hops', async (own) => {
    await own.write({ ...setQuantity('h1', 1, 11), hops: 1, asMeant: 'false' });
    await own.write({ ...setQuantity('h2', 1, 12), hops: 2, asMeant: 'false' });
    await own.sql(`insert into audit (what) values ('of h2')`);
    await own.refuse({ event: 'h3', table: 'orders', key: { id: '1' }, hops: 2 });
  });
  expect(origins(await settled(bed))).toEqual(['correction of h1, hop 2: update public.orders']);
  expect(running.status().loop).toEqual({ forged: 0, exceeded: 3, origins: {} });
});

test('what another system replicates into the database is published, and counted by its origin', async () => {
  await using bed = await makeBed(server, { name: 'own_foreign', setup });
  const running = await bed.start({ capture });
  await ownTransaction(bed, 'own_foreign', async (own) => {
    await own.sql(`select pg_replication_origin_create('elsewhere')`);
    await own.sql(`select pg_replication_origin_session_setup('elsewhere')`);
    await own.sql('update orders set quantity = 1');
  });
  expect(origins(await settled(bed))).toEqual(['legacy: update public.orders', 'legacy: update public.orders']);
  expect(running.status().loop.origins).toEqual({ elsewhere: 2 });
  expect(originsOf(running)).toMatchObject({ foreign: 2, legacy: 0 });
});
