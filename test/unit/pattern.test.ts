import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseExactJson } from '../../src/core/pattern-json.ts';
import { compilePattern, InvalidPatternError } from '../../src/core/pattern.ts';

interface Case {
  readonly op: string;
  readonly pattern: unknown;
  readonly event: unknown;
  readonly expect: boolean | 'invalid';
}

const cases = (
  JSON.parse(readFileSync(new URL('event-pattern-cases.json', import.meta.url), 'utf8')) as readonly Case[]
).map((one, index) => ({ ...one, name: `${index} ${one.op}` }));

const matches = (pattern: unknown, event: unknown): boolean => compilePattern(pattern).matches(event);
const reasonOf = (pattern: unknown): string => {
  try {
    compilePattern(pattern);
  } catch (error) {
    if (error instanceof InvalidPatternError) return error.message;
    throw error;
  }
  return 'valid';
};

describe('the verdicts of AWS’s rule engine', () => {
  it('has all of its cases at hand', () => {
    expect(cases.length).toBe(157);
    expect(cases.filter((one) => one.expect === 'invalid').length).toBeGreaterThan(10);
  });

  it.each(cases.filter((one) => one.expect !== 'invalid'))('agrees on case $name', (one) => {
    expect(matches(one.pattern, one.event)).toBe(one.expect);
    expect(matches(JSON.stringify(one.pattern), one.event)).toBe(one.expect);
  });

  it.each(cases.filter((one) => one.expect === 'invalid'))('refuses case $name', (one) => {
    expect(() => compilePattern(one.pattern)).toThrow(InvalidPatternError);
    expect(() => compilePattern(JSON.stringify(one.pattern))).toThrow(InvalidPatternError);
  });
});

describe('an invalid pattern', () => {
  it.each([
    [{ detail: { a: 'x' } }, 'Event pattern is not valid. Reason: "a" must be an object or an array at detail.a'],
    [{ detail: {} }, 'Event pattern is not valid. Reason: Empty objects are not allowed at detail'],
    [[], 'Event pattern is not valid. Reason: Filter is not an object'],
    [{ a: [] }, 'Event pattern is not valid. Reason: Empty arrays are not allowed at a'],
    [{ a: [['x']] }, 'Reason: Match value must be String, number, true, false, or null at a[0]'],
    [{ a: ['x', { foo: 1 }] }, 'Reason: Unrecognized match type foo at a[1].foo'],
    [{ a: [{}] }, 'Reason: Match expression name not found at a[0]'],
    [{ a: [{ prefix: 'a', suffix: 'b' }] }, 'Reason: Only one key allowed in match expression at a[0]'],
    [{ a: [{ prefix: 5 }] }, 'Reason: prefix match pattern must be a string at a[0].prefix'],
    [{ a: [{ prefix: { wildcard: 'x' } }] }, 'Reason: Unsupported prefix pattern: wildcard at a[0].prefix'],
    [{ a: [{ wildcard: 'a\\b' }] }, 'Reason: Invalid escape character at pos 1 at a[0].wildcard'],
    [{ a: [{ exists: 1 }] }, 'Reason: exists match pattern must be either true or false. at a[0].exists'],
    [{ a: [{ numeric: 5 }] }, 'Reason: Value of numeric must be an array. at a[0].numeric'],
    [{ a: [{ numeric: [] }] }, 'Reason: Empty arrays are not allowed at a[0].numeric'],
    [{ a: [{ numeric: ['~', 5] }] }, 'Reason: Unrecognized numeric range operator: ~ at a[0].numeric'],
    [{ a: [{ numeric: ['=', 5, 6] }] }, 'Reason: Too many elements in numeric expression at a[0].numeric'],
    [{ a: [{ numeric: ['<', 5, '>', 6] }] }, 'Reason: Too many elements in numeric expression at a[0].numeric'],
    [{ a: [{ numeric: ['>', 5, '>', 6] }] }, 'Reason: Bad numeric range operator: > at a[0].numeric'],
    [{ a: [{ numeric: ['>'] }] }, 'Reason: Value of > must be numeric at a[0].numeric'],
    [{ a: [{ cidr: '10.0.0.0' }] }, "Reason: Malformed CIDR, one '/' required at a[0].cidr"],
    [{ a: [{ cidr: '10.0.0.0/x' }] }, 'Reason: Malformed CIDR, mask bits must be an integer at a[0].cidr'],
    [{ a: [{ cidr: '10.0.0.0/32' }] }, 'Reason: IPv4 mask bits must be < 32 at a[0].cidr'],
    [{ a: [{ cidr: '10.0.0/8' }] }, 'Reason: Nonstandard IP address at a[0].cidr'],
    [
      { a: [{ 'anything-but': null }] },
      'Reason: Value of anything-but must be an array or single string/number value.',
    ],
    [{ a: [{ 'anything-but': { prefix: '' } }] }, 'Reason: Null prefix/suffix not allowed at a[0].anything-but.prefix'],
    [{ a: [{ 'anything-but': { suffix: [] } }] }, 'Reason: Empty arrays are not allowed at a[0].anything-but.suffix'],
    [{ $or: [{ a: ['x'] }] }, 'Reason: There must have at least 2 Objects in $or relationship. at $or'],
    [{ $or: [{ a: { prefix: ['x'] } }, { b: ['y'] }] }, 'Reason: prefix is Ruler reserved fieldName'],
  ])('%j says what and where', (pattern, message) => {
    expect(reasonOf(pattern)).toContain(message);
  });

  it('that is not JSON says at which position', () => {
    expect(reasonOf('{"a": [x]}')).toMatch(/^Event pattern is not valid\. Reason: .*position|column|"\{"a": \[x/);
  });

  it('whose alternatives multiply past a thousand is refused before they are made', () => {
    const branches = Array.from({ length: 11 }, (_, index) => ({ a: [String(index)] }));
    expect(reasonOf({ x: { $or: branches }, y: { $or: branches }, z: { $or: branches } })).toContain(
      '1000 combinations',
    );
    expect(reasonOf({ x: { $or: branches }, y: { $or: branches } })).toBe('valid');
  });
});

describe('what the cases leave open', () => {
  it('never matches what is not an object', () => {
    for (const event of [null, 5, 'x', [], undefined]) expect(matches({ a: [{ exists: false }] }, event)).toBe(false);
  });

  it('tells integers apart that a double can not', () => {
    const pattern = '{"detail": {"id": [9007199254740993]}}';
    expect(matches(pattern, parseExactJson('{"detail": {"id": 9007199254740993}}'))).toBe(true);
    expect(matches(pattern, parseExactJson('{"detail": {"id": 9007199254740992}}'))).toBe(false);
    expect(
      matches('{"id": [{"numeric": [">", 9223372036854775806]}]}', parseExactJson('{"id": 9223372036854775807}')),
    ).toBe(true);
    expect(
      matches('{"id": [{"numeric": [">", 9223372036854775806]}]}', parseExactJson('{"id": 9223372036854775806}')),
    ).toBe(false);
    expect(matches({ id: [{ 'anything-but': 2 ** 60 }] }, parseExactJson('{"id": 1152921504606846976}'))).toBe(false);
  });

  it('keeps digits inside strings as text', () => {
    expect(parseExactJson('{"a": "12345678901234567890", "b": 1234567890123456.5}')).toEqual({
      a: '12345678901234567890',
      b: 1234567890123456.5,
    });
  });

  it('looks for an absent field in the element that the earlier fields chose', () => {
    const pattern = { a: { p: ['1'], q: [{ exists: false }] } };
    expect(matches(pattern, { a: [{ p: '1' }, { q: '2' }] })).toBe(true);
    expect(matches(pattern, { a: [{ p: '1', q: '2' }, { p: '0' }] })).toBe(false);
  });

  // Verdicts of AWS's engine. A value in no element would do for `a`, and yet the one in an element is what leaves `a.b` absent.
  it('takes the value in an element where only that one leaves a later field absent', () => {
    const event = { a: [{ b: 'xy' }, ['xy'], 'y'] };
    const absent = [{ exists: false }];
    expect(matches({ a: ['xy'], 'a.b': absent }, event)).toBe(true);
    expect(matches({ a: ['y'], 'a.b': absent }, event)).toBe(false);
    expect(matches({ a: [{ prefix: '' }], 'a.b': absent }, event)).toBe(true);
    const either = { 'a.b': [{ exists: false }, 'x'], a: [{ prefix: '' }, 'x'] };
    expect(matches({ $or: [{ a: ['x'] }, either] }, event)).toBe(true);
    // No element is chosen yet where `a.b` is asked before `a.c`: the names' order decides.
    expect(matches({ 'a.b': absent, 'a.c': ['x'] }, { a: [{ b: '1' }, { c: 'x' }] })).toBe(false);
  });

  it('joins every condition on one field, however it was written', () => {
    const pattern = { 'a.b': [{ prefix: 'x' }], a: { b: [{ suffix: 'y' }] } };
    expect(matches(pattern, { a: { b: 'xy' } })).toBe(true);
    expect(matches(pattern, { a: { b: 'xz' } })).toBe(false);
  });

  it('takes a $or of match expressions for a field of that name', () => {
    expect(matches({ $or: [{ prefix: 'a' }, { suffix: 'z' }] }, { $or: 'about' })).toBe(true);
    expect(matches({ $or: [{ prefix: 'a' }, { suffix: 'z' }] }, { $or: 'bout' })).toBe(false);
  });

  it('takes an address for what it means, in the range that begins where it was written', () => {
    expect(matches({ a: ['::1'] }, { a: '0:0:0:0:0:0:0:1' })).toBe(true);
    expect(matches({ a: [{ cidr: '2001:db8::/32' }] }, { a: '2001:db8:1:2:3:4:5:6' })).toBe(true);
    expect(matches({ a: [{ cidr: '10.0.0.8/24' }] }, { a: '10.0.0.7' })).toBe(false);
    expect(matches({ a: [{ cidr: '10.0.0.8/24' }] }, { a: '10.0.0.255' })).toBe(true);
    for (const a of ['10.0.0', '10.0.0.256', '1:2:3', '1::2::3', ':::', 'x::1', '10.0.0.-1']) {
      expect(matches({ a: [{ cidr: '0.0.0.0/0' }, { cidr: '::/0' }] }, { a })).toBe(false);
    }
  });

  it('does not take inherited members for fields', () => {
    expect(matches({ constructor: { name: [{ exists: true }] } }, {})).toBe(false);
    expect(matches({ toString: [{ exists: false }] }, {})).toBe(true);
  });

  it('survives arrays nested deeper than the call stack', () => {
    const depth = 200_000;
    const event = JSON.parse(`{"a": ${'['.repeat(depth)}"x"${']'.repeat(depth)}}`) as unknown;
    expect(matches({ a: ['x'] }, event)).toBe(true);
  });
});
