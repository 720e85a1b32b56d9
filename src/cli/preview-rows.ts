import type pg from 'pg';
import type { RowChange, TransactionHeader, Tuple } from '../core/change.ts';
import { BanyanError } from '../core/errors.ts';
import type { Lsn } from '../core/lsn.ts';
import { nearest } from '../core/nearest.ts';
import { textTypes } from '../postgres/connection.ts';
import { displayName, qualifiedName, quoteIdentifier } from '../postgres/identifier.ts';
import { sqlStateOf, toDatabaseError } from '../postgres/sqlstate.ts';
import type { CatalogTable } from '../postgres/table.ts';
import { catalogRelation, publishedColumns } from '../postgres/catalog-relation.ts';

/** read: as a backfill finds it. */
export type PreviewOperation = 'insert' | 'update' | 'delete' | 'read';

export interface ReadOptions {
  readonly limit: number;
  readonly where: string | undefined;
  readonly set: ReadonlyMap<string, string | null>;
  readonly versionNumber: number;
  /** Percentage of the table's pages, chosen at random, that the rows are taken from; undefined: its first rows. */
  readonly samplePercent?: number | undefined;
}

export interface PreviewRows {
  /** As they are, in the order of the columns that the stream sends. */
  readonly rows: readonly Tuple[];
  /** New values as the server writes them back, by index of the column. */
  readonly changed: ReadonlyMap<number, string | null>;
}

/**
 * Rows in PostgreSQL's own text form, as the stream has them, in a transaction that can not write. The condition is the caller's SQL; it goes
 * through the extended protocol, which takes one statement only.
 */
export async function readRows(client: pg.ClientBase, table: CatalogTable, options: ReadOptions): Promise<PreviewRows> {
  const columns = publishedColumns(table, options.versionNumber);
  try {
    await client.query('begin isolation level repeatable read read only');
    const changed = await readChanged(client, table, options);
    const { rows } = await client.query<(string | null)[]>({
      text: [
        `select ${columns.map(({ name }) => quoteIdentifier(name)).join(', ')}`,
        // Rows of child tables arrive under the children's names; those of partitions under the root's.
        `from ${table.kind === 'partitioned' ? '' : 'only '}${qualifiedName(table)}`,
        ...(options.samplePercent === undefined ? [] : [`tablesample system (${options.samplePercent})`]),
        // The line end keeps a comment in the condition from eating what follows.
        ...(options.where === undefined ? [] : [`where (${options.where}\n)`]),
        ...orderOf(table, options),
        `limit ${options.limit}`,
      ].join('\n'),
      rowMode: 'array',
      queryMode: 'extended',
      types: textTypes,
    } as pg.QueryArrayConfig);
    await client.query('rollback');
    return { rows, changed };
  } catch (error) {
    throw readError(error, table, options);
  }
}

function orderOf({ primaryKey }: CatalogTable, { samplePercent }: ReadOptions): string[] {
  if (samplePercent !== undefined) return ['order by random()'];
  return primaryKey.length === 0 ? [] : [`order by ${primaryKey.map(quoteIdentifier).join(', ')}`];
}

/** Asks the server for each new value whether it is one of the column's type, and how it writes it. */
async function readChanged(
  client: pg.ClientBase,
  table: CatalogTable,
  options: ReadOptions,
): Promise<ReadonlyMap<number, string | null>> {
  const columns = publishedColumns(table, options.versionNumber);
  const changed = new Map<number, string | null>();
  for (const [name, value] of options.set) {
    const index = columns.findIndex((column) => column.name === name);
    const column = columns[index];
    if (column === undefined) throw unknownColumn(name, table);
    if (column.generated !== undefined) {
      throw new BanyanError('usage', `column ${name} is generated: the server computes it`, {
        remedy: 'set the columns that it is computed from',
      });
    }
    if (value === null && column.notNull) {
      throw new BanyanError('usage', `column ${name} is not null`, { remedy: `--set ${name}=VALUE` });
    }
    changed.set(index, value === null ? null : await asType(client, { name, value, type: column.typeName }));
  }
  return changed;
}

async function asType(
  client: pg.ClientBase,
  column: { readonly name: string; readonly value: string; readonly type: string },
): Promise<string> {
  try {
    // The name comes from format_type, which quotes it as SQL does.
    const { rows } = await client.query<string[]>({
      text: `select $1::text::${column.type}`,
      values: [column.value],
      rowMode: 'array',
      types: textTypes,
    });
    return rows[0]?.[0] ?? '';
  } catch (error) {
    throw new BanyanError('usage', `the value for column ${column.name} is not of type ${column.type}`, {
      cause: error,
      remedy: `write it as PostgreSQL prints values of type ${column.type}`,
    });
  }
}

function unknownColumn(name: string, table: CatalogTable): BanyanError {
  const near = nearest(
    name,
    table.columns.map((column) => column.name),
  );
  return new BanyanError('usage', `${displayName(table)} has no column ${name}`, {
    remedy:
      near === undefined
        ? `its columns: ${table.columns.map((column) => column.name).join(', ')}`
        : `did you mean ${near}?`,
  });
}

/** The server's words about the caller's own condition are what the caller needs; it wrote it. */
export function readError(error: unknown, table: CatalogTable, options: Pick<ReadOptions, 'where'>): BanyanError {
  if (error instanceof BanyanError) return error;
  const code = sqlStateOf(error) ?? '';
  if (options.where !== undefined && error instanceof Error && /^(42|22|25006|08P01)/.test(code) && code !== '42501') {
    return new BanyanError('usage', `--where is no condition over ${displayName(table)}: ${error.message}`, {
      cause: error,
      code,
      remedy: `for example --where "id = 42"; columns: ${table.columns.map(({ name }) => name).join(', ')}`,
    });
  }
  if (code === '57014') {
    return new BanyanError('usage', `reading ${displayName(table)} took too long and was stopped`, {
      cause: error,
      remedy: 'use a --where that an index serves',
    });
  }
  return toDatabaseError(error, `reading ${displayName(table)}`);
}

/** The changes that the stream would bring if the operation were done to the rows now. */
export function changesOf(
  found: PreviewRows,
  table: CatalogTable,
  options: { readonly operation: PreviewOperation; readonly versionNumber: number },
): RowChange[] {
  const relation = catalogRelation(table, options.versionNumber);
  const transaction: TransactionHeader = {
    xid: 0,
    commitLsn: 0n as Lsn,
    committedAtMicros: BigInt(Date.now()) * 1_000n,
    timeline: 1,
  };
  const full = relation.replicaIdentity === 'full';
  const keyOnly = (row: Tuple): Tuple =>
    row.map((cell, index) => (relation.columns[index]?.inIdentity === true ? cell : undefined));
  return found.rows.map((row, ordinal) => {
    const place = { relation, transaction, ordinal };
    // Nobody's run: ids of a preview only show their form.
    if (options.operation === 'read')
      return { ...place, operation: 'read', new: row, old: undefined, oldKind: undefined, run: 0 };
    if (options.operation === 'insert')
      return { ...place, operation: 'insert', new: row, old: undefined, oldKind: undefined };
    const next = row.map((cell, index) => (found.changed.has(index) ? (found.changed.get(index) ?? null) : cell));
    const moved = relation.columns.some(({ inIdentity }, index) => inIdentity && next[index] !== row[index]);
    const side = full ? { old: row, oldKind: 'full' as const } : { old: keyOnly(row), oldKind: 'key' as const };
    if (options.operation === 'delete') return { ...place, operation: 'delete', new: undefined, ...side };
    // Without FULL, the old key comes only with an update that moves it.
    const known = full || moved ? side : { old: undefined, oldKind: undefined };
    return { ...place, operation: 'update', new: next, ...known };
  });
}
