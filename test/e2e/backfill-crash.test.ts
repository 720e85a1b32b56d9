import { afterAll, beforeAll, expect, test } from 'vitest';
import { WORKER_FLAGS } from '../../bench/worker-flags.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { startHashingBus } from '../support/hashing-bus.ts';
import { isStreaming, spawnWorker } from '../support/worker-process.ts';

/** BANYAN_TEST_HUGE_ROWS makes it smaller, for a machine that is in a hurry. */
const ROWS = Number(process.env['BANYAN_TEST_HUGE_ROWS'] ?? 1_000_000);
/** Every row is read and mapped; one of so many makes an event, or sending them would take minutes. */
const ROWS_PER_EVENT = 10;
const EVENTS = ROWS / ROWS_PER_EVENT;
const KILLS = 10;
/** What is in flight of one reader: `MAX_ROWS` of the backfill’s pace. What is read ahead is not sent. */
const CHUNK_EVENTS = 40_000 / ROWS_PER_EVENT;
const MEMORY_LIMIT = 250_000_000;

let server: EmbeddedPostgres;
let url: string;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
  url = await server.createDatabase('many');
  await server.query(
    `create table rows (id int primary key); insert into rows select generate_series(1, ${ROWS})`,
    'many',
  );
});
afterAll(async () => {
  await server.stop();
});

test(`a backfill of ${ROWS} rows that is killed ${KILLS} times sends all of them, and at most a chunk again for each kill`, async () => {
  await using bus = await startHashingBus(ROWS + 1, (id) => id, { detailType: 'RowImported', repeatsMayDiffer: true });
  const config = {
    name: 'many',
    legacy: { url },
    bus: { type: 'local', name: 'default', endpoint: bus.url },
    capture: [
      {
        table: 'public.rows',
        backfill: true,
        emit: [{ on: 'read', when: `row.id % ${ROWS_PER_EVENT} == 0`, detailType: 'RowImported' }],
      },
    ],
  };
  const start = () => spawnWorker(config, { nodeArgs: [...WORKER_FLAGS] });
  for (let kill = 0; kill < KILLS; kill += 1) {
    await using worker = await start();
    await worker.until(isStreaming);
    await bus.accepted(Math.ceil(Math.random() * (EVENTS / KILLS)));
    expect((await worker.peakMemory()) ?? 0).toBeLessThan(MEMORY_LIMIT);
    await worker.kill();
  }
  expect(bus.events).toBeLessThan(EVENTS);
  await using last = await start();
  await eventually(
    () => bus.events === EVENTS,
    () => `the bus has ${bus.events} of ${EVENTS} events; the worker logged:\n${last.log().slice(-4_000)}`,
    { timeoutMs: 200_000 },
  );
  await eventually(async () => {
    const { rows } = await server.query('select status from banyan.backfill_run', 'many');
    return rows[0]?.['status'] === 'completed';
  });
  expect((await last.peakMemory()) ?? 0).toBeLessThan(MEMORY_LIMIT);
  expect(await last.stop()).toEqual({ code: 0, signal: null });
  expect(bus.wrong).toEqual([]);
  expect(bus.repeats).toBeLessThanOrEqual(KILLS * CHUNK_EVENTS);
  expect([...bus.prefixes]).toHaveLength(1);
}, 300_000);
