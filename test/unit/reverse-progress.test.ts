import { describe, expect, test } from 'vitest';
import { countOutcome, noReverseProgress } from '../../src/reverse/progress.ts';

const applied = { status: 'applied', verdict: 'echo' } as const;
const ago = (seconds: number) => new Date(Date.now() - seconds * 1_000).toISOString();

describe('the lag of reverse sync', () => {
  test('is the age of the event that was applied last, and stays what it was with others', () => {
    const progress = noReverseProgress();
    expect(progress.lagSeconds).toBeUndefined();
    countOutcome(progress, applied, ago(90));
    expect(progress.lagSeconds).toBeGreaterThanOrEqual(90);
    expect(progress.lagSeconds).toBeLessThan(95);
    const before = progress.lagSeconds;
    // Set aside before, without a time, or not applied: none of it says how far the queue is behind.
    countOutcome(progress, applied);
    countOutcome(progress, { status: 'duplicate' }, ago(500));
    expect(progress.lagSeconds).toBe(before);
    expect(progress.applied.echo).toBe(2);
  });

  test('is nothing below 0, where clocks differ', () => {
    const progress = noReverseProgress();
    countOutcome(progress, applied, ago(-30));
    expect(progress.lagSeconds).toBe(0);
  });
});
