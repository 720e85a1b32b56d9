import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { FLAWLESS } from '../support/recorder.ts';
import { makeShopBed } from '../support/shop-bed.ts';
import { isStreaming, spawnWorker } from '../support/worker-process.ts';
import { startWorkload } from '../support/workload.ts';

/** Far below `shutdownTimeout`: an orchestrator waits for this. */
const QUICK_MS = 5_000;

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(async () => {
  await server.stop();
});

test('a worker stopped by SIGTERM under load exits 0 soon, and the next one repeats nothing', async () => {
  await using bed = await makeShopBed(server, 'graceful');
  await bed.captured();
  // Transactions of many rows, so that a stop falls into one and not between two.
  const load = startWorkload(bed.url, { writers: 2, pauseMs: 0, changes: 200 });
  try {
    for (let stop = 0; stop < 4; stop += 1) {
      await using worker = await spawnWorker(bed.config());
      await worker.until(isStreaming);
      await bed.accepted(500 + Math.floor(Math.random() * 500));
      const asked = performance.now();
      expect(await worker.stop()).toEqual({ code: 0, signal: null });
      expect(performance.now() - asked).toBeLessThan(QUICK_MS);
    }
  } finally {
    await load.stop();
  }
  await using last = await spawnWorker(bed.config());
  await last.until(isStreaming);
  await bed.confirmed();

  expect(bed.recorder.repeats).toBe(0);
  expect(await bed.recorder.verdict(bed.url)).toEqual(FLAWLESS);
});

test('of two workers one stands by, and takes over when the other is stopped', async () => {
  await using bed = await makeShopBed(server, 'overlap');
  await using first = await spawnWorker(bed.config());
  await first.until(isStreaming);
  const load = startWorkload(bed.url, { writers: 4, pauseMs: 10 });
  try {
    await using second = await spawnWorker(bed.config());
    await second.until(({ state }) => state === 'standby');
    const { status, body } = await second.ready();
    expect(status).toBe(200);
    expect(body).toContain('standby');

    await bed.accepted(200);
    const asked = performance.now();
    expect(await first.stop()).toEqual({ code: 0, signal: null });
    expect(performance.now() - asked).toBeLessThan(QUICK_MS);
    await second.until(isStreaming);
    await bed.accepted(200);
    await load.stop();
    await bed.confirmed();
  } finally {
    await load.stop();
  }
  expect(await bed.recorder.verdict(bed.url)).toEqual(FLAWLESS);
});
