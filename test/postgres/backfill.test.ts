import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { makeBed, type WorkerBed } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});

afterAll(async () => {
  await server?.stop();
});

const capture = [{ table: 'public.orders', backfill: true }];
const setup = `create table orders (id integer primary key, note text);
  insert into orders select n, 'row ' || n from generate_series(1, 2500) n`;

/** Waits until the last run of the table is completed, and its last event arrived. */
async function completed(bed: WorkerBed, table = 'public.orders'): Promise<void> {
  const { backfills } = await bed.state();
  await eventually(
    async () => (await backfills.latest(table))[0]?.status === 'completed',
    () => `the backfill of ${table} never ended; ${bed.events.length} events came`,
    { timeoutMs: 20_000 },
  );
}

test('rows that were there before become events, between two that say so', async () => {
  await using bed = await makeBed(server, { name: 'backfill_rows', setup });
  await bed.start({ capture });
  await completed(bed);
  const reads = bed.events.filter(({ detailType }) => detailType === 'OrdersImported');
  expect(reads.map(({ data }) => Number(data['id'])).toSorted((a, b) => a - b)).toEqual(
    Array.from({ length: 2500 }, (_, n) => n + 1),
  );
  expect(bed.events[0]?.detailType).toBe('BackfillStarted');
  expect(bed.events.at(-1)?.detailType).toBe('BackfillCompleted');
  expect(bed.events.at(-1)?.data).toMatchObject({ table: 'public.orders', rows: 2500 });
  const [read] = reads;
  expect(read?.metadata).toMatchObject({ operation: 'read', table: 'public.orders', run: 1, unavailable: [] });
  expect(read?.metadata.id).toMatch(/^\d+-read-1-public\.orders:\d+$/);
  expect(JSON.parse(read?.detail ?? '')).not.toHaveProperty('metadata.transaction');
  expect(new Set(reads.map(({ metadata }) => metadata.sequence)).size).toBe(2500);
});

test('a table without rows is done at once', async () => {
  await using bed = await makeBed(server, {
    name: 'backfill_empty',
    setup: 'create table orders (id integer primary key, note text)',
  });
  await bed.start({ capture });
  await completed(bed);
  expect(bed.events.map(({ detailType }) => detailType)).toEqual(['BackfillStarted', 'BackfillCompleted']);
});
