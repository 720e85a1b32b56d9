import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { FLAWLESS, type Recorder } from '../support/recorder.ts';
import { makeShopBed } from '../support/shop-bed.ts';
import { copyForStandby, slotSynced, STANDBY_SLOT, stopSlotSync } from '../support/standby.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import { isStreaming, spawnWorker } from '../support/worker-process.ts';
import { startWorkload } from '../support/workload.ts';

let primary: EmbeddedPostgres;
beforeAll(async () => {
  // Nothing reaches the worker before the standby has it.
  primary = await EmbeddedPostgres.start({ major: 18, settings: { synchronized_standby_slots: STANDBY_SLOT } });
});
afterAll(async () => {
  await primary.stop();
});

test('after the promotion of a standby, what is sent again has its old ids, and new events sort behind', async () => {
  await using bed = await makeShopBed(primary, 'promotion');
  await using proxy = await startTcpProxy(primary.port);
  const url = proxy.through(bed.url);
  await using copy = await copyForStandby(primary);
  await using worker = await spawnWorker(bed.config({ url }));
  await worker.until(isStreaming);
  const standby = await copy.start();
  const load = startWorkload(url, { writers: 4, pauseMs: 10 });
  try {
    await slotSynced(primary, { standby, slot: bed.slot });
    // What the bus accepts now, the slot's copy does not know as confirmed: it will come again.
    await stopSlotSync(standby);
    await bed.accepted(300);

    await primary.shutdown('immediate');
    await standby.query('select pg_promote()');
    proxy.retarget(standby.port);
    proxy.cut();
    await worker.until((status) => isStreaming(status) && status.server.timeline === 2);
    await bed.accepted(600);
    await load.stop();
    await bed.confirmed(standby);
  } finally {
    await load.stop();
  }
  expect(await bed.recorder.verdict(standby.url('promotion'))).toEqual(FLAWLESS);
  const again = [...bed.recorder.repeated].filter((id) => timelineOf(id) === '1');
  expect(again.length).toBeGreaterThan(100);
  const old = sequencesOf(bed.recorder, '1');
  const young = sequencesOf(bed.recorder, '2');
  expect(old.length).toBeGreaterThan(300);
  expect(young.length).toBeGreaterThan(50);
  expect((old.at(-1) ?? '') < (young[0] ?? '')).toBe(true);
});

/** The second part of an id. */
function timelineOf(id: string): string | undefined {
  return id.split('-')[1];
}

/** Of the events that this timeline wrote, sorted. */
function sequencesOf(recorder: Recorder, timeline: string): string[] {
  return recorder
    .ids()
    .filter((id) => timelineOf(id) === timeline)
    .map((id) => recorder.sequenceOf(id) ?? '')
    .toSorted();
}
