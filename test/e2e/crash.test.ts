import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { FLAWLESS } from '../support/recorder.ts';
import { makeShopBed } from '../support/shop-bed.ts';
import { isStreaming, spawnWorker } from '../support/worker-process.ts';
import { startWorkload } from '../support/workload.ts';

const KILLS = 20;

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(async () => {
  await server.stop();
});

test(`a worker killed ${KILLS} times under load, with a bus that fails, loses nothing and changes no repeat`, async () => {
  await using bed = await makeShopBed(server, 'crash');
  const { bus, recorder } = bed;
  bus.faults.set({
    throttle: { probability: 0.01 },
    failEntries: { probability: 0.05 },
    answerLost: { probability: 0.05 },
    delayMs: 5,
  });
  await bed.captured();
  const load = startWorkload(bed.url, { writers: 4, pauseMs: 30 });
  try {
    for (let kill = 0; kill < KILLS; kill += 1) {
      await using worker = await spawnWorker(bed.config());
      // Mostly among its first events; now and then at any moment of its start.
      if (kill % 5 === 4) {
        await pause(Math.random() * 1_000);
      } else {
        await worker.until(isStreaming);
        await bed.accepted(1 + Math.floor(Math.random() * 600));
      }
      await worker.kill();
    }
  } finally {
    await load.stop();
  }
  // Random throttling keeps the rate low for as long as it lasts, and the last worker has all the rest to send.
  bus.faults.set({ throttle: null });
  await using last = await spawnWorker(bed.config());
  await last.until(isStreaming);
  await bed.confirmed();

  expect(await recorder.verdict(bed.url)).toEqual(FLAWLESS);
  expect(recorder.events).toBeGreaterThan(1_000);
  expect(recorder.repeats).toBeGreaterThan(KILLS);
}, 240_000);
