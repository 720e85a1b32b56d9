import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { StageChange, Verdict } from '../../src/core/progress.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { moveStage } from '../../src/progress/move.ts';
import { banyan } from '../support/banyan-process.ts';
import { eventually } from '../support/eventually.ts';
import { makeBed, type WorkerBed } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server.stop());

const setup = 'create table orders (id int primary key, note text); create table customers (id int primary key)';
const asTheyAre = { stages: 'as they are' } as const;
const capture = [{ table: 'public.orders' }];
const apply = [
  {
    match: { source: ['shop.orders'] },
    table: 'public.orders',
    operation: 'upsert',
    key: { id: 'detail.id' },
    set: { note: 'detail.note' },
    version: 'detail.version',
  },
];

/** Of the events about moves: what they say. */
function movesOf({ events }: WorkerBed): string[] {
  return events
    .filter(({ detailType }) => detailType === 'TableStageChanged')
    .map(({ data }) => `${String(data['table'])}: ${String(data['from'])} → ${String(data['to'])}`);
}

async function move(bed: WorkerBed, step: Pick<StageChange, 'from' | 'to'>): Promise<StageChange> {
  const state = await bed.state();
  const legacyPool = state.scope.pool;
  return moveStage({ state, legacyPool, table: 'public.orders', ...step, actor: 'ada', verdict: undefined });
}

describe('by itself', () => {
  test('a table without a backfill goes to shadow when the stream covers it, and the bus hears of it', async () => {
    await using bed = await makeBed(server, { name: 'stage_shadow', setup });
    await bed.start({ capture, ...asTheyAre });
    await eventually(() => movesOf(bed).length > 0);
    expect(movesOf(bed)).toEqual(['public.orders: mapped → shadow']);
    const [event] = bed.events;
    expect(event).toMatchObject({
      source: 'banyan.stage_shadow',
      data: { table: 'public.orders', primary: 'legacy', actor: 'banyan', gates: [] },
    });
    expect(await (await bed.state()).stageChanges.list({ limit: 9 })).toMatchObject([
      { to: 'shadow', verdict: undefined },
    ]);
  });

  test('one with rows of before goes over backfilling, and is in shadow behind its last row; a restart moves nothing', async () => {
    await using bed = await makeBed(server, {
      name: 'stage_backfill',
      setup: `${setup}; insert into orders select n from generate_series(1, 500) n`,
    });
    const config = { capture: [{ table: 'public.orders', backfill: true }], ...asTheyAre };
    const first = await bed.start(config);
    const wanted = ['public.orders: mapped → backfilling', 'public.orders: backfilling → shadow'];
    await eventually(() => movesOf(bed).length === 2);
    expect(movesOf(bed)).toEqual(wanted);
    const types = bed.events.map(({ detailType }) => detailType);
    expect(types.lastIndexOf('OrdersImported')).toBeLessThan(types.lastIndexOf('TableStageChanged'));
    await first.stop();
    await bed.start(config);
    await bed.ask('backfill', { action: 'start', table: 'public.orders' });
    await eventually(() => bed.events.filter(({ detailType }) => detailType === 'BackfillCompleted').length === 2);
    await bed.sql(`insert into orders values (1000, 'behind everything')`);
    await eventually(() => bed.events.some(({ data }) => data['id'] === 1000));
    expect(movesOf(bed)).toEqual(wanted);
  });
});

describe('a move by command', () => {
  test('stands in the stream where it was committed, between the changes before and after it', async () => {
    await using bed = await makeBed(server, { name: 'stage_order', setup });
    await bed.start({ capture });
    await bed.sql(`insert into orders values (1, 'before')`);
    await move(bed, { from: 'shadow', to: 'new-primary' });
    await bed.sql(`insert into orders values (2, 'after')`);
    await bed.accepted(3);
    const inOrder = bed.events.toSorted((a, b) => (a.metadata.sequence < b.metadata.sequence ? -1 : 1));
    expect(inOrder.map(({ detailType, data }) => data['note'] ?? detailType)).toEqual([
      'before',
      'TableStageChanged',
      'after',
    ]);
    expect(bed.events.map(({ metadata }) => metadata.id)).toEqual(inOrder.map(({ metadata }) => metadata.id));
  });

  test('without a worker is announced when one comes', async () => {
    await using bed = await makeBed(server, { name: 'stage_late', setup });
    const first = await bed.start({ capture });
    await first.stop();
    await move(bed, { from: 'shadow', to: 'new-primary' });
    expect(movesOf(bed)).toEqual([]);
    await bed.start({ capture });
    await eventually(() => movesOf(bed).length > 0);
    expect(movesOf(bed)).toEqual(['public.orders: shadow → new-primary']);
  });

  test('of two at the same time one wins, and the other is told', async () => {
    await using bed = await makeBed(server, { name: 'stage_race', setup });
    await bed.start({ capture });
    const step = { from: 'shadow', to: 'new-primary' } as const;
    const ends = await Promise.allSettled([move(bed, step), move(bed, step)]);
    const [lost, ...others] = ends.filter(({ status }) => status === 'rejected');
    expect(others).toEqual([]);
    expect((lost as PromiseRejectedResult).reason).toMatchObject({
      kind: 'usage',
      message: expect.stringContaining('not shadow any more') as string,
    });
    expect(await (await bed.state()).stageChanges.list({ limit: 9 })).toHaveLength(1);
  });

  test('that somebody forged moves nothing, publishes nothing, and is counted', async () => {
    await using bed = await makeBed(server, { name: 'stage_forged', setup });
    const running = await bed.start({ capture });
    await move(bed, { from: 'shadow', to: 'new-primary' });
    await eventually(() => movesOf(bed).length === 1);
    const forged = JSON.stringify({
      v: 1,
      kind: 'stage',
      table: 'public.orders',
      from: 'new-primary',
      to: 'retired',
      actor: 'x',
      at: '',
      gates: [],
    });
    const content = `${forged.slice(0, -1)},"mac":"${'A'.repeat(22)}"}`;
    await bed.sql(`select pg_logical_emit_message(true, 'banyan.stage_forged.reverse', '${content}')`);
    await running.until('counted', ({ loop }) => loop.forged === 1);
    await bed.sql(`insert into orders values (1, 'behind it')`);
    await bed.accepted(2);
    expect(movesOf(bed)).toEqual(['public.orders: shadow → new-primary']);
  });
});

test('the command moves only what may move, says what was skipped meanwhile, and shows what was', async () => {
  await using bed = await makeBed(server, { name: 'stage_command', setup, queues: true });
  const running = await bed.start({ capture, reverse: { apply }, ...asTheyAre });
  await eventually(() => movesOf(bed).length === 1);
  const event = { id: 'e-1', source: 'shop.orders', 'detail-type': 'X', time: new Date().toISOString() };
  await bed.queue?.send(JSON.stringify({ ...event, detail: { id: 7, note: 'too early', version: 1 } }));
  await running.until('skipped', ({ reverse }) => reverse?.skipped === 1);
  const config = {
    name: 'stage_command',
    legacy: { url: bed.workerUrl },
    bus: { type: 'local', port: 0 },
    capture,
    reverse: {
      queue: bed.queue?.url,
      endpoint: bed.bus.queuesUrl,
      region: 'us-east-1',
      apply,
    },
    http: { port: Number(new URL(running.worker.url).port) },
    progress: { gates: { lag: { for: '1s' } } },
  };
  const run = (...args: readonly string[]) =>
    banyan(args, { env: { BANYAN_CONFIG_YAML: JSON.stringify(config), USER: 'ada' } });

  // What is not proved yet is a failure at one moment and unknown at another.
  const open = async (): Promise<string[]> => {
    const { gates } = JSON.parse((await run('verdict', 'orders', '--to', 'dual', '--json')).stdout) as Verdict;
    return gates.filter(({ result }) => result !== 'pass').map(({ code }) => code);
  };
  await bed.sql(`insert into orders values (1, 'moves the stream')`);
  await eventually(async () => (await open()).join(',') === 'PARITY', undefined, { timeoutMs: 20_000 });
  const refused = await run('stage', 'orders', '--to', 'dual', '--yes');
  expect(refused.code).toBe(4);
  expect(refused.stdout).toContain('not moved: public.orders stays shadow');
  expect((await run('stage', 'orders', '--to', 'retired', '--yes')).code).toBe(2);
  await run('waive', 'orders', 'PARITY', '--reason', 'looked at', '--until', '1d');

  const dry = await run('stage', 'orders', '--to', 'dual', '--dry-run');
  expect(dry.code).toBe(0);
  expect(dry.stdout).toContain('it would go from shadow to dual');
  const unsaid = await run('stage', 'orders', '--to', 'dual');
  expect(unsaid.stdout).toContain('banyan stage public.orders --to dual --yes');
  expect(movesOf(bed)).toHaveLength(1);

  const moved = await run('stage', 'orders', '--to', 'dual', '--yes');
  expect(moved.code).toBe(0);
  expect(moved.stdout).toContain('✓ public.orders: shadow → dual');
  expect(moved.stdout).toContain('1 event of the new system was skipped');
  await eventually(() => movesOf(bed).length === 2);
  expect(bed.events.at(-1)?.data).toMatchObject({
    to: 'dual',
    gates: expect.arrayContaining([{ code: 'PARITY', result: 'unknown', waived: true }]) as unknown,
  });
  await bed.queue?.send(JSON.stringify({ ...event, id: 'e-2', detail: { id: 7, note: 'now', version: 2 } }));
  await eventually(async () => (await bed.sql('select from orders where id = 7')).length === 1);

  const back = await run('stage', 'orders', '--to', 'shadow', '--yes');
  expect(back.stdout).toContain('(a way back)');
  const history = await run('stage', 'orders');
  expect(history.stdout).toMatch(
    /^public\.orders is shadow: the legacy system is primary\n.*dual → shadow.*\n.*shadow → dual .*ready, waived: PARITY/,
  );
});
