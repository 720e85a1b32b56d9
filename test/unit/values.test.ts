import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BanyanError } from '../../src/core/errors.ts';
import { TypeCatalog, type PgType } from '../../src/postgres/type-catalog.ts';
import { jsonString } from '../../src/postgres/values/json-string.ts';
import { jsonWriter } from '../../src/postgres/values/json-writer.ts';
import { typeOid } from '../../src/postgres/values/type-oids.ts';

const TEXT = 25;
const base = { schema: 'public', delimiter: ',', category: 'U', jsonCast: false };

const types = TypeCatalog.of([
  { ...base, oid: 1000, name: '_int8', kind: 'array', elementOid: typeOid.int8 },
  { ...base, oid: 1001, name: '_text', kind: 'array', elementOid: TEXT },
  { ...base, oid: 1002, name: 'money_amount', kind: 'domain', baseOid: typeOid.numeric },
  {
    ...base,
    oid: 1003,
    name: 'pair',
    kind: 'composite',
    fields: [
      { name: 'left', typeOid: typeOid.int8 },
      { name: 'right', typeOid: TEXT },
    ],
  },
  { ...base, oid: 1004, name: 'hstore', kind: 'base', jsonCast: true },
  { ...base, oid: 1005, name: 'hstore', kind: 'base' },
  { ...base, oid: 1006, name: 'of_unknown', kind: 'domain', baseOid: 99_999 },
] satisfies PgType[]);

function write(oid: number, text: string, numbers: 'text' | 'json' = 'text'): string {
  return jsonWriter(oid, { types, numbers })(text);
}

describe('jsonString', () => {
  test('is JSON.stringify for any text, short and long', () => {
    const unit = fc.oneof(
      fc.constantFrom('"', '\\', '\n', '\u0000', '\u001f', ' ', '\u007f', '\u2028'),
      fc.string({ unit: 'binary', maxLength: 4 }),
    );
    fc.assert(
      fc.property(fc.string({ unit, maxLength: 80 }), (text) => {
        expect(jsonString(text)).toBe(JSON.stringify(text));
      }),
    );
  });

  test('finds what must be escaped at any place', () => {
    for (const length of [1, 31, 32, 33, 34, 500]) {
      for (let place = 0; place < length; place += 1) {
        const text = `${'a'.repeat(place)}"${'b'.repeat(length - place - 1)}`;
        expect(jsonString(text)).toBe(JSON.stringify(text));
      }
    }
  });
});

describe('jsonWriter', () => {
  test('writes bigint and numeric as strings unless numbers are to be JSON', () => {
    expect(write(typeOid.int8, '9007199254740993')).toBe('"9007199254740993"');
    expect(write(typeOid.int8, '9007199254740993', 'json')).toBe('9007199254740993');
    expect(write(1002, '1.50')).toBe('"1.50"');
    expect(write(1002, '1.50', 'json')).toBe('1.50');
    expect(write(1002, 'NaN', 'json')).toBe('"NaN"');
    expect(write(1000, '{{1,NULL},{3,4}}')).toBe('[["1",null],["3","4"]]');
    expect(write(1003, '(7,"")')).toBe('{"left":"7","right":""}');
  });

  test('knows PostgreSQL’s own scalars without a catalog', () => {
    const none = { types: TypeCatalog.of([]), numbers: 'text' as const };
    expect(jsonWriter(typeOid.bool, none)('t')).toBe('true');
    expect(jsonWriter(typeOid.float8, none)('1e+20')).toBe('1e+20');
    expect(jsonWriter(typeOid.jsonb, none)('{"a": 1}')).toBe('{"a": 1}');
    expect(jsonWriter(typeOid.timestamptz, none)('2026-03-01 12:00:00+00')).toBe('"2026-03-01T12:00:00+00:00"');
    expect(jsonWriter(typeOid.timestamptz, none)('2026-03-01 12:00:00+05:45')).toBe('"2026-03-01T12:00:00+05:45"');
  });

  test('writes a type that it does not know as a string of its text', () => {
    expect(write(99_999, '{a"}')).toBe('"{a\\"}"');
    expect(write(1006, '(1,2)')).toBe('"(1,2)"');
  });

  test('writes hstore as an object only where the database has the cast that to_jsonb would call', () => {
    const text = '"a\\"b"=>"1", "NULL"=>NULL, ""=>"NULL"';
    expect(JSON.parse(write(1004, text))).toEqual({ 'a"b': '1', NULL: null, '': 'NULL' });
    expect(write(1004, '')).toBe('{}');
    expect(write(1005, text)).toBe(JSON.stringify(text));
  });

  test.each([
    ['a row with one field too few', 1003, '(1)'],
    ['a row with one field too many', 1003, '(1,a,b)'],
    ['a row that is cut', 1003, '(1,"a'],
    ['a scalar for a row', 1003, '1'],
    ['nothing for a row', 1003, ''],
    ['a scalar for an array', 1000, '12'],
    ['nothing for an array', 1001, ''],
    ['an array that is cut', 1001, '{a,"b}'],
    ['an array with a brace too few', 1001, '{{a}'],
    ['an hstore without a value', 1004, '"a"=>'],
    ['an hstore without an arrow', 1004, '"a", "b"'],
  ])('calls %s drift of the type, and does not show the value', (_what, oid, text) => {
    const attempt = () => write(oid, text);
    expect(attempt).toThrow(BanyanError);
    expect(attempt).toThrow(
      expect.objectContaining({ kind: 'schema-drift', message: expect.stringContaining('public.') as string }),
    );
    expect(attempt).toThrow(expect.objectContaining({ context: { type: expect.any(String) as string, typeOid: oid } }));
  });
});
