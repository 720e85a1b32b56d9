import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { moveStage } from '../../src/progress/move.ts';
import { openState, readState, type State } from '../../src/state/state.ts';
import { eventually } from '../support/eventually.ts';
import { makeBed, type WorkerBed } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server.stop());

const setup = 'create table orders (id int primary key, note text)';
const capture = [{ table: 'public.orders' }];

function movesOf({ events }: WorkerBed): string[] {
  return events
    .filter(({ detailType }) => detailType === 'TableStageChanged')
    .map(({ data }) => `${String(data['from'])} → ${String(data['to'])}`);
}

async function moveBy(state: State, legacyPool: pg.Pool, to: 'new-primary' | 'shadow') {
  const from = await state.stages.get('public.orders');
  return moveStage({ state, legacyPool, table: 'public.orders', from, to, actor: 'ada', verdict: undefined });
}

test('with the state in another database a move is announced behind its commit, by the worker where the command could not', async () => {
  const name = 'announced';
  await using bed = await makeBed(server, { name, setup });
  const elsewhere = await server.createDatabase('announced_state');
  await using parts = new AsyncDisposableStack();
  const open = (url: string) => parts.adopt(new pg.Pool({ connectionString: url, max: 2 }), (pool) => pool.end());
  const config = { capture, state: { url: elsewhere } };
  const first = await bed.start(config);
  await eventually(() => movesOf(bed).length === 1);
  expect(movesOf(bed)).toEqual(['mapped → shadow']);

  const statePool = open(elsewhere);
  const state = await readState({ pool: statePool, connector: name, schema: 'banyan' });
  const unannounced = async () =>
    (await statePool.query('select to_stage from banyan.stage_change where not announced order by id')).rows.map(
      (row: { to_stage: string }) => row.to_stage,
    );
  await moveBy(state, open(bed.url), 'new-primary');
  await eventually(() => movesOf(bed).length === 2);
  expect(await unannounced()).toEqual([]);

  await first.stop();
  // The command reaches the state, and not the legacy database.
  const unreachable = open('postgresql://nobody@127.0.0.1:1/nowhere');
  await moveBy(state, unreachable, 'shadow');
  await moveBy(state, unreachable, 'new-primary');
  expect(await unannounced()).toEqual(['shadow', 'new-primary']);
  await bed.start(config);
  await eventually(() => movesOf(bed).length === 4);
  expect(movesOf(bed)).toEqual([
    'mapped → shadow',
    'shadow → new-primary',
    'new-primary → shadow',
    'shadow → new-primary',
  ]);
  await eventually(async () => (await unannounced()).length === 0);
});

test('an announcement that the bus refuses is set aside, holds nothing up, and goes out again as it was', async () => {
  const name = 'refused';
  await using bed = await makeBed(server, { name, setup });
  await bed.start({ capture });
  const state = await bed.state();
  bed.bus.faults.set({ failEntries: { next: 1, code: 'MalformedDetail' } });
  await moveBy(state, state.scope.pool, 'new-primary');
  const [letter] = await eventually(async () => {
    const letters = await bed.sql<{ event_id: string; table_name: string }>(
      `select event_id, table_name from banyan.dead_letter where status = 'parked'`,
    );
    return letters.length > 0 && letters;
  });
  expect(letter?.table_name).toBe('public.orders');
  await bed.sql(`insert into orders values (1, 'behind it')`);
  await bed.accepted(1);
  expect(movesOf(bed)).toEqual([]);

  expect(await bed.ask('redrive', { table: 'public.orders' })).toMatchObject({ sent: 1, parked: 0 });
  expect(movesOf(bed)).toEqual(['shadow → new-primary']);
  expect(bed.events.at(-1)?.metadata.id).toBe(letter?.event_id);
});

const stagesOf = ({ events }: WorkerBed) => events.filter(({ detailType }) => detailType === 'TableStageChanged');

test('a move before there is a slot is announced when one is made, and not again', async () => {
  const name = 'before_slot';
  await using bed = await makeBed(server, { name, setup });
  await using parts = new AsyncDisposableStack();
  const pool = parts.adopt(new pg.Pool({ connectionString: bed.url, max: 2 }), (each) => each.end());
  await moveBy(await openState({ pool, connector: name, schema: 'banyan' }), pool, 'new-primary');
  const config = { capture, stages: 'as they are' } as const;
  const first = await bed.start(config);
  await bed.sql(`insert into orders values (1, 'behind it')`);
  await bed.accepted(2);
  expect(movesOf(bed)).toEqual(['mapped → new-primary']);
  await first.stop();
  await bed.start(config);
  await bed.sql(`insert into orders values (2, 'behind it')`);
  await bed.accepted(3);
  expect(movesOf(bed)).toEqual(['mapped → new-primary']);
});

test.each(['with the tables', 'elsewhere'])(
  'when the slot was gone, the stage of each table is announced again, as the move that it was; the state is %s',
  async (where) => {
    const name = where === 'elsewhere' ? 'slot_gone_elsewhere' : 'slot_gone';
    await using bed = await makeBed(server, { name, setup: `${setup}; create table customers (id int primary key)` });
    await using parts = new AsyncDisposableStack();
    const open = (url: string) => parts.adopt(new pg.Pool({ connectionString: url, max: 2 }), (pool) => pool.end());
    const elsewhere = where === 'elsewhere' ? await server.createDatabase(`${name}_state`) : undefined;
    const config = {
      capture: [...capture, { table: 'public.customers' }],
      ...(elsewhere === undefined ? { stages: 'as they are' as const } : { state: { url: elsewhere } }),
    };
    const legacyPool = open(bed.url);
    const statePool = elsewhere === undefined ? legacyPool : open(elsewhere);
    let running = await bed.start(config);
    await eventually(() => movesOf(bed).length === 2);
    const state = await readState({ pool: statePool, connector: name, schema: 'banyan' });
    await moveBy(state, legacyPool, 'new-primary');
    await eventually(() => movesOf(bed).length === 3);
    const told = stagesOf(bed);

    const goesOnWithoutSlot = async (meanwhile: () => Promise<unknown>) => {
      await running.stop();
      await bed.sql(`select pg_drop_replication_slot('${bed.slot}')`);
      await meanwhile();
      running = await bed.start(config, { dontWait: true });
      await running.reaches('halted');
      await bed.acceptGap(config, { backfill: false });
      await running.until('streaming', (status) => status.state === 'streaming');
      await bed.sql(`delete from customers; insert into customers values (1)`);
      await bed.confirmed();
      return stagesOf(bed).splice(told.length);
    };
    const missed = await goesOnWithoutSlot(() => moveBy(state, legacyPool, 'shadow'));
    const customers = told.find(({ data }) => data['table'] === 'public.customers');
    expect(
      missed.map(({ data }) => `${String(data['table'])}: ${String(data['from'])} → ${String(data['to'])}`),
    ).toEqual(['public.customers: mapped → shadow', 'public.orders: new-primary → shadow']);
    expect(missed[0]?.data).toEqual(customers?.data);
    expect(missed[0]?.metadata.id).not.toBe(customers?.metadata.id);
    expect(
      missed.every(({ metadata }) => told.every(({ metadata: { sequence } }) => sequence < metadata.sequence)),
    ).toBe(true);
    told.push(...missed);
    const repeated = await goesOnWithoutSlot(() => Promise.resolve());
    expect(repeated.map(({ data }) => data)).toEqual(missed.map(({ data }) => data));
    expect(repeated.map(({ data }) => data['move'])).toEqual(missed.map(({ data }) => data['move']));
    expect(new Set([...told, ...repeated].map(({ data }) => data['move'])).size).toBe(4);
  },
);

test('with the state elsewhere, what could not be announced stands in its order before a slot that is new', async () => {
  await using parts = new AsyncDisposableStack();
  const open = async (name: string) =>
    parts.adopt(new pg.Pool({ connectionString: await server.createDatabase(name), max: 2 }), (pool) => pool.end());
  const legacy = await open('announced_order');
  const state = await openState({ pool: await open('announced_order_state'), connector: 'shop', schema: 'banyan' });
  await legacy.query(`select pg_create_logical_replication_slot('announced_order', 'test_decoding')`);
  // The command reaches the state, and not the legacy database.
  const unreachable = parts.adopt(
    new pg.Pool({ connectionString: 'postgresql://nobody@127.0.0.1:1/nowhere' }),
    (pool) => pool.end(),
  );
  for (const to of ['new-primary', 'shadow', 'new-primary', 'shadow'] as const) await moveBy(state, unreachable, to);
  await state.stageChanges.announceAgain(legacy);
  expect(await state.stageChanges.announce(legacy)).toBe(0);
  const { rows } = await legacy.query<{ data: string }>(
    `select data from pg_logical_slot_get_changes('announced_order', null, null) where data like 'message:%'`,
  );
  await legacy.query(`select pg_drop_replication_slot('announced_order')`);
  expect(rows.map(({ data }) => Number(/"move":\s*(\d+)/.exec(data)?.[1]))).toEqual([1, 2, 3, 4]);
});
