import type pg from 'pg';
import { readPublication } from '../postgres/publication-catalog.ts';

/** By OID of a table: the columns that its changes are published with. A table that is not in it has all of them published, or none. */
export type PublishedColumns = ReadonlyMap<number, readonly string[]>;

/** The column lists of a publication; none where there is no such publication. */
export async function readColumnLists(client: pg.ClientBase | pg.Pool, publication: string): Promise<PublishedColumns> {
  const { rows } = await client.query<{ version: number }>(
    `select current_setting('server_version_num')::int as version`,
  );
  const found = await readPublication(client, publication, rows[0]?.version ?? 0);
  return columnLists(found?.tables ?? []);
}

export function columnLists(
  tables: readonly { readonly oid: number; readonly columns: readonly string[] | undefined }[],
): PublishedColumns {
  return new Map(tables.flatMap(({ oid, columns }) => (columns === undefined ? [] : [[oid, columns] as const])));
}
