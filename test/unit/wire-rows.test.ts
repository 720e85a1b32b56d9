import { expect, test } from 'vitest';
import { SpareRows } from '../../src/postgres/wire-rows.ts';
import { wireRows } from '../support/wire-rows.ts';

test('some values of a row, in the order that is asked for', () => {
  const rows = wireRows([
    ['1', null, 'ä', 'x'.repeat(200)],
    ['2', 'two', '', null],
  ]);
  expect(rows.pick(0, [2, 0])).toEqual(['ä', '1']);
  expect(rows.pick(1, [3, 1])).toEqual([null, 'two']);
  expect(rows.value(0, 3)).toBe('x'.repeat(200));
  expect(rows.pick(2, [0])).toEqual([]);
});

test('some values of a row with many columns', () => {
  const cells = Array.from({ length: 40 }, (_, column) => (column % 7 === 0 ? null : `${column}`));
  const rows = wireRows([cells]);
  const odd = [...cells.keys()].filter((column) => column % 2 === 1).toReversed();
  expect(rows.pick(0, odd)).toEqual(odd.map((column) => cells[column]));
});

test('NULLs are memory, too', () => {
  const rows = wireRows(Array.from({ length: 100 }, () => Array.from({ length: 50 }, () => null)));
  expect(rows.bytes).toBe(0);
  expect(rows.held).toBeGreaterThan(100 * 50 * 4);
});

test('spare rows are as many as a reader needs, and none of them is huge', () => {
  const spare = new SpareRows();
  const few = Array.from({ length: 10 }, () => wireRows([['1']]));
  const huge = wireRows([['x'.repeat(10_000_000)]]);
  spare.give(huge);
  for (const rows of few) spare.give(rows);
  const taken = Array.from({ length: 10 }, () => spare.take(1));
  expect(taken.filter((rows) => few.includes(rows))).toHaveLength(2);
  expect(taken).not.toContain(huge);
  expect(taken.every(({ length }) => length === 0)).toBe(true);
});
