import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { moveStage } from '../../src/progress/move.ts';
import { readState, type State } from '../../src/state/state.ts';
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
