import { afterAll, beforeAll, expect, test } from 'vitest';
import { WORKER_FLAGS } from '../../bench/worker-flags.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { startHashingBus } from '../support/hashing-bus.ts';
import { isStreaming, spawnWorker, type WorkerProcess } from '../support/worker-process.ts';

/** BANYAN_TEST_HUGE_ROWS makes it smaller, for a machine that is in a hurry. */
const ROWS = Number(process.env['BANYAN_TEST_HUGE_ROWS'] ?? 2_000_000);
/** Every row is streamed and mapped; one of so many makes an event, or sending them would take minutes. */
const ROWS_PER_EVENT = 25;
const EVENTS = ROWS / ROWS_PER_EVENT;
/** After how many events of its own each worker is killed: they are the transaction's first ones again and again. */
const KILL_AFTER = [EVENTS * 0.04, EVENTS * 0.1, EVENTS * 0.01];
const MEMORY_LIMIT = 250_000_000;

let server: EmbeddedPostgres;
let url: string;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
  url = await server.createDatabase('huge');
  await server.query('create table rows (id int primary key)', 'huge');
});
afterAll(async () => {
  await server.stop();
});

test(`a worker killed inside a transaction of ${ROWS} rows sends the same events again, in bounded memory`, async () => {
  await using bus = await startHashingBus(ROWS, (ordinal) => ordinal + 1, { detailType: 'RowInserted' });
  const config = {
    name: 'huge',
    legacy: { url },
    bus: { type: 'local', name: 'default', endpoint: bus.url },
    capture: [
      {
        table: 'public.rows',
        emit: [{ on: 'insert', when: `row.id % ${ROWS_PER_EVENT} == 0`, detailType: 'RowInserted' }],
      },
    ],
  };
  const start = () => spawnWorker(config, { nodeArgs: [...WORKER_FLAGS] });
  await captured(await start());
  await server.query(`insert into rows select generate_series(1, ${ROWS})`, 'huge');

  for (const events of KILL_AFTER) {
    await using worker = await start();
    await bus.accepted(events);
    await expectBounded(worker);
    await worker.kill();
  }
  expect(bus.events).toBeLessThan(EVENTS);
  expect(bus.repeats).toBeGreaterThan(0);

  await using last = await start();
  await eventually(
    () => bus.events === EVENTS,
    () => `the bus has ${bus.events} of ${EVENTS} events; the worker logged:\n${last.log().slice(-4_000)}`,
    { timeoutMs: 200_000 },
  );
  await expectBounded(last);
  expect(await last.stop()).toEqual({ code: 0, signal: null });
  expect(bus.wrong).toEqual([]);
  expect([...bus.prefixes]).toHaveLength(1);
}, 300_000);

/** Publication and slot are made: every change from now on is captured. */
async function captured(worker: WorkerProcess): Promise<void> {
  await using maker = worker;
  await maker.until(isStreaming);
  await maker.stop();
}

async function expectBounded(worker: WorkerProcess): Promise<void> {
  // Only Linux tells.
  expect((await worker.peakMemory()) ?? 0).toBeLessThan(MEMORY_LIMIT);
}
