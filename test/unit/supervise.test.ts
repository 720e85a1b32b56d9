import { getEventListeners } from 'node:events';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { backoffMs, retry, shutDown, sleep } from '../../src/flow/supervise.ts';

const never = new AbortController().signal;

describe('backoffMs', () => {
  test('is at most twice the last limit, and never above the maximum', () => {
    const limits = [0, 1, 2, 3, 4, 5].map((attempt) =>
      backoffMs(attempt, { baseMs: 100, maxMs: 1_000, random: () => 0.999_999 }),
    );
    expect(limits.map((ms) => Math.round(ms))).toEqual([100, 200, 400, 800, 1_000, 1_000]);
  });

  test('spreads over the whole range and stays finite after any number of attempts', () => {
    fc.assert(
      fc.property(fc.nat(), fc.double({ min: 0, max: 0.999, noNaN: true }), (attempt, chance) => {
        const ms = backoffMs(attempt, { baseMs: 50, maxMs: 10_000, random: () => chance });
        expect(ms).toBeGreaterThanOrEqual(0);
        expect(ms).toBeLessThan(10_000);
      }),
    );
  });
});

describe('sleep', () => {
  test('rejects with the reason as soon as the signal aborts, and leaves no listener', async () => {
    const abort = new AbortController();
    const reason = new Error('stopping');
    const asleep = sleep(60_000, abort.signal);
    abort.abort(reason);
    await expect(asleep).rejects.toBe(reason);
    await expect(sleep(60_000, abort.signal)).rejects.toBe(reason);
    const other = new AbortController();
    await sleep(1, other.signal);
    expect(getEventListeners(other.signal, 'abort')).toEqual([]);
  });
});

describe('retry', () => {
  test('goes on until the task succeeds and tells of every wait', async () => {
    const told: number[] = [];
    let calls = 0;
    const result = await retry(
      async () => {
        calls += 1;
        if (calls < 3) throw new Error('not yet');
        return 'done';
      },
      {
        signal: never,
        baseMs: 1,
        maxMs: 1,
        isRetriable: () => true,
        onRetry: (_error, attempt) => told.push(attempt),
      },
    );
    expect(result).toBe('done');
    expect(told).toEqual([0, 1]);
  });

  test('throws what another attempt can not mend', async () => {
    let calls = 0;
    const failing = retry(
      async () => {
        calls += 1;
        throw new Error('hopeless');
      },
      { signal: never, baseMs: 1, maxMs: 1, isRetriable: () => false },
    );
    await expect(failing).rejects.toThrow('hopeless');
    expect(calls).toBe(1);
  });

  test('ends its wait when the signal aborts', async () => {
    const abort = new AbortController();
    const failing = retry(
      async () => {
        throw new Error('down');
      },
      {
        signal: abort.signal,
        baseMs: 60_000,
        maxMs: 60_000,
        random: () => 1,
        isRetriable: () => true,
        onRetry: () => abort.abort(new Error('stopping')),
      },
    );
    await expect(failing).rejects.toThrow('stopping');
  });
});

describe('shutDown', () => {
  test('aborts only after a drain that ends by itself', async () => {
    const order: string[] = [];
    const ended = await shutDown({
      drain: async () => {
        order.push('drained');
      },
      abort: async () => {
        order.push('aborted');
      },
      deadlineMs: 60_000,
    });
    expect(ended).toBe('drained');
    expect(order).toEqual(['drained', 'aborted']);
  });

  test('gives up the drain at the deadline', async () => {
    let aborted = false;
    const ended = await shutDown({
      drain: (signal) => sleep(60_000, signal),
      abort: async () => {
        aborted = true;
      },
      deadlineMs: 5,
    });
    expect(ended).toBe('aborted');
    expect(aborted).toBe(true);
  });

  test('releases everything even when the drain fails, and throws its error', async () => {
    let aborted = false;
    const failing = shutDown({
      drain: async () => {
        throw new Error('broken');
      },
      abort: async () => {
        aborted = true;
      },
      deadlineMs: 60_000,
    });
    await expect(failing).rejects.toThrow('broken');
    expect(aborted).toBe(true);
  });
});
