import type { ReplicaIdentity } from '../core/change.ts';

/** A column as the catalog has it now. */
export interface CatalogColumn {
  readonly name: string;
  readonly typeOid: number;
  readonly typeModifier: number;
  /** As `format_type` prints it: `numeric(10,2)`. */
  readonly typeName: string;
  /** Quoted; only where it is another one than its type's. */
  readonly collation?: string;
  readonly notNull: boolean;
  readonly generated: 'stored' | 'virtual' | undefined;
}

/** A table as the catalog has it now. */
export interface CatalogTable {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly kind: 'table' | 'partitioned';
  /** The topmost partitioned table, where this is a partition. */
  readonly root: { readonly schema: string; readonly name: string } | undefined;
  readonly owner: string;
  /** Whether the connected role may act as the owner. */
  readonly owned: boolean;
  readonly replicaIdentity: ReplicaIdentity;
  /** Columns that an UPDATE or DELETE sends of the old row; empty: none, the statement would fail in a publication. All columns when FULL. */
  readonly identityColumns: readonly string[];
  readonly primaryKey: readonly string[];
  readonly columns: readonly CatalogColumn[];
  /** `relnatts`: how many columns it has ever had, so that each new one raises it. */
  readonly attributes: number;
}
