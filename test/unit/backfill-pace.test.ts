import { expect, test } from 'vitest';
import { Pace } from '../../src/capture/backfill/pace.ts';

function paceAfter(...chunks: (readonly [rows: number, seconds: number])[]): number {
  const pace = new Pace();
  for (const [rows, seconds] of chunks) pace.adapt(rows, seconds);
  return pace.rows;
}

test('a chunk gets as many rows as are sent in half a second, within bounds', () => {
  expect(paceAfter()).toBe(500);
  expect(paceAfter([500, 0.25])).toBe(1_000);
  expect(paceAfter([500, 5])).toBe(100);
  expect(paceAfter([500, 500])).toBe(100);
  expect(paceAfter([30_000, 0.01])).toBe(40_000);
});

test('it grows at most four times at once, and not by what nothing came of', () => {
  expect(paceAfter([500, 0.001])).toBe(2_000);
  expect(paceAfter([500, 0.001], [10, 0.001])).toBe(400);
  expect(paceAfter([500, 0.25], [0, 1])).toBe(1_000);
});
