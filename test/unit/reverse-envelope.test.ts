import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BanyanError } from '../../src/core/errors.ts';
import { decodeEnvelope } from '../../src/reverse/envelope.ts';
import { ExactNumber, jsonText } from '../../src/reverse/json.ts';
import { InvalidJson, parseExact } from '../../src/reverse/json-parse.ts';

const SECRET = 'correct-horse-battery-staple';

const event = {
  version: '0',
  id: '6a7e8feb-b491-4cf7-a9f1-bf3703467718',
  'detail-type': 'OrderShipped',
  source: 'shop.orders',
  account: '123456789012',
  time: '2026-03-01T12:00:00Z',
  region: 'eu-west-1',
  resources: [],
  detail: { orderId: 42 },
};

function refusal(body: string): BanyanError {
  try {
    decodeEnvelope(body);
  } catch (error) {
    if (error instanceof BanyanError) return error;
    throw error;
  }
  throw new Error('the body was taken');
}

describe('an envelope', () => {
  test('is read with what every entry needs', () => {
    const body = JSON.stringify({ ...event, 'replay-name': 'again' });
    expect(decodeEnvelope(body)).toMatchObject({
      id: event.id,
      source: 'shop.orders',
      detailType: 'OrderShipped',
      time: event.time,
      replayName: 'again',
      detail: { orderId: 42 },
      body,
    });
  });

  test('may come without time and replay', () => {
    const { time: _time, ...rest } = event;
    const envelope = decodeEnvelope(JSON.stringify({ ...rest, time: null }));
    expect([envelope.time, envelope.replayName]).toEqual([undefined, undefined]);
  });

  test('keeps the digits of its numbers, while patterns see numbers', () => {
    const body = JSON.stringify(event).replace('42', '[9007199254740993,1.50,1e400,-0,0.1]');
    const { detail, plain } = decodeEnvelope(body);
    expect(jsonText(detail)).toBe('{"orderId":[9007199254740993,1.50,1e400,-0,0.1]}');
    expect(plain).toMatchObject({ detail: { orderId: [9007199254740993n, 1.5, Infinity, -0, 0.1] } });
  });

  test('has no more than its own fields', () => {
    const text = JSON.stringify(event);
    const polluted = `{"__proto__":{"source":"forged","detail":{"orderId":7}},${text.slice(1)}`;
    expect(decodeEnvelope(polluted).source).toBe('shop.orders');
    expect(({} as { source?: unknown }).source).toBeUndefined();
    const { source: _source, ...rest } = event;
    expect(refusal(`{"__proto__":{"source":"forged"},${JSON.stringify(rest).slice(1)}`).message).toContain(
      'source is missing',
    );
  });

  test('the last of two fields of one name counts, as for every parser', () => {
    expect(decodeEnvelope(`{"source":"first",${JSON.stringify(event).slice(1)}`).source).toBe('shop.orders');
  });
});

test.each([
  ['', 'the body is no JSON'],
  [SECRET, 'the body is no JSON'],
  [`{"source":"${SECRET}"`, 'the body is no JSON'],
  ['[]', 'the body is a list'],
  ['null', 'the body is null'],
  [`"${SECRET}"`, 'the body is a text'],
  ['{}', 'detail is missing'],
  [JSON.stringify({ ...event, detail: JSON.stringify({ secret: SECRET }) }), 'detail is a text, where an object'],
  [JSON.stringify({ ...event, detail: [SECRET] }), 'detail is a list'],
  [JSON.stringify({ ...event, source: { secret: SECRET } }), 'source is an object, where a text'],
  [JSON.stringify({ ...event, source: '' }), 'source is an empty text'],
  [JSON.stringify({ ...event, source: SECRET.repeat(20) }), 'source is a text longer than 256'],
  [JSON.stringify({ ...event, id: 7 }), 'id is a number'],
  [JSON.stringify({ ...event, id: `${SECRET}\0` }), 'id is a text with characters'],
  [JSON.stringify({ ...event, 'detail-type': null }), 'detail-type is null'],
  [JSON.stringify({ ...event, time: SECRET }), 'time is a text that is no time'],
  [JSON.stringify({ ...event, time: 'infinity' }), 'time is a text that is no time'],
  [JSON.stringify({ ...event, time: '2026-02-30T00:00:00Z' }), 'time is a text that is no time'],
  [JSON.stringify({ ...event, 'replay-name': true }), 'replay-name is `true` or `false`'],
  [`{"Type":"Notification","Message":${JSON.stringify(JSON.stringify(event))}}`, 'detail is missing'],
  ['[1] [2]', 'the body is no JSON'],
  ['{"a":1,}', 'the body is no JSON'],
  ['['.repeat(100_000), 'nested deeper than 1000 levels'],
  ['{"a":'.repeat(100_000), 'nested deeper than 1000 levels'],
  [`"${'x'.repeat(1_048_576)}"`, 'larger than 1048576 bytes'],
])('what is no event is refused, case %#', (body, reason) => {
  const error = refusal(body);
  expect([error.kind, error.reaction]).toEqual(['envelope-invalid', 'park']);
  expect(error.message).toContain(reason);
  expect(`${error.message} ${JSON.stringify(error.context)} ${String(error.cause)}`).not.toContain(SECRET);
});

/** What becomes of a body; an error of another class passes. */
function outcome(body: string): string {
  try {
    decodeEnvelope(body);
    return 'read';
  } catch (error) {
    if (error instanceof BanyanError) return error.kind;
    throw error;
  }
}

test('garbage of any kind is read or refused, never another error', () => {
  const broken = fc
    .tuple(fc.constant(JSON.stringify(event)), fc.nat({ max: 220 }), fc.string({ unit: 'binary', maxLength: 3 }))
    .map(([text, at, more]) => text.slice(0, at) + more + text.slice(at + more.length));
  const fields = fc.record(
    Object.fromEntries(Object.keys(event).map((name) => [name, fc.jsonValue({ maxDepth: 2 })])),
    { requiredKeys: [] },
  );
  const anything = fc.oneof(
    fc.string({ unit: 'binary' }),
    broken,
    fields.map((value) => JSON.stringify(value)),
  );
  fc.assert(
    fc.property(anything, (body) => {
      expect(['read', 'envelope-invalid']).toContain(outcome(body));
    }),
    { numRuns: 2_000 },
  );
});

function isTakenBy(parse: (text: string) => unknown, text: string): boolean {
  try {
    parse(text);
    return true;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof InvalidJson) return false;
    throw error;
  }
}

function nested(depth: number): string {
  return '['.repeat(depth) + ']'.repeat(depth);
}

describe('JSON', () => {
  test('is taken and refused as the engine takes and refuses it', () => {
    const letters = fc.constantFrom(
      ...Array.from('{}[],:"\\ntruefalsn0123456789.eE+- \n\t\u0001/xu'),
      '"a":',
      '"a"',
      'null',
    );
    const near = fc.array(letters, { maxLength: 12 }).map((parts) => parts.join(''));
    fc.assert(
      fc.property(near, (text) => {
        expect(isTakenBy(parseExact, text)).toBe(isTakenBy(JSON.parse, text));
      }),
      { numRuns: 10_000 },
    );
  });

  test('comes out as it went in', () => {
    const text = fc.jsonValue().map((value) => JSON.stringify(value));
    fc.assert(fc.property(text, (json) => jsonText(parseExact(json).value) === json));
    expect(parseExact(' { "a" : [ true , null , { } , [ ] ] } ').value).toEqual({ a: [true, null, {}, []] });
  });

  test('keeps every number as it was written', () => {
    const number = fc.stringMatching(/^-?(0|[1-9]\d{0,30})(\.\d{1,30})?([eE][+-]?\d{1,3})?$/);
    fc.assert(fc.property(number, (text) => jsonText(parseExact(text).value) === text));
    expect(parseExact('9007199254740992').value).toBe(9007199254740992);
    expect(parseExact('9007199254740993').value).toEqual(new ExactNumber('9007199254740993'));
  });

  // Node.js 24.21 gives the second object the name of the first.
  test('tells names apart that end with an escape', () => {
    expect(parseExact('{"a":1,"b\\\\":2}').value).toEqual({ a: 1, 'b\\': 2 });
    expect(Object.keys(parseExact('{"a":1,"b\\"":2}').value as object)).toEqual(['a', 'b"']);
    expect(Object.keys(parseExact('{"a":1,"b\\n":2}').value as object)).toEqual(['a', 'b\n']);
  });

  test('nests as deep as asked for and no deeper', () => {
    expect(() => parseExact(nested(7), { maxDepth: 7 })).not.toThrow();
    expect(() => parseExact(nested(8), { maxDepth: 7 })).toThrow('nested too deep');
    // Depth is that of a place, not a count of brackets.
    expect(() => parseExact(`[${'[],'.repeat(50)}[]]`, { maxDepth: 2 })).not.toThrow();
  });
});
