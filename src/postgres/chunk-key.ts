import { quoteIdentifier } from './identifier.ts';
import type { CatalogColumn } from './table.ts';

/** What is read: a table, or a leaf of a partitioned one. */
export interface ChunkTable {
  readonly schema: string;
  readonly name: string;
  /** Its leaves are read with it. */
  readonly partitioned?: boolean;
  /** Cells come in this order. */
  readonly columns: readonly string[];
  /** Unique and not null, with an index: order and position. Empty: none, and the table is read in its physical order, by ctid. */
  readonly key: readonly KeyColumn[];
}

export type KeyColumn = Pick<CatalogColumn, 'name' | 'typeName' | 'collation'>;

export function keyNames({ key }: ChunkTable): string {
  return key.map(({ name }) => quoteIdentifier(name)).join(', ');
}

/** The key's values as parameters that begin with this number. */
export function castKey({ key }: ChunkTable, first: number): string {
  return key.map((column, index) => castTo(`$${first + index}::text`, column)).join(', ');
}

/** With the column's collation: a domain's own would contradict it, and nothing could be compared. */
export function castTo(text: string, { typeName, collation }: KeyColumn): string {
  return `${text}::${typeName}${collation === undefined ? '' : ` collate ${collation}`}`;
}
