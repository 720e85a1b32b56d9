import type pg from 'pg';
import { sqlStateOf, toDatabaseError } from './sqlstate.ts';

export const COLUMN_LISTS_SINCE = 150_000;
export const GENERATED_COLUMNS_SINCE = 180_000;

/** A table of the publication as it is now. */
export interface PublishedTable {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** Undefined: all columns. */
  readonly columns: readonly string[] | undefined;
  readonly filtered: boolean;
}

export interface Publication {
  readonly owner: string;
  readonly owned: boolean;
  readonly allTables: boolean;
  /** Schemas that are published as a whole (15 and later). */
  readonly schemas: readonly string[];
  /** Operations out of insert, update, delete, truncate. */
  readonly publish: readonly string[];
  readonly viaPartitionRoot: boolean;
  /** Whether stored generated columns are sent; undefined before PostgreSQL 18, which can not. */
  readonly generatedColumns: boolean | undefined;
  readonly tables: readonly PublishedTable[];
}

/** The publication as the catalog has it; undefined where there is none. */
export async function readPublication(
  client: pg.ClientBase | pg.Pool,
  name: string,
  versionNumber: number,
): Promise<Publication | undefined> {
  const row = await publicationRow(client, name, versionNumber).catch((error: unknown) => {
    throw toDatabaseError(error, `looking at publication ${name}`);
  });
  if (row === undefined) return undefined;
  return {
    ...row,
    generatedColumns: row.generatedColumns ?? undefined,
    tables: row.tables.map((table) => ({ ...table, columns: table.columns ?? undefined })),
  };
}

async function publicationRow(
  client: pg.ClientBase | pg.Pool,
  name: string,
  versionNumber: number,
): Promise<(Publication & { generatedColumns: boolean | null }) | undefined> {
  const since15 = versionNumber >= COLUMN_LISTS_SINCE;
  const { rows } = await client.query<{ publication: Publication & { generatedColumns: boolean | null } }>(
    `select json_build_object(
        'owner', pg_get_userbyid(p.pubowner), 'owned', pg_has_role(p.pubowner, 'usage'), 'allTables', p.puballtables,
        'schemas', ${since15 ? `(select coalesce(json_agg(n.nspname order by n.nspname), '[]') from pg_publication_namespace pn join pg_namespace n on n.oid = pn.pnnspid where pn.pnpubid = p.oid)` : `'[]'::json`},
        'publish', array_to_json(array_remove(array[case when p.pubinsert then 'insert' end, case when p.pubupdate then 'update' end,
                    case when p.pubdelete then 'delete' end, case when p.pubtruncate then 'truncate' end], null)),
        'viaPartitionRoot', p.pubviaroot,
        'generatedColumns', ${versionNumber >= GENERATED_COLUMNS_SINCE ? `p.pubgencols = 's'` : 'null'},
        'tables', (select coalesce(json_agg(json_build_object(
            'oid', c.oid::int8, 'schema', n.nspname, 'name', c.relname,
            'columns', ${since15 ? `(select json_agg(a.attname order by a.attnum) from pg_attribute a where a.attrelid = c.oid and a.attnum = any(pr.prattrs::int2[]))` : 'null'},
            'filtered', ${since15 ? 'pr.prqual is not null' : 'false'}) order by n.nspname, c.relname), '[]')
          from pg_publication_rel pr join pg_class c on c.oid = pr.prrelid join pg_namespace n on n.oid = c.relnamespace
          where pr.prpubid = p.oid)
      ) as publication
     from pg_publication p where p.pubname = $1`,
    [name],
  );
  return rows[0]?.publication;
}

/** OID to `schema.name` of everything that the publication sends, under the names in which rows arrive; empty where there is no such publication. */
export async function readMembership(
  client: pg.ClientBase | pg.Pool,
  name: string,
): Promise<ReadonlyMap<number, string>> {
  try {
    const { rows } = await client.query<{ oid: number; name: string }>(
      `select c.oid::int8::float8 as oid, n.nspname || '.' || c.relname as name
       from pg_get_publication_tables($1) p join pg_class c on c.oid = p.relid join pg_namespace n on n.oid = c.relnamespace`,
      [name],
    );
    return new Map(rows.map((row) => [row.oid, row.name]));
  } catch (error) {
    if (sqlStateOf(error) === '42704') return new Map();
    throw toDatabaseError(error, 'reading the publication');
  }
}
