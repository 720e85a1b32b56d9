import { describe, expect, test } from 'vitest';
import { WalTrend } from '../../src/postgres/wal-budget.ts';

const budget = { budgetBytes: 1_000, action: 'warn' } as const;

function trendOf(...samples: readonly (readonly [seconds: number, heldBytes: number])[]): WalTrend {
  const trend = new WalTrend();
  for (const [seconds, heldBytes] of samples) trend.add({ atMs: seconds * 1_000, heldBytes });
  return trend;
}

describe('what the slot holds', () => {
  test('is not known before anybody looked', () => {
    expect(trendOf().report(budget)).toEqual({
      ...budget,
      heldBytes: undefined,
      growthPerSecond: undefined,
      exhaustedInSeconds: undefined,
    });
  });

  test('has no trend before it was seen for long enough', () => {
    const report = trendOf([0, 100], [5, 200]).report(budget);
    expect(report).toMatchObject({ heldBytes: 200, growthPerSecond: undefined, exhaustedInSeconds: undefined });
  });

  test('grows, and is exhausted when the rest is used up', () => {
    const report = trendOf([0, 100], [10, 200], [20, 300]).report(budget);
    expect(report).toMatchObject({ heldBytes: 300, growthPerSecond: 10, exhaustedInSeconds: 70 });
  });

  test('stands still', () => {
    const report = trendOf([0, 300], [20, 300]).report(budget);
    expect(report).toMatchObject({ growthPerSecond: 0, exhaustedInSeconds: undefined });
  });

  test('grows from its lowest point on: what was freed before is no part of it', () => {
    const report = trendOf([0, 900], [10, 100], [30, 300]).report(budget);
    expect(report).toMatchObject({ growthPerSecond: 10, exhaustedInSeconds: 70 });
  });

  test('says nothing of what comes a moment after it fell', () => {
    expect(trendOf([0, 900], [20, 100], [22, 300]).report(budget).growthPerSecond).toBeUndefined();
  });

  test('is exhausted at the budget, whatever the trend', () => {
    expect(trendOf([0, 1_000]).report(budget).exhaustedInSeconds).toBe(0);
  });

  test('forgets what is long ago, and everything when it is cleared', () => {
    const trend = trendOf([0, 0], [1_000, 500], [1_020, 520]);
    expect(trend.report(budget).growthPerSecond).toBe(1);
    trend.clear();
    expect(trend.report(budget).heldBytes).toBeUndefined();
  });
});
