import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import type { Gate, Stage, TargetStage } from '../../src/core/progress.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { collectFacts } from '../../src/progress/facts.ts';
import { measure } from '../../src/progress/gates.ts';
import { migrationTables } from '../../src/progress/tables.ts';
import type { BackfillRun } from '../../src/state/backfills.ts';
import { eventually } from '../support/eventually.ts';
import { ReferenceConsumer } from '../support/reference-consumer.ts';
import { ScriptedPublisher } from '../support/scripted-publisher.ts';
import { makeBed, type WorkerBed } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server.stop());

const setup = `create table orders (id int primary key, note text);
  insert into orders select n, 'old' from generate_series(1, 50) n;
  create table customers (id int primary key, note text)`;
const customers = { table: 'public.customers' };
const without = { capture: [customers] };
const orders = (backfill = true) => ({ capture: [customers, { table: 'public.orders', backfill }] });
/** What a stream without the table does not show: each kind of change. */
const UNSEEN = `delete from orders where id = 1; update orders set note = 'unseen' where id = 2;
  insert into orders values (100, 'unseen')`;

async function lastRun(bed: WorkerBed): Promise<BackfillRun | undefined> {
  return (await (await bed.state()).backfills.latest('public.orders'))[0];
}

async function completes(bed: WorkerBed, after = 0): Promise<BackfillRun> {
  return eventually(
    async () => {
      const run = await lastRun(bed);
      return run !== undefined && run.id > after && run.status === 'completed' ? run : undefined;
    },
    () => `no run after ${after} completes`,
    { timeoutMs: 20_000 },
  );
}

async function gateOf(bed: WorkerBed, way: { from: Stage; to: TargetStage }, backfill = true): Promise<Gate> {
  const text = JSON.stringify({
    name: bed.slot.replace('banyan_', ''),
    legacy: { url: bed.url },
    bus: { type: 'local' },
    ...orders(backfill),
  });
  const { config } = await parseConfig(text, { file: undefined, env: {} });
  const state = await bed.state();
  const { pool } = state.scope;
  const tables = await migrationTables(pool, config);
  const facts = await collectFacts({ state, pool, config, tables, live: undefined, liveAt: undefined });
  const table = facts.tables.get('public.orders');
  if (table === undefined) throw new Error('no facts');
  return measure('BACKFILL_DONE', { facts, table, ...way, now: new Date() });
}

const byId = (a: object, b: object) => (a as { id: number }).id - (b as { id: number }).id;

const toDual = { from: 'shadow', to: 'dual' } as const;

/** A worker that has read the table once, and one after it without the table. */
async function takenOut(bed: WorkerBed): Promise<BackfillRun> {
  const first = await bed.start(orders());
  const run = await completes(bed);
  expect(await gateOf(bed, toDual)).toMatchObject({ result: 'pass' });
  await first.stop();
  const second = await bed.start(without);
  await bed.sql(UNSEEN);
  await bed.confirmed();
  await second.stop();
  return run;
}

test('a table that was taken out of the configuration and put back is read again, and a copy of it becomes whole', async () => {
  await using bed = await makeBed(server, { name: 'returns', setup });
  const old = await takenOut(bed);
  // Nobody has begun anything yet: it is known all the same.
  expect(await gateOf(bed, toDual)).toMatchObject({ result: 'fail', value: 'not in the stream' });

  await bed.start(orders());
  const run = await completes(bed, old.id);
  expect(run).toMatchObject({ requestedBy: 'configuration', where: undefined, partition: undefined });
  expect(await gateOf(bed, toDual)).toMatchObject({ result: 'pass' });
  await bed.confirmed();
  const consumer = new ReferenceConsumer();
  for (const { metadata, data } of bed.events) consumer.apply({ metadata, data });
  expect(consumer.rows('public.orders').toSorted(byId)).toEqual(await bed.sql('select * from orders order by id'));
});

test('a run from before the table was in the stream anew proves nothing, where none is begun by itself', async () => {
  await using bed = await makeBed(server, { name: 'returns_unasked', setup });
  const old = await takenOut(bed);
  await bed.start(orders(false));
  await bed.sql(`insert into orders values (101, 'seen')`);
  await eventually(() => bed.events.some(({ data }) => data['id'] === 101));
  expect((await lastRun(bed))?.id).toBe(old.id);
  const gate = await gateOf(bed, toDual, false);
  expect(gate).toMatchObject({ result: 'fail', value: 'before a gap', next: 'backfill public.orders' });
  expect(gate.reason).toMatch(/not all in the stream until \d{4}-/);
  await bed.ask('backfill', { action: 'start', table: 'public.orders' });
  await completes(bed, old.id);
  expect(await gateOf(bed, toDual, false)).toMatchObject({ result: 'pass' });
});

test('a table that was taken away and made anew under its name is read anew', async () => {
  await using bed = await makeBed(server, { name: 'returns_remade', setup });
  const old = await takenOut(bed);
  await bed.sql(
    `drop table orders; create table orders (id int primary key, note text); insert into orders values (7, 'new')`,
  );
  await bed.start(orders());
  await completes(bed, old.id);
  const reads = bed.events.filter(
    ({ metadata }) => metadata.operation === 'read' && metadata.table === 'public.orders',
  );
  expect(reads.at(-1)?.data).toEqual({ id: 7, note: 'new' });
  expect(await gateOf(bed, toDual)).toMatchObject({ result: 'pass' });
});

test('in dual it is read again by itself, and the gate to go on passes by that run', async () => {
  await using bed = await makeBed(server, { name: 'returns_dual', setup });
  const old = await takenOut(bed);
  await (await bed.state()).stages.set('public.orders', 'dual', 'a test');
  await bed.start(orders());
  await completes(bed, old.id);
  expect(await gateOf(bed, { from: 'dual', to: 'new-primary' })).toMatchObject({ result: 'pass' });
});

test('of a table that is no longer primary no rows are sent unasked over those of the new system', async () => {
  await using bed = await makeBed(server, { name: 'returns_primary', setup });
  const old = await takenOut(bed);
  await (await bed.state()).stages.set('public.orders', 'new-primary', 'a test');
  await bed.start(orders());
  await bed.sql(`insert into orders values (101, 'seen')`);
  await eventually(() => bed.events.some(({ data }) => data['id'] === 101));
  expect((await lastRun(bed))?.id).toBe(old.id);
  expect(await gateOf(bed, toDual)).toMatchObject({ result: 'fail', next: 'backfill public.orders' });
  await bed.ask('backfill', { action: 'start', table: 'public.orders' });
  await completes(bed, old.id);
  expect(await gateOf(bed, toDual)).toMatchObject({ result: 'pass' });
});

const SWAP = `begin; create table orders_new (like orders including all); insert into orders_new values (9, 'swapped');
  alter table orders rename to orders_old; alter table orders_new rename to orders; commit`;

test.each([
  ['another table has its name', 'swapped', () => SWAP],
  ['the slot was gone', 'dropped', ({ slot }: WorkerBed) => `select pg_drop_replication_slot('${slot}')`],
] as const)('a run that was under way does not go on when %s, and nothing is swept by it', async (_when, how, loss) => {
  await using bed = await makeBed(server, { name: `returns_${how}`, setup });
  const publisher = new ScriptedPublisher(({ detailType }) =>
    detailType === 'OrdersImported' ? { do: 'hold' } : { do: 'accept' },
  );
  const running = await bed.start(orders(false), { publisher });
  await bed.ask('backfill', { action: 'start', table: 'public.orders' });
  await publisher.until(() => publisher.requests.flat().some(({ detailType }) => detailType === 'OrdersImported'));
  await bed.ask('backfill', { action: 'pause', table: 'public.orders' });
  const { id, startedAt } = (await lastRun(bed)) ?? {};
  expect(startedAt).toBeDefined();
  publisher.decide = () => ({ do: 'accept' });
  publisher.release();
  await running.stop();
  await bed.sql(loss(bed));
  const halted = await bed.start(orders(false), { dontWait: true });
  await halted.reaches('halted');
  await bed.acceptGap(orders(false), { backfill: false });
  await halted.until('streaming', ({ state }) => state === 'streaming');
  expect(await lastRun(bed)).toMatchObject({ id, status: 'failed' });
  await expect(bed.ask('backfill', { action: 'resume', table: 'public.orders' })).rejects.toThrow('failed');
  expect(bed.events.filter(({ detailType }) => detailType === 'BackfillCompleted')).toEqual([]);
  expect(await gateOf(bed, toDual, false)).toMatchObject({ result: 'fail' });
});

test('whoever accepts a gap without a backfill gets none, whatever the configuration wants', async () => {
  await using bed = await makeBed(server, { name: 'returns_declined', setup });
  const running = await bed.start(orders());
  const old = await completes(bed);
  await bed.sql(`alter publication ${bed.slot} drop table orders; ${UNSEEN}`);
  await running.reaches('halted');
  await bed.acceptGap(orders(), { backfill: false });
  await running.until('streaming', ({ state }) => state === 'streaming');
  await bed.sql(`insert into orders values (101, 'seen')`);
  await eventually(() => bed.events.some(({ data }) => data['id'] === 101));
  expect((await lastRun(bed))?.id).toBe(old.id);
  expect(await gateOf(bed, toDual)).toMatchObject({ result: 'fail', value: 'before a gap' });
});
