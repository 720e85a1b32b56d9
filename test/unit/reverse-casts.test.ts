import { describe, expect, test } from 'vitest';
import { TypeCatalog, type PgType } from '../../src/postgres/type-catalog.ts';
import { typeOid } from '../../src/postgres/values/type-oids.ts';
import { castTo } from '../../src/reverse/cast.ts';
import { parseExact } from '../../src/reverse/json-parse.ts';
import { Misfit } from '../../src/reverse/misfit.ts';
import { thrownBy } from '../support/thrown.ts';

const base = { schema: 'public', delimiter: ',', category: 'U', jsonCast: false } as const;
const own: readonly PgType[] = [
  { ...base, oid: 1, name: 'mood', kind: 'enum', labels: ['sad', 'happy'] },
  {
    ...base,
    oid: 2,
    name: 'spot',
    kind: 'composite',
    fields: [
      { name: 'x', typeOid: 23 },
      { name: 'y', typeOid: 25 },
    ],
  },
  { ...base, oid: 3, name: '_int4', kind: 'array', elementOid: 23 },
  { ...base, oid: 4, name: 'hstore', kind: 'base', jsonCast: true },
  { ...base, oid: 5, name: 'int4range', kind: 'range', subtypeOid: 23 },
  { ...base, oid: 6, name: 'small', kind: 'domain', baseOid: 21 },
  { ...base, oid: 7, name: '_spot', kind: 'array', elementOid: 2 },
  { ...base, oid: 8, name: 'tstzrange', kind: 'range', subtypeOid: 1184 },
  { ...base, oid: 9, name: '_jsonb', kind: 'array', elementOid: 3802 },
];
const OWN = {
  enum: 1,
  row: 2,
  ints: 3,
  hstore: 4,
  int4range: 5,
  domain: 6,
  rows: 7,
  tstzrange: 8,
  jsonbs: 9,
  unknown: 99_999,
} as const;
const oids = { ...typeOid, ...OWN };
const types = TypeCatalog.of(own);

function cast(type: keyof typeof oids, json: string, modifier = -1): string {
  return castTo(oids[type], { types, modifier })(parseExact(json).value);
}

test.each([
  ['int2', '-32768', '-32768'],
  ['int4', '"2147483647"', '2147483647'],
  ['int4', '1e3', '1000'],
  ['int4', '2.0', '2'],
  ['int8', '9223372036854775807', '9223372036854775807'],
  ['int8', '"+7"', '7'],
  ['domain', '7', '7'],
  ['numeric', '1.50', '1.50'],
  ['numeric', '"1e400"', '1e400'],
  ['numeric', '"-Infinity"', '-Infinity'],
  ['float4', '3.4028235e38', '3.4028235e38'],
  ['float8', '0e-999', '0e-999'],
  ['money', '"-$1,234.50"', '-$1,234.50'],
  ['bool', 'true', 'true'],
  ['text', '"NULL"', 'NULL'],
  ['uuid', '"{A0EEBC999C0B4EF8BB6D6BB9BD380A11}"', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
  ['date', '"0044-03-15 BC"', '0044-03-15 BC'],
  ['date', '"2024-02-29"', '2024-02-29'],
  ['date', '"0001-02-29 BC"', '0001-02-29 BC'],
  ['timestamptz', '"2026-03-01T12:00:00+05:45"', '2026-03-01T12:00:00+05:45'],
  ['timestamp', '"2026-03-01T12:00:00Z"', '2026-03-01T12:00:00Z'],
  ['time', '"24:00:00"', '24:00:00'],
  ['interval', '"P1Y2M3DT4H5M6.7S"', 'P1Y2M3DT4H5M6.7S'],
  ['interval', '"1 year -2 mons +3 days -04:05:06.789"', '1 year -2 mons +3 days -04:05:06.789'],
  ['bytea', '"\\\\x00fF"', '\\x00fF'],
  ['json', '{"a":"\\u0000","b":[1.50]}', '{"a":"\\u0000","b":[1.50]}'],
  ['jsonb', '"text"', '"text"'],
  ['inet', '"::ffff:1.2.3.4/96"', '::ffff:1.2.3.4/96'],
  ['bit', '"10101"', '10101'],
  ['oid', '4294967295', '4294967295'],
  ['int2vector', '[1,-2]', '1 -2'],
  ['enum', '"happy"', 'happy'],
  ['ints', '[]', '{}'],
  ['ints', '[[1,null],["3",4]]', '{{"1",NULL},{"3","4"}}'],
  ['jsonbs', '[[1],null,{"a":"\\""}]', String.raw`{"[1]",NULL,"{\"a\":\"\\\"\"}"}`],
  ['row', '{"y":"a\\"b","x":null}', '(,"a""b")'],
  ['row', '[1,""]', '("1","")'],
  ['rows', '[{"x":1,"y":"a"}]', String.raw`{"(\"1\",\"a\")"}`],
  ['hstore', '{"a\\"":"\\\\","n":null}', String.raw`"a\""=>"\\", "n"=>NULL`],
  ['int4range', '"[1,5)"', '[1,5)'],
  ['int4range', '"empty"', 'empty'],
  ['tstzrange', '"[\\"2026-01-01 00:00:00+00\\",)"', '["2026-01-01 00:00:00+00",)'],
  ['unknown', '"as the server prints it"', 'as the server prints it'],
] as const)('%s takes %s', (type, json, expected) => expect(cast(type, json)).toBe(expected));

/** [type, value, what it is called, the place within the value] */
test.each([
  ['int2', '32768', 'a number out of range', ''],
  ['int4', '1.5', 'a number', ''],
  ['int4', '"1.0"', 'a text', ''],
  ['int4', '" 1"', 'a text', ''],
  ['int4', '1e99', 'a number out of range', ''],
  ['int4', `"${'9'.repeat(100_000)}"`, 'a text', ''],
  ['int8', '9223372036854775808', 'a number out of range', ''],
  ['int8', 'true', '`true` or `false`', ''],
  ['domain', '40000', 'a number out of range', ''],
  ['numeric', '"nan"', 'a text', ''],
  ['numeric', '"1e"', 'a text', ''],
  ['numeric', '"1; drop"', 'a text', ''],
  ['float4', '1e39', 'a number out of range', ''],
  ['float4', '1e-60', 'a number out of range', ''],
  ['float8', '"1e400"', 'a number out of range', ''],
  ['money', '"1.234,50"', 'a text', ''],
  ['bool', '"true"', 'a text', ''],
  ['bool', '1', 'a number', ''],
  ['text', '1', 'a number', ''],
  ['text', '["a"]', 'a list', ''],
  ['text', '"a\\u0000"', 'a text with the character U+0000', ''],
  ['text', '"\\ud800"', 'a text with half of a surrogate pair', ''],
  ['uuid', '"a0eebc99"', 'a text', ''],
  ['date', '"2026-02-29"', 'a day that the calendar does not have', ''],
  ['date', '"0000-01-01"', 'a year that PostgreSQL does not have', ''],
  ['date', '"2026-03-01T00:00:00Z"', 'no date', ''],
  ['date', '"now"', 'no date', ''],
  ['timestamptz', '"2026-03-01T12:00:00"', 'a time without its offset from UTC', ''],
  ['timestamptz', '"2026-03-01T25:00:00Z"', 'a time that the clock does not have', ''],
  ['timestamptz', '"2026-03-01T12:00:00 Europe/Paris"', 'no date and time', ''],
  ['timestamptz', '"294277-01-01T00:00:00Z"', 'a year that PostgreSQL does not have', ''],
  ['timestamp', '"2026-03-01T12:00:00+02:00"', 'a time with an offset from UTC, which would be lost', ''],
  ['time', '"12:00:00Z"', 'a time with an offset from UTC, which would be lost', ''],
  ['time', '"24:00:01"', 'a time that the clock does not have', ''],
  ['timetz', '"12:00:00+16"', 'an offset from UTC that no place has', ''],
  ['interval', '"P"', 'a text', ''],
  ['interval', '"1 day; x"', 'a text', ''],
  ['interval', '""', 'an empty text', ''],
  ['bytea', '"\\\\x0"', 'a text', ''],
  ['bytea', '"abc"', 'a text', ''],
  ['jsonb', '{"a":["\\u0000"]}', 'a text with the character U+0000', 'a,0'],
  ['inet', '"10.0.0.1/33"', 'a text', ''],
  ['inet', '"fe80::1%eth0"', 'a text', ''],
  ['bit', '"12"', 'a text', ''],
  ['enum', '"hapy"', 'a text that is no label of the enum', ''],
  ['enum', '1', 'a number', ''],
  ['ints', '3', 'a number', ''],
  ['ints', '[1,[2]]', 'a list', '1'],
  ['ints', '[[1],2]', 'a number', '1'],
  ['ints', '[[1,2],[3]]', 'lists of different lengths', '1'],
  ['ints', '[[]]', 'an empty list in a list', '0'],
  ['ints', '[[1],null]', 'null', '1'],
  ['ints', '[[1],["x"]]', 'a text', '1,0'],
  ['ints', '[[[[[[[1]]]]]]]', 'lists in lists', '0,0,0,0,0,0'],
  ['row', '{"x":1}', 'an object without y', ''],
  ['row', '{"x":1,"y":"a","z":1}', 'an object with a field that the row does not have', ''],
  ['row', '[1]', 'a list of another length', ''],
  ['rows', '[{"x":"no","y":"a"}]', 'a text', '0,x'],
  ['hstore', '{"a":1}', 'a number', 'a'],
  ['int4range', '"[1"', 'a text that is no range', ''],
  ['int4range', '"[1,5)x"', 'a text that is no range', ''],
  ['int4range', '"[a,5)"', 'a range with a bound that is a text', ''],
  ['int4range', '["1","5"]', 'a list', ''],
  ['unknown', '{}', 'an object', ''],
] as const)('%s refuses %s', (type, json, found, place) => {
  const error = thrownBy(() => cast(type, json), Misfit);
  expect([error.found, error.path.join()]).toEqual([found, place]);
});

describe('a text with a limit', () => {
  // The modifier of varchar(3) and char(3).
  test.each(['varchar', 'bpchar'] as const)('%s', (type) => {
    expect(cast(type, '"😀ab"', 7)).toBe('😀ab');
    expect(cast(type, '"abc   "', 7)).toBe('abc   ');
    expect(() => cast(type, '"abcd"', 7)).toThrow('a text of at most 3 characters');
    expect(cast(type, '"abcd"')).toBe('abcd');
  });
});

test('long texts are read or refused in no time', () => {
  const before = performance.now();
  for (const type of [
    'interval',
    'numeric',
    'uuid',
    'inet',
    'timestamptz',
    'int4range',
    'money',
    'macaddr8',
  ] as const) {
    for (const part of ['1', '1 day ', '1,', '0:', 'aa:', '"', '\\\\']) {
      try {
        cast(type, JSON.stringify(part.repeat(100_000)));
      } catch (error) {
        if (!(error instanceof Misfit)) throw error;
      }
    }
  }
  expect(performance.now() - before).toBeLessThan(2_000);
});
