import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Cell, RowChange } from '../../src/core/change.ts';
import { eventRange } from '../../src/core/event.ts';
import { type BedOptions, mappingBed, transaction, type TypeName } from '../support/mapping-bed.ts';
import { wireRows } from '../support/wire-rows.ts';

const RUN = 7;

/** What `map` makes of the same rows, one by one. */
function both(options: BedOptions, rows: readonly (readonly Cell[])[], places = [...rows.keys()]) {
  const { relation, compile } = mappingBed(options);
  const mapper = compile();
  const reads = { places, ordinal: 90, mark: transaction, run: RUN };
  const written = mapper.reads?.write(wireRows(rows), reads);
  const mapped = places.map((place, number) => {
    const change: RowChange = {
      operation: 'read',
      transaction,
      ordinal: reads.ordinal + number,
      relation,
      new: rows[place],
      old: undefined,
      oldKind: undefined,
      run: RUN,
    };
    return mapper.map(change)[0];
  });
  return { written, mapped };
}

const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 40 }),
  fc.string({ maxLength: 40 }),
  fc.constantFrom('', '"', '\\', 'a\nb', '\u0001', 'é', '😀', 'x'.repeat(5_000), 'ü'.repeat(3_000), '\u007f\u0080'),
);
const digits = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String);
const moments = ['2026-03-01 12:00:00', '0044-03-15 12:00:00 BC', 'infinity', '-infinity', '12026-01-01 00:00:00.5'];
const zones = ['2026-03-01 12:00:00+00', '2026-03-01 12:00:00.123456-03:30', '0044-03-15 12:00:00+00 BC', 'infinity'];
const numbers = ['0', '-12.50', '1e+300', 'NaN', 'Infinity', '-Infinity'];

const VALUES: Readonly<Partial<Record<TypeName, fc.Arbitrary<string>>>> = {
  int4: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }).map(String),
  int8: digits,
  numeric: fc.oneof(digits, fc.constantFrom(...numbers)),
  float8: fc.oneof(fc.double().map(String), fc.constantFrom(...numbers)),
  bool: fc.constantFrom('t', 'f'),
  text,
  uuid: fc.uuid(),
  json: fc.json(),
  date: fc.constantFrom('2026-03-01', 'infinity'),
  timestamp: fc.constantFrom(...moments),
  timestamptz: fc.constantFrom(...zones),
  bytea: fc.constantFrom(String.raw`\x`, String.raw`\x00ff`),
  textArray: fc.constantFrom('{}', '{a,"b\\"c",NULL,é}', '{{a},{b}}'),
};
const TYPES = Object.keys(VALUES) as TypeName[];

const KEYS: readonly TypeName[] = ['int8', 'text', 'uuid', 'timestamptz'];

/** A table with a key of one or two columns, and rows for it. */
const tables = fc
  .record({
    key: fc.array(fc.constantFrom(...KEYS), { minLength: 1, maxLength: 2 }),
    others: fc.array(fc.constantFrom(...TYPES), { minLength: 1, maxLength: 12 }),
  })
  .chain(({ key, others }) => {
    const names = [
      ...key.map((_, index) => `k"${index}`),
      ...others.map((_, index) => (index % 3 === 0 ? `ö${index}` : `c${index}`)),
    ];
    const types = [...key, ...others];
    const cells = types.map((type, index) => {
      const value = VALUES[type] as fc.Arbitrary<string>;
      return index < key.length ? value : fc.option(value, { freq: 5 });
    });
    return fc.record({
      columns: fc.constant(Object.fromEntries(names.map((name, index) => [name, types[index] as TypeName]))),
      primaryKey: fc.constant(names.slice(0, key.length)),
      rows: fc.array(fc.tuple(...cells), { minLength: 1, maxLength: 30 }),
    });
  });

/** Settings of an entry for any table, given its last column. */
const entries = fc.constantFrom<(last: string) => Record<string, unknown>>(
  () => ({}),
  () => ({ numbers: 'json' }),
  () => ({ order: 'relaxed' }),
  () => ({ source: 'own', bus: 'other' }),
  (last) => ({ mask: { [last]: 'hash' } }),
  (last) => ({ mask: { [last]: 'last4' } }),
  (last) => ({
    detail: { first: { value: 'ä' }, renamed: { column: last }, again: { column: last }, end: { value: [1] } },
  }),
  () => ({ emit: [{ on: ['insert', 'read'], detailType: 'Größe' }] }),
);

describe('events of reads, from bytes', () => {
  test('are those that the mapper makes of the same rows', () => {
    let written = 0;
    fc.assert(
      fc.property(
        tables,
        entries,
        fc.constantFrom(eventRange(0, 1), eventRange(1, 3)),
        ({ rows, ...table }, entry, range) => {
          const last = Object.keys(table.columns).at(-1) as string;
          const found = both({ ...table, entry: entry(last), range }, rows);
          // What it leaves to the mapper is the mapper's.
          written += found.written?.filter((event) => event !== undefined).length ?? 0;
          expect(found.written?.map((event, row) => event ?? found.mapped[row])).toEqual(found.mapped);
        },
      ),
      { numRuns: 400 },
    );
    expect(written).toBeGreaterThan(2_000);
  });

  test('are of the rows that are asked for, under their ordinals', () => {
    const columns = { id: 'int8', name: 'text' } as const;
    const rows = [1, 2, 3, 4].map((id) => [`${id}`, `row ${id}`]);
    const { written, mapped } = both({ columns }, rows, [1, 3]);
    expect(written).toEqual(mapped);
    expect(written?.map((event) => event?.group)).toEqual(['public.orders:2', 'public.orders:4']);
  });

  test('have the place of the row in the id where rows may share the key', () => {
    const columns = { id: 'int8', owner: 'text' } as const;
    const { written, mapped } = both({ columns, identity: 'full', entry: { key: ['owner'] } }, [
      ['1', 'a'],
      ['2', 'a'],
    ]);
    expect(written).toEqual(mapped);
    expect(new Set(written?.map((event) => event?.id)).size).toBe(2);
  });

  test('go on behind rows that are too large for the text, or can not be read', () => {
    const columns = { id: 'int8', tags: 'textArray', note: 'text' } as const;
    const rows = [
      ['1', '{a}', 'x'.repeat(300_000)],
      ['2', '{b}', '\u0001'.repeat(50_000)],
      ['3', '{c}', 'y'.repeat(60_000)],
      ['4', '{d}', 'z'.repeat(60_000)],
      ['5', '{e}', 'é'.repeat(60_000)],
      ['6', '{f}', null],
    ];
    const { written, mapped } = both({ columns }, rows);
    expect(written?.map((event) => event !== undefined)).toEqual([false, false, true, true, true, true]);
    expect(written?.slice(2)).toEqual(mapped.slice(2));
  });

  test('are left to the mapper where a value has to be computed, or a value is none of its type', () => {
    const columns = { id: 'int8', tags: 'textArray', owner: 'text' } as const;
    const computed: BedOptions['entry'][] = [
      { detail: { twice: { cel: 'row.owner + row.owner' } } },
      { source: { cel: 'row.owner' } },
      { resources: ['one'] },
      { emit: [{ on: 'read', when: "row.owner != ''", detailType: 'Big' }] },
    ];
    const writers = computed.map((entry) => mappingBed({ columns, entry: entry ?? {} }).compile().reads);
    expect(writers).toEqual(computed.map(() => undefined));
    const { compile } = mappingBed({ columns });
    const written = compile().reads?.write(
      wireRows([
        ['1', 'no array', null],
        ['2', '{a}', null],
      ]),
      {
        places: [0, 1],
        ordinal: 0,
        mark: transaction,
        run: RUN,
      },
    );
    expect(written?.map((event) => event !== undefined)).toEqual([false, true]);
  });
});
