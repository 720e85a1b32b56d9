import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Relation, RelationColumn } from '../../src/core/change.ts';
import type { CatalogTable } from '../../src/postgres/table.ts';
import { type TargetTable, TargetShapes } from '../../src/reverse/target-shapes.ts';
import { eventually } from '../support/eventually.ts';

const column = (name: string, typeOid = 25): RelationColumn => ({
  name,
  typeOid,
  typeModifier: -1,
  inIdentity: name === 'id',
});

const relation = (columns: readonly RelationColumn[], more: Partial<Relation> = {}): Relation => ({
  oid: 1,
  schema: 'public',
  name: 'orders',
  replicaIdentity: 'default',
  columns,
  ...more,
});

const table = (columns: readonly string[]): CatalogTable => ({
  ...relation(columns.map((name) => column(name))),
  columns: columns.map((name) => ({ ...column(name), typeName: 'text', notNull: false, generated: undefined })),
  kind: 'table',
  root: undefined,
  owner: 'shop',
  owned: true,
  identityColumns: ['id'],
  primaryKey: ['id'],
  attributes: columns.length,
});

let shapes: TargetShapes;
let tables: TargetTable[];
let catalog: CatalogTable;
let reloads: number;
let failures: number;
let grown: readonly string[];
let stop: AbortController;
let done: Promise<void>;

beforeEach(() => {
  shapes = new TargetShapes();
  catalog = table(['id', 'status', 'note']);
  tables = [{ name: 'public.orders', compiled: catalog }];
  reloads = 0;
  failures = 0;
  grown = [];
  stop = new AbortController();
  done = shapes.run({
    tables: () => tables,
    grown: () => Promise.resolve(grown),
    idleMs: 50,
    reload: async () => {
      reloads += 1;
      if (reloads <= failures) throw new Error('the catalog can not be read');
      tables = [{ name: 'public.orders', compiled: catalog }];
      grown = [];
    },
    stop: stop.signal,
    log: pino({ level: 'silent' }),
  });
});
afterEach(async () => {
  stop.abort();
  await done;
});

/** Resolves when all that was shown has been judged. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
}

const KNOWN = [column('id'), column('status'), column('note')];

test.for<[what: string, seen: Relation[], reloads: number]>([
  ['all columns', [relation(KNOWN)], 0],
  ['those of a column list', [relation(KNOWN.slice(0, 2))], 0],
  ['a new column', [relation([...KNOWN, column('region')])], 1],
  ['a new type of a column', [relation([column('id', 20), column('status')])], 1],
  ['a new replica identity', [relation(KNOWN.map((each) => ({ ...each, inIdentity: true })))], 1],
  ['another table of its name', [relation(KNOWN, { oid: 2 })], 1],
  ['a table that no entry names', [relation([column('x')], { oid: 3, name: 'lines' })], 0],
])('the stream shows %s', async ([, seen, expected]) => {
  for (const each of seen) shapes.see(each);
  await settled();
  expect(reloads).toBe(expected);
  // Whatever the reload has found, the same shape is not asked about once more.
  for (const each of seen) shapes.see({ ...each });
  await settled();
  expect(reloads).toBe(expected);
});

test('a column that the stream has shown, and shows no more, is gone', async () => {
  shapes.see(relation(KNOWN));
  await settled();
  catalog = table(['id', 'status']);
  shapes.see(relation(KNOWN.slice(0, 2)));
  await settled();
  expect(reloads).toBe(1);
});

test('an entry that could not be compiled is tried again with its table', async () => {
  tables = [{ name: 'public.orders', compiled: undefined }];
  shapes.see(relation(KNOWN));
  await settled();
  expect(tables).toEqual([{ name: 'public.orders', compiled: catalog }]);
});

test('a column that the stream does not show is seen in the catalog when the table is described again', async () => {
  shapes.see(relation(KNOWN));
  await settled();
  grown = ['public.orders'];
  shapes.see(relation([column('x')], { oid: 3, name: 'lines' }));
  await settled();
  expect(reloads).toBe(0);
  shapes.see(relation(KNOWN));
  await settled();
  expect(reloads).toBe(1);
});

test('a table that the stream never shows is looked at now and then', async () => {
  grown = ['public.orders'];
  await eventually(() => reloads === 1);
  expect(grown).toEqual([]);
});

test('a reload that fails is tried again', async () => {
  failures = 1;
  shapes.see(relation([...KNOWN, column('region')]));
  await settled();
  expect(reloads).toBe(1);
  await eventually(() => reloads === 2);
});
