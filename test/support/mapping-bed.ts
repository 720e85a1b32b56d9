import { configSchema, isTableCapture, type TableCapture } from '../../src/config/schema.ts';
import type { Cell, Relation, ReplicaIdentity, RowChange, TransactionHeader } from '../../src/core/change.ts';
import type { Lsn } from '../../src/core/lsn.ts';
import { type Event, eventRange, type EventRange } from '../../src/core/event.ts';
import { analyseEntry } from '../../src/mapping/analyse.ts';
import { compileMapper } from '../../src/mapping/compile.ts';
import type { CompileOptions } from '../../src/mapping/compile-rule.ts';
import { noContracts } from '../../src/mapping/contract.ts';
import type { Mapper } from '../../src/mapping/mapper.ts';
import { TypeCatalog, type PgType } from '../../src/postgres/type-catalog.ts';
import { typeOid } from '../../src/postgres/values/type-oids.ts';

const TEXT = 25;
const array = (oid: number, elementOid: number): PgType => ({
  oid,
  schema: 'pg_catalog',
  name: `_${elementOid}`,
  kind: 'array',
  delimiter: ',',
  category: 'A',
  elementOid,
  jsonCast: false,
});

/** Types by a short name, as the columns of a test's table have them. */
export const typeOids = {
  ...typeOid,
  text: TEXT,
  textArray: 1009,
  int8Array: 1016,
  numericArray: 1231,
} as const;
export type TypeName = keyof typeof typeOids;

export const types = TypeCatalog.of([array(1009, TEXT), array(1016, typeOid.int8), array(1231, typeOid.numeric)]);

export const MASK_KEY = 'a mask key of enough characters';

export interface BedOptions {
  readonly columns: Readonly<Record<string, TypeName>>;
  /** Default: the first column. */
  readonly primaryKey?: readonly string[];
  readonly identity?: ReplicaIdentity;
  readonly entry?: Record<string, unknown>;
  readonly maskKey?: string | undefined;
  readonly contracts?: CompileOptions['contracts'];
  readonly transform?: CompileOptions['transform'];
  /** Default: that of a table's only entry. */
  readonly range?: EventRange;
}

export const transaction: TransactionHeader = {
  xid: 740,
  commitLsn: 0x1a2b3c8n as Lsn,
  committedAtMicros: 1_772_366_400_123_456n,
  timeline: 1,
};

export type Row = Readonly<Record<string, Cell>>;

/** One table, `public.orders`, with one capture entry. */
export function mappingBed(options: BedOptions) {
  const names = Object.keys(options.columns);
  const primaryKey = options.primaryKey ?? names.slice(0, 1);
  const identity = options.identity ?? 'default';
  const relation: Relation = {
    oid: 16_384,
    schema: 'public',
    name: 'orders',
    replicaIdentity: identity,
    columns: names.map((name) => ({
      name,
      typeOid: typeOids[options.columns[name] as TypeName],
      typeModifier: -1,
      inIdentity: identity === 'full' || (identity !== 'nothing' && primaryKey.includes(name)),
    })),
  };
  const compileOptions: CompileOptions = {
    name: 'shop',
    entry: tableEntry(options.entry),
    entryIndex: 0,
    relation,
    primaryKey,
    types,
    maskKey: 'maskKey' in options ? options.maskKey : MASK_KEY,
    identity: { systemId: '7412345678901234567', epoch: 1 },
    range: options.range ?? eventRange(0, 1),
    contracts: options.contracts ?? noContracts,
    transform: options.transform,
  };
  const tuple = (row: Row): Cell[] => names.map((name) => row[name]);
  let ordinal = 0;
  const change = (
    operation: RowChange['operation'],
    rows: { new?: Row; old?: Row; oldKind?: 'key' | 'full' },
  ): RowChange => ({
    operation,
    transaction,
    ordinal: ordinal++,
    relation,
    new: rows.new === undefined ? undefined : tuple(rows.new),
    old: rows.old === undefined ? undefined : tuple(rows.old),
    oldKind: rows.old === undefined ? undefined : (rows.oldKind ?? (identity === 'full' ? 'full' : 'key')),
  });
  return {
    relation,
    compile: (): Mapper => compileMapper(compileOptions),
    problems: () => analyseEntry(compileOptions).problems.all,
    insert: (row: Row) => change('insert', { new: row }),
    update: (row: Row, old?: Row) => change('update', { new: row, ...(old === undefined ? {} : { old }) }),
    delete: (old: Row) => change('delete', { old }),
  };
}

export function tableEntry(entry: Record<string, unknown> = {}): TableCapture {
  const config = configSchema.parse({
    name: 'shop',
    legacy: { url: 'unused' },
    capture: [{ table: 'public.orders', ...entry }],
  });
  const [parsed] = config.capture;
  if (parsed === undefined || !isTableCapture(parsed)) throw new Error('not a table');
  return parsed;
}

export interface Detail {
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly data: unknown;
  readonly previous?: unknown;
}

export function detailOf(event: Event | undefined): Detail {
  if (event === undefined) throw new Error('there is no event');
  return JSON.parse(event.detail) as Detail;
}

/** The data of the only event of a change. */
export function dataOf(events: readonly Event[]): unknown {
  if (events.length !== 1) throw new Error(`${events.length} events instead of one`);
  return detailOf(events[0]).data;
}
