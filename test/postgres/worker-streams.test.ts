import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { ScriptedPublisher } from '../support/scripted-publisher.ts';
import { makeBed, seen } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});

afterAll(async () => {
  await server?.stop();
});

const setup = `create table orders (id integer primary key, note text); create table customers (id integer primary key)`;

test('a truncate waits for everything of its table and holds what follows, and no other table', async () => {
  await using bed = await makeBed(server, { name: 'truncates', setup });
  const publisher = new ScriptedPublisher(({ detailType, detail }) =>
    detailType === 'OrdersTruncated' || detail.includes('"slow"') ? { do: 'hold' } : { do: 'accept' },
  );
  await bed.start({ capture: [{ table: 'public.orders' }, { table: 'public.customers' }] }, { publisher });
  const types = () => publisher.requests.flat().map(({ detailType }) => detailType);
  await bed.sql(`insert into orders values (1, 'slow'), (2, 'quick')`);
  // Not in one request with what comes next, which would be held with it.
  await publisher.until(() => types().includes('OrdersInserted'));
  await bed.sql(`truncate orders; insert into orders values (3, 'after'); insert into customers values (1)`);
  const taken = () => publisher.accepted.map(seen).map(({ metadata }) => `${metadata.table} ${metadata.operation}`);
  await publisher.until(() => taken().includes('public.customers insert'));
  expect(types()).not.toContain('OrdersTruncated');
  publisher.release();
  await publisher.until(() => types().includes('OrdersTruncated'));
  expect(publisher.accepted.map(({ detail }) => detail).join('')).not.toContain('"after"');
  publisher.release();
  await bed.confirmed();
  expect(
    taken()
      .filter((one) => one.startsWith('public.orders'))
      .slice(-2),
  ).toEqual(['public.orders truncate', 'public.orders insert']);
});

test('of logical messages only the transactional ones that were committed are events', async () => {
  await using bed = await makeBed(server, { name: 'messages', setup });
  await bed.start({ capture: [{ messages: 'outbox' }, { table: 'public.orders' }] });
  await bed.sql(`begin; ${emit('RolledBack')}; rollback`);
  await bed.sql(emit('NotTransactional', false));
  await bed.sql(emit('OtherPrefix', true, 'other'));
  await bed.sql(`begin; insert into orders values (1); ${emit('Wanted')}; insert into orders values (2); commit`);
  await bed.confirmed();
  expect(bed.events.map(({ detailType }) => detailType).toSorted()).toEqual([
    'OrdersInserted',
    'OrdersInserted',
    'Wanted',
  ]);
  const wanted = bed.events.find(({ detailType }) => detailType === 'Wanted');
  expect(wanted?.metadata).toMatchObject({ operation: 'message', table: 'message:outbox' });
  expect(wanted?.detail).toContain('12345678901234567890.10');
});

test('many tables of one shape are captured by a pattern under one name, later ones after a restart', async () => {
  await using bed = await makeBed(server, {
    name: 'globs',
    setup: `create schema tenant_a; create schema tenant_b; create schema other;
      create table tenant_a.orders (id integer primary key); create table tenant_b.orders (id integer primary key);
      create table other.orders (id integer primary key)`,
  });
  const config = { capture: [{ table: 'tenant_*.orders', as: 'orders' }] };
  const first = await bed.start(config);
  await bed.sql(
    `insert into tenant_a.orders values (1); insert into tenant_b.orders values (1); insert into other.orders values (1)`,
  );
  await bed.confirmed();
  expect(bed.events.map(({ metadata, detailType }) => `${metadata.table} ${detailType}`).toSorted()).toEqual([
    'tenant_a.orders OrdersInserted',
    'tenant_b.orders OrdersInserted',
  ]);
  await first.stop();
  await bed.sql(
    `create schema tenant_c; create table tenant_c.orders (id integer primary key); insert into tenant_c.orders values (1)`,
  );
  await bed.start(config);
  await bed.sql(`insert into tenant_c.orders values (2)`);
  await bed.confirmed();
  const added = bed.events.filter(({ metadata }) => metadata.table === 'tenant_c.orders');
  expect(added.map(({ data }) => data['id'])).toEqual([2]);
});

test('a table that is added to the configuration is published and flows, one that is taken out no longer', async () => {
  await using bed = await makeBed(server, { name: 'added', setup });
  const first = await bed.start({ capture: [{ table: 'public.orders' }] });
  await first.stop();
  await bed.start({ capture: [{ table: 'public.customers' }] });
  await bed.sql(`insert into orders values (1); insert into customers values (1)`);
  await bed.confirmed();
  expect(bed.events.map(({ metadata }) => metadata.table)).toEqual(['public.customers']);
  const published = await bed.sql<{ tablename: string }>(
    `select tablename from pg_publication_tables where pubname = '${bed.slot}'`,
  );
  expect(published).toEqual([{ tablename: 'customers' }]);
});

test('a database in SQL_ASCII is refused before anything is made in it', async () => {
  await using bed = await makeBed(server, {
    name: 'ascii',
    setup,
    database: "encoding 'SQL_ASCII' template template0",
  });
  const running = await bed.start({ capture: [{ table: 'public.orders' }] }, { dontWait: true });
  const { problem } = await running.reaches('halted');
  expect(problem?.kind).toBe('preflight');
  expect(problem?.message).toContain('SQL_ASCII');
  expect(await bed.sql(`select 1 from pg_replication_slots where slot_name = '${bed.slot}'`)).toEqual([]);
});

test('rows, names and messages of a database in LATIN1 arrive as they were meant', async () => {
  await using bed = await makeBed(server, {
    name: 'latin',
    setup: `create table "größe" (id integer primary key, "straße" text)`,
    database: "encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' template template0",
  });
  await bed.start({
    capture: [{ table: 'public."größe"', emit: [{ on: 'insert', detailType: 'Row' }] }, { messages: 'outbox' }],
  });
  await bed.sql(`insert into "größe" values (1, 'Äpfel für 5 £')`);
  await bed.sql(
    `select pg_logical_emit_message(true, 'outbox', '{"detail-type":"Message","detail":{"was":"Äpfel für 5 £"}}')`,
  );
  await bed.confirmed();
  expect(bed.events.map(({ detailType, data }) => [detailType, data])).toEqual([
    ['Row', { id: 1, straße: 'Äpfel für 5 £' }],
    ['Message', { was: 'Äpfel für 5 £' }],
  ]);
});

function emit(name: string, transactional = true, prefix = 'outbox'): string {
  const content = `{"detail-type":"${name}","detail":{"n":12345678901234567890.10}}`;
  return `select pg_logical_emit_message(${transactional}, '${prefix}', '${content}')`;
}
