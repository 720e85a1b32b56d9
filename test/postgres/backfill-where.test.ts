import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import type { BackfillRun } from '../../src/state/backfills.ts';
import { eventually } from '../support/eventually.ts';
import { makeBed, type WorkerBed } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});

afterAll(async () => {
  await server?.stop();
});

const ROWS = 5_000;
/** Takes two rows, and its time: a millisecond or so for each row that it is asked about. */
const where = `case when pg_sleep(0.0005) is null then false else note = 'rare' end`;
/** All rows take twice as long. */
const MAX_SECONDS = 3;

const tables = [
  { name: 'with a key', more: ', primary key (id)' },
  { name: 'without a key', more: '' },
] as const;

function filled(more: string): string {
  return `create table orders (id int, note text${more}); alter table orders replica identity full;
    insert into orders select n, case when n in (9, ${ROWS}) then 'rare' else 'often' end from generate_series(1, ${ROWS}) n;
    analyze orders`;
}

async function run(bed: WorkerBed): Promise<BackfillRun | undefined> {
  return (await (await bed.state()).backfills.latest('public.orders'))[0];
}

/** Seconds that the oldest transaction has been open that reads a chunk. */
async function openSeconds(bed: WorkerBed): Promise<number> {
  const [found] = await bed.sql<{ seconds: number | null }>(
    `select max(extract(epoch from clock_timestamp() - xact_start))::float8 as seconds from pg_stat_activity
     where datname = current_database() and pid <> pg_backend_pid() and query like '%banyan_chunk%' and state <> 'idle'`,
  );
  return found?.seconds ?? 0;
}

test.for(tables)(
  'a condition that takes few rows keeps no transaction open: a table $name',
  { timeout: 60_000 },
  async ({ name, more }) => {
    await using bed = await makeBed(server, { name: `where_${name.replaceAll(' ', '_')}`, setup: filled(more) });
    await bed.start({ capture: [{ table: 'public.orders' }] });
    await bed.ask('backfill', { action: 'start', table: 'public.orders', where });
    let longest = 0;
    let looks = 0;
    await eventually(
      async () => {
        const seconds = await openSeconds(bed);
        if (seconds > 0) looks += 1;
        longest = Math.max(longest, seconds);
        return (await run(bed))?.status === 'completed';
      },
      () => 'the backfill never ended',
      { timeoutMs: 40_000 },
    );
    expect(looks).toBeGreaterThan(10);
    expect(longest).toBeLessThan(MAX_SECONDS);
    const reads = bed.events.filter(({ metadata }) => metadata.operation === 'read');
    expect(reads.map(({ data }) => data['id'])).toEqual([9, ROWS]);
  },
);

test('a run whose condition takes few rows goes on where it was paused', { timeout: 60_000 }, async () => {
  await using bed = await makeBed(server, { name: 'where_paused', setup: filled(', primary key (id)') });
  await bed.start({ capture: [{ table: 'public.orders' }] });
  await bed.ask('backfill', { action: 'start', table: 'public.orders', where });
  const cursor = async () => (await (await bed.state()).backfills.parts((await run(bed))?.id ?? 0))[0]?.cursor?.[0];
  await eventually(async () => Number((await cursor()) ?? 0) > 9);
  await bed.ask('backfill', { action: 'pause', table: 'public.orders' });
  await eventually(
    async () => (await openSeconds(bed)) === 0,
    () => 'a chunk is still being read',
    { timeoutMs: MAX_SECONDS * 1_000 },
  );
  expect((await run(bed))?.status).toBe('paused');
  expect(Number(await cursor())).toBeLessThan(ROWS);
  await bed.ask('backfill', { action: 'resume', table: 'public.orders' });
  await eventually(
    async () => (await run(bed))?.status === 'completed',
    () => 'it never ended',
    { timeoutMs: 40_000 },
  );
  expect(bed.events.filter(({ data }) => data['id'] === 9)).toHaveLength(1);
  expect(bed.events.filter(({ data }) => data['id'] === ROWS)).toHaveLength(1);
});
