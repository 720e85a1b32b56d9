import type { Relation } from '../core/change.ts';
import type { CatalogColumn, CatalogTable } from './table.ts';

/** Stored generated columns are in the WAL stream since PostgreSQL 18, virtual ones never. */
const GENERATED_COLUMNS_SINCE = 180_000;

/** The shape that the stream would describe for a table as the catalog has it now. */
export function catalogRelation(table: CatalogTable, versionNumber: number): Relation {
  const inIdentity = new Set(table.identityColumns);
  return {
    oid: table.oid,
    schema: table.schema,
    name: table.name,
    replicaIdentity: table.replicaIdentity,
    columns: publishedColumns(table, versionNumber).map(({ name, typeOid, typeModifier }) => ({
      name,
      typeOid,
      typeModifier,
      inIdentity: inIdentity.has(name),
    })),
  };
}

/** Columns that the stream sends, in its order. */
export function publishedColumns(table: CatalogTable, versionNumber: number): CatalogColumn[] {
  return table.columns.filter(
    ({ generated }) => generated === undefined || (generated === 'stored' && versionNumber >= GENERATED_COLUMNS_SINCE),
  );
}
