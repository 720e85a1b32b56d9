import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type PatternJson, unionOf } from '../../src/core/pattern-union.ts';
import { compilePattern } from '../../src/core/pattern.ts';

describe('the union of patterns', () => {
  test('one pattern is itself, and a repeat adds nothing', () => {
    const pattern = { source: ['shop'], detail: { kind: [{ prefix: 'a' }] } };
    expect(unionOf([pattern, structuredClone(pattern)])).toEqual(pattern);
  });

  test('patterns that differ in one field become one with the values of both', () => {
    expect(
      unionOf([
        { source: ['shop'], 'detail-type': ['OrderPlaced'] },
        { 'detail-type': ['OrderPlaced', 'OrderShipped'], source: ['shop'] },
        { source: ['shop'], 'detail-type': ['OrderCancelled'] },
      ]),
    ).toEqual({ source: ['shop'], 'detail-type': ['OrderPlaced', 'OrderShipped', 'OrderCancelled'] });
    expect(
      unionOf([
        { source: ['shop'], detail: { order: { kind: ['a'], open: [true] } } },
        { source: ['shop'], detail: { order: { kind: ['b'], open: [true] } } },
      ]),
    ).toEqual({ source: ['shop'], detail: { order: { kind: ['a', 'b'], open: [true] } } });
  });

  test('others are tied by $or', () => {
    const patterns = [
      { source: ['shop'], 'detail-type': ['A'] },
      { source: ['crm'], 'detail-type': ['B'] },
    ];
    expect(unionOf(patterns)).toEqual({ $or: patterns });
  });

  test('takes exactly what one of them takes', () => {
    const values = fc.uniqueArray(
      fc.oneof(fc.constantFrom('a', 'b'), fc.constantFrom<unknown>({ prefix: 'b' }, { exists: false })),
      { minLength: 1, maxLength: 2, selector: (value) => JSON.stringify(value) },
    );
    const fields = fc.record(
      { source: values, 'detail-type': values, detail: fc.record({ x: values, y: values }, { requiredKeys: ['x'] }) },
      {
        requiredKeys: ['source'],
      },
    );
    const branches = fc.tuple(fields, fields).map(([first, second]): PatternJson => ({ $or: [first, second] }));
    const pattern: fc.Arbitrary<PatternJson> = fc.oneof({ weight: 4, arbitrary: fields }, branches);
    const event = fc.record(
      {
        source: fc.constantFrom('a', 'b', 'bc'),
        'detail-type': fc.constantFrom('a', 'b'),
        detail: fc.record({ x: fc.constantFrom('a', 'bc'), y: fc.constantFrom('a', 'b') }, { requiredKeys: [] }),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(
        fc.array(pattern, { minLength: 1, maxLength: 4 }),
        fc.array(event, { minLength: 1 }),
        (patterns, events) => {
          const each = patterns.map((one) => compilePattern(one));
          const all = compilePattern(unionOf(patterns));
          for (const one of events) expect(all.matches(one)).toBe(each.some((matcher) => matcher.matches(one)));
        },
      ),
      { numRuns: 500 },
    );
  });
});
