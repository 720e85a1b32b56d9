import { describe, expect, test } from 'vitest';
import { findSharedEventNames, eventName } from '../../src/mapping/event-name.ts';
import { mappingBed, tableEntry, type BedOptions } from '../support/mapping-bed.ts';

const columns = { id: 'int8', email: 'text', status: 'text', total: 'numeric' } as const;

/** Path and code of every problem, sorted by path. */
function problemsOf(options: Omit<BedOptions, 'columns'>): readonly (readonly [string, string])[] {
  return mappingBed({ columns, ...options })
    .problems()
    .map(({ path, code }) => [path.replace('capture[0].', ''), code] as const)
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
}

describe('a column that the table does not have', () => {
  test('is found wherever the entry names it, all at once', () => {
    const entry = {
      key: ['idd'],
      exclude: ['pin'],
      mask: { card: 'redact' },
      detail: { a: 'totl', b: { cel: 'row.nope' }, c: { column: 'gone' } },
      emit: [{ on: 'update', changed: ['state'], detailType: 'X', detail: { d: 'other' } }],
    };
    expect(problemsOf({ identity: 'full', entry })).toEqual(
      [
        'detail.a',
        'detail.b',
        'detail.c',
        'emit[0].changed[0]',
        'emit[0].detail.d',
        'exclude[0]',
        'key[0]',
        'mask.card',
      ].map((path) => [path, 'COLUMN_UNKNOWN']),
    );
  });

  test('stops the mapper as drift that names table, place and the nearest column', () => {
    const bed = mappingBed({ columns, entry: { detail: { total: 'totl' } } });
    expect(() => bed.compile()).toThrow(
      expect.objectContaining({
        kind: 'schema-drift',
        message: 'capture[0].detail.total: public.orders has no column totl; the nearest is total',
        remedy: expect.stringContaining('banyan dead-letters redrive --table public.orders') as string,
      }),
    );
  });

  test('may be missing from the stream where a column list keeps it out', () => {
    expect(problemsOf({ entry: { exclude: ['pin'], columnList: true } })).toEqual([]);
  });
});

describe('the key', () => {
  test('must not be excluded, nor masked so that keys fall together', () => {
    expect(problemsOf({ entry: { exclude: ['id'] } })).toEqual([['exclude', 'KEY_EXCLUDED']]);
    expect(problemsOf({ entry: { mask: { id: 'last4' } } })).toEqual([['mask.id', 'KEY_MASK']]);
    expect(problemsOf({ entry: { mask: { id: 'redact' }, key: ['id'] } })).toEqual([['key[0]', 'KEY_MASK']]);
    expect(problemsOf({ entry: { mask: { id: 'hash' } } })).toEqual([]);
  });

  test('must lie within the replica identity', () => {
    expect(problemsOf({ entry: { key: ['email'] } })).toEqual([['key[0]', 'KEY_OUTSIDE_IDENTITY']]);
    expect(problemsOf({ entry: { key: ['email'] }, identity: 'full' })).toEqual([]);
    expect(problemsOf({ entry: { key: ['email'] }, identity: 'nothing' })).toEqual([]);
  });
});

test('an excluded column can be used nowhere', () => {
  const entry = {
    exclude: ['email'],
    detail: { a: 'email', b: { cel: 'row.email' } },
    emit: [{ on: 'update', changed: ['email'], detailType: 'X' }],
  };
  expect(problemsOf({ identity: 'full', entry })).toEqual([
    ['detail.a', 'COLUMN_EXCLUDED'],
    ['detail.b', 'COLUMN_EXCLUDED'],
    ['emit[0].changed[0]', 'COLUMN_EXCLUDED'],
  ]);
});

test('old and changed need REPLICA IDENTITY FULL, and the remedy says its price', () => {
  const entry = { emit: [{ on: 'update', changed: ['status'], when: 'old.status == null', detailType: 'X' }] };
  expect(problemsOf({ entry })).toEqual([
    ['emit[0].changed', 'REPLICA_IDENTITY_NOT_FULL'],
    ['emit[0].when', 'REPLICA_IDENTITY_NOT_FULL'],
  ]);
  expect(mappingBed({ columns, entry }).problems()[0]?.remedy).toMatch(
    /^alter table public\.orders replica identity full; .*WAL/,
  );
});

test('rows that are there already need a rule of their own, or none at all', () => {
  const insert = { on: 'insert', detailType: 'OrderPlaced' };
  expect(problemsOf({ entry: { backfill: true, emit: [insert] } })).toEqual([['backfill', 'READ_RULE_MISSING']]);
  const both = { on: ['insert', 'read'], detailType: 'OrderSeen' };
  expect(problemsOf({ entry: { backfill: true, emit: [both] } })).toEqual([]);
  expect(problemsOf({ entry: { backfill: true } })).toEqual([]);
});

test('a hash needs the mask key, and a column has one mask', () => {
  expect(problemsOf({ entry: { mask: { email: 'hash' } }, maskKey: undefined })).toEqual([
    ['mask.email', 'MASK_KEY_MISSING'],
  ]);
  const entry = { mask: { email: 'hash' }, detail: { email: { column: 'email', mask: 'redact' } } };
  expect(problemsOf({ entry })).toEqual([['detail.email', 'MASK_CONFLICT']]);
});

test('what EventBridge would refuse of every event is a problem of the configuration', () => {
  const entry = { source: 'aws.orders', emit: [{ on: 'insert', detailType: 'x'.repeat(129) }] };
  expect(problemsOf({ entry })).toEqual([
    ['emit[0].detailType', 'DETAIL_TYPE_TOO_LONG'],
    ['source', 'SOURCE_RESERVED'],
  ]);
  expect(() => mappingBed({ columns, entry }).compile()).toThrow(expect.objectContaining({ kind: 'config' }));
});

const table = (schema: string, name: string, entry: Record<string, unknown> = {}) => ({
  entry: tableEntry(entry),
  entryIndex: 0,
  schema,
  name,
});

describe('default event names', () => {
  test.each([
    ['orders', 'Orders'],
    ['order_items', 'OrderItems'],
    ['userProfile', 'UserProfile'],
    ['überweisung-2', 'Überweisung2'],
  ])('of %s begin with %s', (table, name) => {
    expect(eventName(tableEntry(), table)).toBe(name);
  });

  test('must not be shared by two tables', () => {
    const findings = findSharedEventNames([
      table('public', 'orders'),
      table('archive', 'orders'),
      table('public', 'lines'),
    ]);
    expect(findings).toMatchObject([{ code: 'EVENT_NAME_SHARED', subject: 'archive.orders' }]);
  });

  test('may be shared by tables of one shape, by other sources, and by entries with names of their own', () => {
    const emit = [{ on: 'insert', detailType: 'X' }];
    expect(
      findSharedEventNames([
        table('a', 'orders', { as: 'order' }),
        table('b', 'orders', { as: 'order' }),
        table('public', 'order', { source: 'other' }),
        table('public', 'order', { emit }),
      ]),
    ).toEqual([]);
  });
});
