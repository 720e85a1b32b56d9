import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  add,
  compare,
  divide,
  formatDecimal,
  multiply,
  parseDecimal,
  round,
  subtract,
} from '../../src/mapping/decimal.ts';
import { dataOf, detailOf, mappingBed, type Row, type TypeName } from '../support/mapping-bed.ts';

const columns = {
  id: 'int8',
  status: 'text',
  quantity: 'int4',
  price: 'numeric',
  ratio: 'float8',
  paid: 'bool',
  at: 'timestamptz',
  day: 'date',
  payload: 'jsonb',
  tags: 'textArray',
  sums: 'numericArray',
} as const;

const row: Row = {
  id: '9007199254740993',
  status: 'shipped',
  quantity: '3',
  price: '10.50',
  ratio: '0.5',
  paid: 't',
  at: '2026-03-01 12:00:00.123456+00',
  day: '2026-03-01',
  payload: '{"kind": "web", "count": 2, "nested": {"a": null}}',
  tags: '{red,NULL,"a b"}',
  sums: '{1.50,2}',
};

/** What `{ cel }` in the detail makes of a row, as JSON text. */
function evaluate(cel: string, given: Row = row, entry: Record<string, unknown> = {}): string {
  const bed = mappingBed({ columns, entry: { ...entry, detail: { x: { cel } } } });
  const detail = bed.compile().map(bed.insert(given))[0]?.detail ?? '';
  return /"data":\{(?:"x":(.*))?\}\}$/s.exec(detail)?.[1] ?? '(absent)';
}

/** Whether `when` holds: true, false, or counted as false because of NULL or an absent value. */
function holds(when: string, given: Row = row): boolean | 'no value' {
  const bed = mappingBed({ columns, entry: { emit: [{ on: 'insert', when, detailType: 'X' }] } });
  const mapper = bed.compile();
  const { length } = mapper.map(bed.insert(given));
  return mapper.counters.nullConditions > 0 ? 'no value' : length > 0;
}

function problem(cel: string): string | undefined {
  const bed = mappingBed({ columns, entry: { detail: { x: { cel } } } });
  return bed.problems()[0]?.message;
}

describe('an expression in the detail', () => {
  test.each([
    ['row.quantity * row.price', '"31.50"'],
    ['row.price - 0.5', '"10.00"'],
    ['row.price * 1.1', '"11.550"'],
    ['row.price.divide(3, 2)', '"3.50"'],
    ['row.price.round(0)', '"11"'],
    ['-row.price', '"-10.50"'],
    ['decimal("1e2") + 1', '"101"'],
    ['string(row.price)', '"10.50"'],
    ['double(row.price)', '10.5'],
    ['int(row.price)', '10'],
    ['row.quantity + 1', '4'],
    ['size(row.tags)', '3'],
    ['row.id + 1', '"9007199254740994"'],
    ['row.id > 5 ? 1 : 0', '"1"'],
    ['row.ratio * 3.0', '1.5'],
    ['row.paid && row.quantity > 2', 'true'],
    ['row.status + "!"', '"shipped!"'],
    ["row.status == 'shipped' ? 'gone' : 'here'", '"gone"'],
    ['row.at', '"2026-03-01T12:00:00.123+00:00"'],
    ['row.day', '"2026-03-01T00:00:00+00:00"'],
    ['row.day > timestamp("2026-02-01T00:00:00Z")', 'true'],
    ['row.payload.kind', '"web"'],
    ['row.payload.count', '2'],
    ['row.payload.nested', '{"a":null}'],
    ['row.tags', '["red",null,"a b"]'],
    ["'red' in row.tags", 'true'],
    ['row.sums.map(s, s * 2)', '["3.00","4"]'],
    ["{'a': row.quantity}", '{"a":3}'],
    ['[row.status]', '["shipped"]'],
    ['op + table', '"insertpublic.orders"'],
  ])('%s gives %s', (cel, json) => {
    expect(evaluate(cel)).toBe(json);
  });

  test('writes integers and decimals as JSON numbers where numbers says json', () => {
    expect(evaluate('row.id + 1', row, { numbers: 'json' })).toBe('9007199254740994');
    expect(evaluate('row.price * 2', row, { numbers: 'json' })).toBe('21.00');
  });

  test('gives NULL where a NULL goes in, as SQL does', () => {
    expect(evaluate('row.quantity * row.price', { ...row, price: null })).toBe('null');
    expect(evaluate('row.status.upperAscii()', { ...row, status: null })).toBe('null');
    expect(evaluate('row.payload.missing')).toBe('null');
  });

  test('is unavailable where a column that it needs was not sent, or has no value in CEL', () => {
    const bed = mappingBed({ columns, entry: { detail: { at: { cel: 'row.at' }, id: 'id' } } });
    for (const at of [undefined, 'infinity', '0044-03-15 12:00:00+00 BC', '10000-01-01 00:00:00+00']) {
      const [event] = bed.compile().map(bed.insert({ ...row, at }));
      expect(detailOf(event).metadata['unavailable']).toEqual(['at']);
      expect(detailOf(event).data).toEqual({ id: '9007199254740993' });
    }
    expect(evaluate('row.price + 1', { ...row, price: 'NaN' })).toBe('(absent)');
  });

  test('sees the old row as row when it makes previous', () => {
    const bed = mappingBed({ columns, identity: 'full', entry: { detail: { double: { cel: 'row.quantity * 2' } } } });
    const [event] = bed.compile().map(bed.update({ ...row, quantity: '5' }, row));
    expect(detailOf(event)).toMatchObject({ data: { double: 10 }, previous: { double: 6 } });
  });

  test('sees the row that went on a delete', () => {
    const bed = mappingBed({ columns, identity: 'full', entry: { detail: { last: { cel: 'row.status' } } } });
    expect(dataOf(bed.compile().map(bed.delete(row)))).toEqual({ last: 'shipped' });
  });

  test.each(['row.quantity / 0', 'row.price.divide(0, 2)', 'int(row.status)', 'row.quantity * 9007199254740993'])(
    '%s parks the change without naming a value of the row',
    (cel) => {
      const bed = mappingBed({ columns, entry: { detail: { x: { cel } } } });
      const mapper = bed.compile();
      expect(() => mapper.map(bed.insert({ ...row, status: 'secret words' }))).toThrow(
        expect.objectContaining({ kind: 'mapping-failed', message: expect.not.stringContaining('secret') as string }),
      );
    },
  );
});

describe('a condition', () => {
  test.each([
    ["row.status == 'shipped'", true],
    ["row.status != 'shipped'", false],
    ['row.status == null', false],
    ['row.price > 10', true],
    ['row.price >= 10.5', true],
    ['row.price == 10.5', true],
    ['3 < row.price', true],
    ['row.at > timestamp("2026-01-01T00:00:00Z") && row.paid', true],
    ["row.status in ['placed', 'shipped']", true],
    ['has(row.payload.kind)', true],
    ['has(row.payload.nope)', false],
    ['row.tags.exists(t, t == "red")', true],
    ['row.payload.count > 1.0', true],
  ])('%s is %s', (when, expected) => {
    expect(holds(when)).toBe(expected);
  });

  test('that NULL would make an error is false and counted', () => {
    expect(holds('row.quantity > 1', { ...row, quantity: null })).toBe('no value');
    expect(holds("row.status.startsWith('s')", { ...row, status: null })).toBe('no value');
    expect(holds('row.paid && true', { ...row, paid: null })).toBe('no value');
    expect(holds("row.payload.nope == 'x'")).toBe('no value');
    expect(holds('row.payload.nested.a > 1')).toBe('no value');
  });

  test('can ask for NULL, and an absent value does not reach what does not need it', () => {
    expect(holds('row.status == null', { ...row, status: null })).toBe(true);
    expect(holds("row.status != 'shipped'", { ...row, status: null })).toBe(true);
    expect(holds('row.at == null || row.paid', { ...row, at: undefined })).toBe(true);
    expect(holds('row.tags == null', { ...row, tags: null })).toBe(true);
    expect(holds('row.payload == null', { ...row, payload: null })).toBe(true);
  });
});

describe('a mistake in an expression is found before any row comes', () => {
  test.each([
    ['row.nope', 'public.orders has no column nope'],
    ['row.statsu', 'public.orders has no column statsu; the nearest is status'],
    ['has(row.nope)', 'public.orders has no column nope'],
    ['row.tags.exists(t, t == row.nope)', 'public.orders has no column nope'],
    ['row.status + 1', 'at 1:1: no such overload: string + int'],
    ['row.price / 3', 'at 1:1: no such overload: decimal / int'],
    ["row.id.startsWith('a')", "at 1:1: found no matching overload for 'int.startsWith(string)'"],
    ['row.quantity ==', 'at 1:16: Unexpected token: EOF'],
    ['true ||\n  nope', 'at 2:3: Unknown variable: nope'],
    ["row.status.matches('a+')", 'at 1:1: matches() is switched off'],
    ['row', 'at 1:1: row is no value by itself'],
    ['row[row.status]', 'at 1:5: name the column'],
    ['row[op]', 'at 1:5: name the column'],
  ])('%s: %s', (cel, message) => {
    expect(problem(cel)).toContain(message);
  });

  test('a condition that is no condition, a text that is no text', () => {
    const bed = mappingBed({
      columns,
      entry: { bus: { cel: 'row.id' }, emit: [{ on: 'insert', when: 'row.quantity', detailType: 'X' }] },
    });
    expect(bed.problems().map(({ path, message }) => [path, message])).toEqual([
      ['capture[0].bus', 'a text is wanted here, and the expression is of type int'],
      ['capture[0].emit[0].when', 'a condition must be true or false, and this is of type int'],
    ]);
  });

  test('a column that no identifier can name is reached in brackets', () => {
    const bed = mappingBed({
      columns: { id: 'int8', 'two words': 'text', constructor: 'text' } as Record<string, TypeName>,
      entry: { detail: { x: { cel: "row['two words'] + row.constructor" } } },
    });
    expect(dataOf(bed.compile().map(bed.insert({ id: '1', 'two words': 'a', constructor: 'b' })))).toEqual({
      x: 'ab',
    });
  });
});

/** As a whole number, to compare decimals of any scale that the tests make. */
const scaled = (value: { unscaled: bigint; scale: number }) => value.unscaled * 10n ** BigInt(40 - value.scale);

describe('decimals', () => {
  const decimal = fc
    .tuple(fc.bigInt({ min: -(10n ** 30n), max: 10n ** 30n }), fc.nat({ max: 20 }))
    .map(([unscaled, scale]) => ({ unscaled, scale }));

  test('read what they write', () => {
    fc.assert(
      fc.property(decimal, (value) => {
        expect(parseDecimal(formatDecimal(value))).toEqual(value);
      }),
    );
  });

  test('add, subtract, multiply and compare exactly', () => {
    fc.assert(
      fc.property(decimal, decimal, (a, b) => {
        expect(scaled(add(a, b))).toBe(scaled(a) + scaled(b));
        expect(scaled(subtract(a, b))).toBe(scaled(a) - scaled(b));
        expect(multiply(a, b).unscaled * 10n ** BigInt(80 - a.scale - b.scale)).toBe(scaled(a) * scaled(b));
        expect(Math.sign(compare(a, b))).toBe(scaled(a) < scaled(b) ? -1 : scaled(a) > scaled(b) ? 1 : 0);
      }),
    );
  });

  test.each([
    ['2.5', 0, '3'],
    ['-2.5', 0, '-3'],
    ['2.449', 1, '2.4'],
    ['1', 2, '1.00'],
    ['0.005', 2, '0.01'],
  ])('%s rounded to %i digits is %s', (text, digits, rounded) => {
    const value = parseDecimal(text);
    expect(value === undefined ? undefined : formatDecimal(round(value, digits))).toBe(rounded);
  });

  test.each(['', '.', '-', 'NaN', 'Infinity', '1e', '1,5', ' 1'])('%j is none', (text) => {
    expect(parseDecimal(text)).toBeUndefined();
  });

  test.each([
    ['1', '3', 4, '0.3333'],
    ['2', '3', 0, '1'],
    ['-1', '8', 2, '-0.13'],
    ['1.00', '0.3', 2, '3.33'],
  ])('%s by %s to %i digits is %s', (a, b, digits, quotient) => {
    const [left, right] = [parseDecimal(a), parseDecimal(b)];
    const result = left === undefined || right === undefined ? undefined : divide(left, right, digits);
    expect(result === undefined ? undefined : formatDecimal(result)).toBe(quotient);
  });
});
