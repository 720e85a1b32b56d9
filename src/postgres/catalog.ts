import type pg from 'pg';
import { isTableCapture, type MessageCapture, type TableCapture } from '../config/schema.ts';
import type { ReplicaIdentity } from '../core/change.ts';
import type { Finding } from '../core/finding.ts';
import { displayName, qualifiedName, quoteIdentifier } from './identifier.ts';
import { matchEntry, type RelationName } from './catalog-match.ts';
import { toDatabaseError } from './sqlstate.ts';
import type { CatalogTable } from './table.ts';

/** The tables of one entry of `capture`. */
export interface ResolvedEntry {
  /** Index in `capture`. */
  readonly index: number;
  readonly entry: TableCapture;
  readonly tables: readonly CatalogTable[];
}

export interface ResolvedTables {
  readonly entries: readonly ResolvedEntry[];
  /** Every table once, whatever number of entries captures it. */
  readonly tables: readonly CatalogTable[];
  readonly findings: readonly Finding[];
}

export interface ResolveOptions {
  /** Never matched by a pattern: our own tables must not be captured. */
  readonly stateSchema: string;
}

/** Looks up what `capture` names, exactly or by pattern, in three queries whatever the number of tables. */
export async function resolveTables(
  client: pg.ClientBase | pg.Pool,
  capture: readonly (TableCapture | MessageCapture)[],
  options: ResolveOptions,
): Promise<ResolvedTables> {
  try {
    const relations = await listRelations(client);
    const matches = capture.flatMap((entry, index) =>
      isTableCapture(entry) ? [{ index, entry, ...matchEntry(entry, relations, { index, ...options }) }] : [],
    );
    const oids = [...new Set(matches.flatMap((match) => match.oids))];
    const tables = await loadTables(client, oids);
    const byOid = new Map(tables.map((table) => [table.oid, table]));
    const entries = matches.map(({ index, entry, oids }) => ({
      index,
      entry,
      tables: oids.flatMap((oid) => byOid.get(oid) ?? []),
    }));
    const partitioned = tables.filter((table) => table.kind === 'partitioned');
    return {
      entries,
      tables,
      findings: [...matches.flatMap((match) => match.findings), ...(await partitionFindings(client, partitioned))],
    };
  } catch (error) {
    throw toDatabaseError(error, 'reading the catalog');
  }
}

/** The tables with these OIDs as the catalog has them now; those that are gone are left out. */
export async function loadTables(
  client: pg.ClientBase | pg.Pool,
  oids: readonly number[],
): Promise<readonly CatalogTable[]> {
  if (oids.length === 0) return [];
  const { rows } = await client.query<{ table: CatalogRow }>(
    `select json_build_object(
        'oid', c.oid::int8, 'schema', n.nspname, 'name', c.relname,
        'kind', c.relkind, 'identity', c.relreplident, 'attributes', c.relnatts,
        'root', (select json_build_object('schema', rn.nspname, 'name', r.relname)
                 from pg_class r join pg_namespace rn on rn.oid = r.relnamespace
                 where c.relispartition and r.oid = pg_partition_root(c.oid)),
        'owner', pg_get_userbyid(c.relowner), 'owned', pg_has_role(c.relowner, 'usage'),
        'identityColumns', ${indexColumns(IDENTITY_INDEX)},
        'primaryKey', ${indexColumns('i.indisprimary')},
        'columns', (select coalesce(json_agg(json_build_object(
             'name', a.attname, 'typeOid', a.atttypid::int8, 'typeModifier', a.atttypmod,
             'typeName', format_type(a.atttypid, a.atttypmod), 'notNull', a.attnotnull, 'generated', a.attgenerated,
             'collation', (select format('%I.%I', cn.nspname, co.collname)
                from pg_type ty, pg_collation co join pg_namespace cn on cn.oid = co.collnamespace
                where ty.oid = a.atttypid and co.oid = a.attcollation and co.oid <> ty.typcollation)
           ) order by a.attnum), '[]') from pg_attribute a
           where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)
      ) as table
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.oid = any($1::oid[])
     order by n.nspname, c.relname`,
    [oids],
  );
  return rows.map(({ table }) => toCatalogTable(table));
}

/** The index that a replica identity stands on: PostgreSQL passes over invalid ones and those of deferrable constraints. */
const IDENTITY_INDEX = `i.indisvalid and i.indimmediate
  and case c.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident else false end`;

/** Names of an index's key columns, in the index's order, as a JSON array; `[]` where no index of `c` fits. */
function indexColumns(condition: string): string {
  return `coalesce((
    select json_agg(a.attname order by k.position)
    from pg_index i
    cross join lateral unnest(i.indkey::int2[]) with ordinality as k(attnum, position)
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
    where i.indrelid = c.oid and k.position <= i.indnkeyatts and ${condition}), '[]')`;
}

const IDENTITIES: Readonly<Record<string, ReplicaIdentity>> = { d: 'default', n: 'nothing', f: 'full', i: 'index' };

interface CatalogRow {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly kind: string;
  readonly identity: string;
  readonly attributes: number;
  readonly root: { readonly schema: string; readonly name: string } | null;
  readonly owner: string;
  readonly owned: boolean;
  readonly identityColumns: readonly string[];
  readonly primaryKey: readonly string[];
  readonly columns: readonly {
    readonly name: string;
    readonly typeOid: number;
    readonly typeModifier: number;
    readonly typeName: string;
    readonly collation: string | null;
    readonly notNull: boolean;
    readonly generated: string;
  }[];
}

function toCatalogTable(row: CatalogRow): CatalogTable {
  const replicaIdentity = identityOf(row.identity);
  const columns = row.columns.map(({ generated, collation, ...column }) => ({
    ...column,
    ...(collation === null ? {} : { collation }),
    generated: generated === 's' ? ('stored' as const) : generated === 'v' ? ('virtual' as const) : undefined,
  }));
  return {
    oid: row.oid,
    schema: row.schema,
    name: row.name,
    kind: row.kind === 'p' ? 'partitioned' : 'table',
    root: row.root ?? undefined,
    owner: row.owner,
    owned: row.owned,
    replicaIdentity,
    identityColumns: replicaIdentity === 'full' ? columns.map((column) => column.name) : row.identityColumns,
    primaryKey: row.primaryKey,
    columns,
    attributes: row.attributes,
  };
}

function identityOf(letter: string): ReplicaIdentity {
  return IDENTITIES[letter] ?? 'nothing';
}

/** Everything that has a table-like name, but for the server's own. */
export async function listRelations(client: pg.ClientBase | pg.Pool): Promise<readonly RelationName[]> {
  const { rows } = await client.query<RelationName & { root: string | null }>(
    `select c.oid::int8::float8 as oid, n.nspname::text as schema, c.relname::text as name,
            c.relkind::text as kind, c.relpersistence::text as persistence,
            (select format('%I.%I', rn.nspname, r.relname) from pg_class r join pg_namespace rn on rn.oid = r.relnamespace
             where c.relispartition and r.oid = pg_partition_root(c.oid)) as root
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
     order by n.nspname, c.relname`,
  );
  return rows.map((row) => ({ ...row, root: row.root ?? undefined }));
}

/**
 * A leaf whose replica identity is not the root's makes old rows lie: rows come under the root's name, but what the old tuple holds is
 * the leaf's choice.
 */
async function partitionFindings(
  client: pg.ClientBase | pg.Pool,
  roots: readonly CatalogTable[],
): Promise<readonly Finding[]> {
  if (roots.length === 0) return [];
  const { rows } = await client.query<{
    root: number;
    schema: string;
    name: string;
    identity: string;
    columns: string[];
    index: string | null;
  }>(
    `select root.oid::int8::float8 as root, n.nspname::text as schema, c.relname::text as name, c.relreplident::text as identity,
            ${indexColumns(IDENTITY_INDEX)} as columns,
            (select leaf_index.relname::text from pg_index ri
             cross join lateral pg_partition_tree(ri.indexrelid) t
             join pg_index li on li.indexrelid = t.relid and li.indrelid = c.oid
             join pg_class leaf_index on leaf_index.oid = li.indexrelid
             where ri.indrelid = root.oid and ri.indisreplident) as index
     from unnest($1::oid[]) as root(oid)
     cross join lateral pg_partition_tree(root.oid::regclass) as tree
     join pg_class c on c.oid = tree.relid and tree.isleaf and c.oid <> root.oid
     join pg_namespace n on n.oid = c.relnamespace
     order by n.nspname, c.relname`,
    [roots.map((root) => root.oid)],
  );
  const rootByOid = new Map(roots.map((root) => [root.oid, root]));
  return rows.flatMap((leaf) => {
    const root = rootByOid.get(leaf.root);
    if (root === undefined) return [];
    const identity = identityOf(leaf.identity);
    const agrees =
      identity === root.replicaIdentity &&
      (identity === 'full' || leaf.columns.toSorted().join() === root.identityColumns.toSorted().join());
    if (agrees) return [];
    const clause =
      root.replicaIdentity === 'index' ? `using index ${quoteIdentifier(leaf.index ?? '?')}` : root.replicaIdentity;
    return [
      {
        code: 'PARTITION_IDENTITY_DIFFERS',
        severity: 'error' as const,
        subject: displayName(root),
        message: `partition ${displayName(leaf)} has replica identity ${identity}, its root ${root.replicaIdentity}: old rows would not be what they are taken for`,
        remedy: `alter table ${qualifiedName(leaf)} replica identity ${clause};`,
      },
    ];
  });
}
