import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ParkingMeter } from '../../src/flow/parking-meter.ts';

test('as many events as allowed may be parked each minute, for ever', () => {
  let now = 0;
  const meter = new ParkingMeter(3, () => now);
  for (let event = 0; event < 100; event += 1) {
    expect(meter.isFlood()).toBe(false);
    now += 20_000;
  }
});

test('one more within a minute is a flood, wherever the minute begins', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 6 }),
      fc.array(fc.integer({ min: 0, max: 40_000 }), { maxLength: 60 }),
      (max, gaps) => {
        let now = 0;
        const times: number[] = [];
        const meter = new ParkingMeter(max, () => now);
        for (const gap of gaps) {
          now += gap;
          times.push(now);
          const withinMinute = times.filter((time) => now - time < 60_000).length;
          expect(meter.isFlood()).toBe(withinMinute > max);
        }
      },
    ),
  );
});
