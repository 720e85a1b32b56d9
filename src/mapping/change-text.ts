import type {
  Cell,
  ChangeOrigin,
  Relation,
  RowChange,
  RowOperation,
  TableChange,
  TransactionHeader,
  Tuple,
} from '../core/change.ts';
import { BanyanError } from '../core/errors.ts';
import { formatLsn, parseLsn } from '../core/lsn.ts';
import { nearest } from '../core/nearest.ts';
import type { TableCapture } from '../config/schema.ts';
import { masker } from './mask.ts';

/** What `dead_letter` keeps of a change, by column name: the relation may be another one when it comes back. */
interface StoredChange {
  readonly operation: RowOperation | 'truncate';
  readonly ordinal: number;
  /** Of a read. */
  readonly run?: number;
  readonly transaction: {
    readonly xid: number;
    readonly lsn: string;
    readonly committedAtMicros: string;
    readonly timeline: number;
    readonly origin?: string;
  };
  /** All columns that the table had and the entry did not exclude, sent or not. */
  readonly columns: readonly string[];
  readonly masked: readonly string[];
  readonly oldKind?: 'key' | 'full';
  readonly new?: Readonly<Record<string, string | null>>;
  readonly old?: Readonly<Record<string, string | null>>;
  readonly origin?: ChangeOrigin;
}

/** How a column is stored: `undefined` = not at all, else the text that stands for its text. */
export interface StoredColumn {
  readonly name: string;
  readonly index: number;
  readonly masked: boolean;
  readonly reveal: (text: string) => string;
}

/**
 * A change as JSON text for `dead_letter`. A column that is masked is stored masked, one that is excluded is not stored: what
 * must not reach the bus does not reach a table that people look into either.
 */
export function storeChange(change: TableChange, columns: readonly StoredColumn[]): string {
  const { transaction } = change;
  const stored: StoredChange = {
    operation: change.operation,
    ordinal: change.ordinal,
    ...(change.operation === 'read' ? { run: change.run ?? 0 } : {}),
    transaction: {
      xid: transaction.xid,
      lsn: formatLsn(transaction.commitLsn),
      committedAtMicros: transaction.committedAtMicros.toString(),
      timeline: transaction.timeline,
      ...(transaction.origin === undefined ? {} : { origin: transaction.origin }),
    },
    columns: columns.map(({ name }) => name),
    masked: columns.filter(({ masked }) => masked).map(({ name }) => name),
    ...(change.operation === 'truncate' ? {} : rowsOf(change, columns)),
    ...(change.origin === undefined ? {} : { origin: change.origin }),
  };
  return JSON.stringify(stored);
}

/**
 * The same for a table whose mapping can not be compiled at the moment, and whose changes are held. Columns that the entry
 * masks or excludes are found by name: where one of them was renamed, its value is stored as it is.
 */
export function storeUnmappedChange(
  change: TableChange,
  entry: TableCapture,
  options: { readonly maskKey: string | undefined },
): string {
  const masks = new Map(Object.entries(entry.mask));
  for (const detail of [entry.detail, ...(entry.emit ?? []).map((rule) => rule.detail)]) {
    for (const field of Object.values(detail ?? {})) {
      if (typeof field === 'object' && 'column' in field && field.mask !== undefined)
        masks.set(field.column, field.mask);
    }
  }
  const columns = change.relation.columns.flatMap(({ name }, index): StoredColumn[] => {
    if (entry.exclude.includes(name)) return [];
    const mask = masks.get(name);
    if (mask === undefined) return [{ name, index, masked: false, reveal: (text) => text }];
    const safe = mask === 'hash' && options.maskKey === undefined ? 'redact' : mask;
    return [{ name, index, masked: true, reveal: masker(safe, options.maskKey) }];
  });
  return storeChange(change, columns);
}

/**
 * The stored change under the relation that the table has now, with the names of the columns that are masked already. Throws
 * `schema-drift` where the table had no column of a name that the mapping now `needs`.
 */
export function restoreChange(
  text: string,
  options: { readonly relation: Relation; readonly needs: readonly string[] },
): { readonly change: TableChange; readonly masked: readonly string[] } {
  const stored = JSON.parse(text) as StoredChange;
  const { relation } = options;
  const transaction: TransactionHeader = {
    xid: stored.transaction.xid,
    commitLsn: parseLsn(stored.transaction.lsn),
    committedAtMicros: BigInt(stored.transaction.committedAtMicros),
    timeline: stored.transaction.timeline,
    ...(stored.transaction.origin === undefined ? {} : { origin: stored.transaction.origin }),
  };
  const position = { transaction, ordinal: stored.ordinal, relation, origin: stored.origin };
  const { operation } = stored;
  if (operation === 'truncate') return { change: { ...position, operation }, masked: [] };

  const known = new Set(stored.columns);
  const missing = options.needs.find((name) => !known.has(name));
  if (missing !== undefined) {
    const table = `${relation.schema}.${relation.name}`;
    const near = nearest(missing, known);
    throw new BanyanError(
      'schema-drift',
      `the change was stored when ${table} had no column ${missing}${near === undefined ? '' : `; the nearest that it had is ${near}`}`,
      {
        context: { table, column: missing },
        remedy: `redrive it with a mapping that does not name ${missing}, or \`banyan dead-letters discard\` it`,
      },
    );
  }
  const change: RowChange = {
    ...position,
    operation,
    new: tupleOf(stored.new, relation),
    old: tupleOf(stored.old, relation),
    oldKind: stored.oldKind,
    run: stored.run,
  };
  return { change, masked: stored.masked };
}

function rowsOf(change: RowChange, columns: readonly StoredColumn[]): Partial<StoredChange> {
  return {
    ...(change.oldKind === undefined ? {} : { oldKind: change.oldKind }),
    ...(change.new === undefined ? {} : { new: cellsOf(change.new, columns) }),
    ...(change.old === undefined ? {} : { old: cellsOf(change.old, columns) }),
  };
}

function cellsOf(tuple: Tuple, columns: readonly StoredColumn[]): Record<string, string | null> {
  const cells: [string, string | null][] = [];
  for (const { name, index, reveal } of columns) {
    const cell = tuple[index];
    if (cell !== undefined) cells.push([name, cell === null ? null : reveal(cell)]);
  }
  return Object.fromEntries(cells);
}

function tupleOf(cells: StoredChange['new'], relation: Relation): Tuple | undefined {
  if (cells === undefined) return undefined;
  return relation.columns.map(({ name }): Cell => (Object.hasOwn(cells, name) ? cells[name] : undefined));
}
