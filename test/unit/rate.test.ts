import { describe, expect, test } from 'vitest';
import { AdaptiveRate } from '../../src/flow/rate.ts';

/** A clock that a test moves by hand, milliseconds. */
function clock() {
  let time = 0;
  return {
    now: () => time,
    advance: (ms: number) => {
      time += ms;
    },
  };
}

describe('AdaptiveRate', () => {
  test('lets everything pass until the first throttled answer', () => {
    const { now } = clock();
    const rate = new AdaptiveRate({ now });
    for (let call = 0; call < 10_000; call += 1) expect(rate.reserveMs()).toBe(0);
    rate.succeeded();
    expect(rate.limit).toBeUndefined();
  });

  test('takes the rate in use, less the decrease, as the first limit', () => {
    const time = clock();
    const rate = new AdaptiveRate({ now: time.now, decrease: 0.5 });
    for (let call = 0; call < 400; call += 1) {
      rate.reserveMs();
      time.advance(5);
    }
    rate.throttled();
    expect(rate.limit).toBeCloseTo(100, -1);
  });

  test('counts the throttled answers of all calls in flight as one', () => {
    const time = clock();
    const rate = new AdaptiveRate({ now: time.now, decrease: 0.5, settleMs: 250 });
    for (let call = 0; call < 1_000; call += 1) rate.reserveMs();
    time.advance(1_000);
    for (let call = 0; call < 16; call += 1) rate.throttled();
    expect(rate.limit).toBe(500);
    time.advance(250);
    rate.throttled();
    expect(rate.limit).toBe(250);
  });

  test('spaces calls at the limit, whoever makes them', () => {
    const time = clock();
    const rate = new AdaptiveRate({ now: time.now, minPerSecond: 10 });
    time.advance(5_000);
    rate.throttled();
    expect(rate.limit).toBe(10);
    expect([1, 2, 3].map(() => rate.reserveMs())).toEqual([0, 100, 200]);
  });

  test('never falls below its minimum', () => {
    const time = clock();
    const rate = new AdaptiveRate({ now: time.now, minPerSecond: 4 });
    for (let answer = 0; answer < 50; answer += 1) {
      rate.throttled();
      time.advance(1_000);
    }
    expect(rate.limit).toBe(4);
  });

  test('grows by a step for each second of full use, and not while idle', () => {
    const time = clock();
    const rate = new AdaptiveRate({ now: time.now, decrease: 0.5, increase: 0.1, minPerSecond: 1 });
    for (let call = 0; call < 200; call += 1) rate.reserveMs();
    time.advance(1_000);
    rate.throttled();
    expect(rate.limit).toBe(100);
    for (let answer = 0; answer < 100; answer += 1) rate.succeeded();
    expect(rate.limit).toBeGreaterThan(117);
    expect(rate.limit).toBeLessThan(120.1);
    time.advance(3_600_000);
    expect(rate.limit).toBeLessThan(120.1);
  });

  test('settles near the capacity of a service that throttles', () => {
    const time = clock();
    const rate = new AdaptiveRate({ now: time.now });
    const capacity = 100;
    let tokens = capacity;
    let accepted = 0;
    let refused = 0;
    let nextCallAt = 0;
    for (; time.now() < 60_000; time.advance(1)) {
      tokens = Math.min(capacity / 10, tokens + capacity / 1_000);
      while (nextCallAt <= time.now()) {
        if (tokens >= 1) {
          tokens -= 1;
          accepted += 1;
          rate.succeeded();
        } else {
          refused += 1;
          rate.throttled();
        }
        nextCallAt = time.now() + Math.max(rate.reserveMs(), 0.5);
      }
    }
    expect(accepted).toBeGreaterThan(0.75 * capacity * 60);
    expect(refused).toBeLessThan(0.1 * accepted);
  });

  test('ends a wait when the signal aborts', async () => {
    const rate = new AdaptiveRate({ minPerSecond: 0.001 });
    rate.throttled();
    await rate.acquire(AbortSignal.timeout(60_000));
    const abort = new AbortController();
    const waiting = rate.acquire(abort.signal);
    abort.abort(new Error('stopping'));
    await expect(waiting).rejects.toThrow('stopping');
  });
});
