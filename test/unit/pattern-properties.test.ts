import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compilePattern } from '../../src/core/pattern.ts';

/**
 * The oracle: flattens the whole event as AWS's engine documents it, then tries every choice of one value per field. Slow, and written
 * without a look at the matcher.
 */
interface Flat {
  readonly path: string;
  readonly value: unknown;
  /** Array number -> element. */
  readonly within: ReadonlyMap<number, number>;
}

function flatten(event: Record<string, unknown>): Flat[] {
  const flat: Flat[] = [];
  let arrays = 0;
  const visit = (value: unknown, path: readonly string[], within: ReadonlyMap<number, number>): void => {
    if (Array.isArray(value)) {
      const id = arrays++;
      for (const [index, element] of value.entries()) {
        const nested = typeof element === 'object' && element !== null;
        visit(element, path, nested ? new Map([...within, [id, index]]) : within);
      }
    } else if (typeof value === 'object' && value !== null) {
      for (const [key, member] of Object.entries(value)) visit(member, [...path, key], within);
    } else flat.push({ path: path.join('.'), value, within });
  };
  visit(event, [], new Map());
  return flat;
}

type Alternatives = readonly (string | number | null | { readonly exists: boolean } | { readonly prefix: string })[];

function fits(a: ReadonlyMap<number, number>, b: ReadonlyMap<number, number>): boolean {
  return [...a].every(([array, index]) => (b.get(array) ?? index) === index);
}

function oracle(fields: ReadonlyMap<string, Alternatives>, event: Record<string, unknown>): boolean {
  const flat = flatten(event);
  const names = [...fields.keys()].toSorted((a, b) => (a < b ? -1 : 1));
  const choose = (at: number, within: ReadonlyMap<number, number>): boolean => {
    const name = names[at];
    if (name === undefined) return true;
    const here = flat.filter((field) => field.path === name && fits(field.within, within));
    return (fields.get(name) ?? []).some((wanted) => {
      if (typeof wanted === 'object' && wanted !== null && 'exists' in wanted && !wanted.exists) {
        return here.length === 0 && choose(at + 1, within);
      }
      return here.some((field) => {
        const takes =
          typeof wanted !== 'object' || wanted === null
            ? field.value === wanted
            : 'exists' in wanted || (typeof field.value === 'string' && field.value.startsWith(wanted.prefix));
        return takes && choose(at + 1, new Map([...within, ...field.within]));
      });
    });
  };
  return choose(0, new Map());
}

const key = fc.constantFrom('a', 'b', 'c');
const scalar = fc.constantFrom<string | number | null>('x', 'xy', 'y', '', 1, 2, null);
const { event } = fc.letrec<{ event: Record<string, unknown>; value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    scalar,
    fc.array(tie('value'), { maxLength: 3 }),
    tie('event'),
  ),
  event: fc.dictionary(key, tie('value'), { maxKeys: 3 }),
}));

const alternatives: fc.Arbitrary<Alternatives> = fc.array(
  fc.oneof(
    scalar,
    fc.boolean().map((exists) => ({ exists })),
    fc.constantFrom('', 'x', 'xy').map((prefix) => ({ prefix })),
  ),
  { minLength: 1, maxLength: 3 },
);
const path = fc.array(key, { minLength: 1, maxLength: 3 }).map((segments) => segments.join('.'));
const fields = fc
  .dictionary(path, alternatives, { minKeys: 1, maxKeys: 4 })
  .map((record) => new Map(Object.entries(record)));

describe('properties', () => {
  it('matches as trying every choice of values does', () => {
    let matched = 0;
    fc.assert(
      fc.property(fields, event, (wanted, one) => {
        const expected = oracle(wanted, one);
        if (expected) matched++;
        expect(compilePattern(Object.fromEntries(wanted)).matches(one)).toBe(expected);
      }),
      { numRuns: 5_000 },
    );
    expect(matched).toBeGreaterThan(100);
  });

  it('takes a $or where it takes one of the branches', () => {
    fc.assert(
      fc.property(fields, fields, event, (left, right, one) => {
        const [a, b] = [Object.fromEntries(left), Object.fromEntries(right)];
        expect(compilePattern({ $or: [a, b] }).matches(one)).toBe(oracle(left, one) || oracle(right, one));
      }),
      { numRuns: 1_000 },
    );
  });

  it('decides wildcards as a regular expression of the same text does', () => {
    const piece = fc.constantFrom('a', 'b', '*', '\\*', '\\\\', '.');
    const pattern = fc
      .array(piece, { maxLength: 8 })
      .map((pieces) => pieces.filter((one, at) => one !== '*' || pieces[at - 1] !== '*'));
    const text = fc.array(fc.constantFrom('a', 'b', '*', '\\', '.'), { maxLength: 8 }).map((parts) => parts.join(''));
    const source: Readonly<Record<string, string>> = { '*': '.*', '.': '\\.', a: 'a', b: 'b' };
    fc.assert(
      fc.property(pattern, text, (pieces, value) => {
        const expected = new RegExp(`^${pieces.map((one) => source[one] ?? one).join('')}$`, 's').test(value);
        expect(compilePattern({ a: [{ wildcard: pieces.join('') }] }).matches({ a: value })).toBe(expected);
      }),
      { numRuns: 3_000 },
    );
  });

  it('takes anything-but exactly where the field has a value that the same list does not take', () => {
    const value = fc.string({ maxLength: 3 });
    fc.assert(
      fc.property(fc.array(value, { minLength: 1, maxLength: 4 }), fc.array(value, { maxLength: 4 }), (list, a) => {
        const expected = a.some((one) => !list.includes(one));
        expect(compilePattern({ a: [{ 'anything-but': list }] }).matches({ a })).toBe(expected);
      }),
    );
  });

  it('ignores case at either end as it does for the whole', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'B', 'ß', 'é', 'Σ', 'İ', '😀', '-'), maxLength: 6 });
    fc.assert(
      fc.property(text, text, (pattern, rest) => {
        const matches = (operator: string, value: string): boolean =>
          compilePattern({ a: [{ [operator]: { 'equals-ignore-case': pattern } }] }).matches({ a: value });
        // Character by character: a final sigma is not looked at as such.
        const characters = Array.from(pattern);
        const upper = characters.map((character) => character.toUpperCase()).join('');
        const lower = characters.map((character) => character.toLowerCase()).join('');
        for (const value of [upper, lower]) {
          expect(compilePattern({ a: [{ 'equals-ignore-case': pattern }] }).matches({ a: value })).toBe(true);
          expect(matches('prefix', value + rest)).toBe(true);
          expect(matches('suffix', rest + value)).toBe(true);
        }
      }),
    );
  });
});
