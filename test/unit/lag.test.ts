import { expect, test } from 'vitest';
import { LagMeter } from '../../src/capture/lag.ts';
import type { Lsn } from '../../src/core/lsn.ts';

/** A clock and a stream that a test moves; calm up to 5 s, worth nothing after a minute. */
function place() {
  const now = { ms: 1_000_000 };
  const stream: { received: Lsn | undefined } = { received: undefined };
  const meter = new LagMeter({ received: () => stream.received, calmMs: 5_000, staleMs: 60_000, now: () => now.ms });
  const mark = (tookMs: number) => {
    meter.sets();
    now.ms += tookMs;
    meter.arrived();
  };
  return { now, stream, meter, mark };
}

const iso = (ms: number) => new Date(ms).toISOString();

test('is not known before a mark has come, and is its age on arrival then', () => {
  const { now, meter, mark } = place();
  expect([meter.lagMs, meter.calmSince, meter.passedUntilMs]).toEqual([undefined, undefined, undefined]);
  meter.sets();
  now.ms += 4_000;
  expect(meter.lagMs).toBeUndefined();
  now.ms += 2_000;
  // So far behind it is at least.
  expect(meter.lagMs).toBe(6_000);
  meter.arrived();
  expect(meter.lagMs).toBe(6_000);
  expect(meter.calmSince).toBeUndefined();
  mark(300);
  expect(meter.lagMs).toBe(300);
  expect(meter.calmSince).toBe(iso(now.ms));
  // What was committed before the mark was set has come, no more is known.
  expect(meter.passedUntilMs).toBe(now.ms - 300);
});

test('the age of a mark on its way counts as soon as it is more than the last one had', () => {
  const { now, meter, mark } = place();
  mark(1_000);
  const since = now.ms;
  meter.sets();
  now.ms += 500;
  expect(meter.lagMs).toBe(1_000);
  now.ms += 4_000;
  expect([meter.lagMs, meter.calmSince]).toEqual([4_500, iso(since)]);
  now.ms += 1_000;
  expect([meter.lagMs, meter.calmSince]).toEqual([5_500, undefined]);
  meter.arrived();
  expect(meter.calmSince).toBeUndefined();
});

test('one that was late is a break, also where nobody looked while it was', () => {
  const { now, meter, mark } = place();
  mark(10);
  mark(6_000);
  expect(meter.calmSince).toBeUndefined();
  mark(10);
  expect(meter.calmSince).toBe(iso(now.ms));
});

test('where nothing moves, the end of the WAL that the stream has come to is no lag', () => {
  const { now, stream, meter, mark } = place();
  mark(2_000);
  const since = now.ms;
  stream.received = 100n as Lsn;
  now.ms += 30_000;
  meter.sawEnd(100n as Lsn, now.ms - 5);
  expect([meter.lagMs, meter.calmSince, meter.passedUntilMs]).toEqual([0, iso(since), now.ms - 5]);
  meter.sawEnd(200n as Lsn, now.ms);
  expect(meter.isWaiting).toBe(true);
  now.ms += 700;
  stream.received = 200n as Lsn;
  expect(meter.isWaiting).toBe(false);
  expect(meter.lagMs).toBe(700);
});

test('what was measured long ago is not known any more, and calm begins anew', () => {
  const { now, meter, mark } = place();
  mark(10);
  now.ms += 61_000;
  expect([meter.lagMs, meter.calmSince]).toEqual([undefined, undefined]);
  mark(10);
  expect(meter.calmSince).toBe(iso(now.ms));
  // Nobody looked in between, and still nothing was known.
  now.ms += 61_000;
  mark(10);
  expect(meter.calmSince).toBe(iso(now.ms));
});
