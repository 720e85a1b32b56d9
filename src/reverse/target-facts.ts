import type pg from 'pg';
import { listRelations, loadTables } from '../postgres/catalog.ts';
import type { RelationName } from '../postgres/catalog-match.ts';
import { toDatabaseError } from '../postgres/sqlstate.ts';
import type { CatalogTable } from '../postgres/table.ts';
import { TypeCatalog } from '../postgres/type-catalog.ts';

/** What the catalog says of the tables that reverse sync may write. */
export interface TargetFacts {
  readonly relations: readonly RelationName[];
  readonly tables: ReadonlyMap<number, CatalogTable>;
  /** By table: the columns of each index that keeps rows apart at once and everywhere. */
  readonly uniqueKeys: ReadonlyMap<number, readonly (readonly string[])[]>;
  /** By table: columns that are GENERATED ALWAYS AS IDENTITY. */
  readonly identities: ReadonlyMap<number, readonly string[]>;
  readonly types: TypeCatalog;
  /** By table: columns of a nondeterministic collation, for which texts of other characters may be equal. */
  readonly looseCollations: ReadonlyMap<number, readonly { readonly name: string; readonly collation: string }[]>;
  /** Composites and ranges that hold texts of such a collation. */
  readonly looseTypes: ReadonlySet<number>;
  /** The server's own base types that have an equality. What that of an extension means is not known: citext's calls `A` and `a` equal. */
  readonly comparable: ReadonlySet<number>;
  /** By type: its name without a modifier, as a cast takes it. */
  readonly castTypes: ReadonlyMap<number, string>;
}

export async function loadTargetFacts(
  client: pg.ClientBase | pg.Pool,
  isWanted: (relation: RelationName) => boolean,
): Promise<TargetFacts> {
  try {
    const relations = await listRelations(client);
    const oids = relations.filter(isWanted).map((relation) => relation.oid);
    const tables = await loadTables(client, oids);
    const keys = await client.query<{ oid: number; columns: readonly string[] }>(UNIQUE_KEYS, [oids]);
    const identities = await client.query<{ oid: number; name: string }>(IDENTITIES, [oids]);
    const loose = await client.query<{ oid: number; name: string; collation: string }>(LOOSE_COLLATIONS, [oids]);
    const looseTypes = await client.query<{ oid: number }>(LOOSE_TYPES);
    const comparable = await client.query<{ oid: number }>(COMPARABLE);
    const castTypes = await client.query<{ oid: number; name: string }>(CAST_TYPES);
    return {
      relations,
      tables: new Map(tables.map((table) => [table.oid, table])),
      uniqueKeys: valuesByOid(keys.rows, ({ columns }) => columns),
      identities: valuesByOid(identities.rows, ({ name }) => name),
      looseCollations: valuesByOid(loose.rows, ({ name, collation }) => ({ name, collation })),
      types: await TypeCatalog.load(client),
      looseTypes: new Set(looseTypes.rows.map(({ oid }) => oid)),
      comparable: new Set(comparable.rows.map(({ oid }) => oid)),
      castTypes: new Map(castTypes.rows.map(({ oid, name }) => [oid, name])),
    };
  } catch (error) {
    throw toDatabaseError(error, 'reading the catalog for reverse sync');
  }
}

function valuesByOid<Row extends { readonly oid: number }, Value>(
  rows: readonly Row[],
  valueOf: (row: Row) => Value,
): ReadonlyMap<number, readonly Value[]> {
  return new Map(
    Array.from(
      Map.groupBy(rows, ({ oid }) => oid),
      ([oid, group]) => [oid, group.map(valueOf)],
    ),
  );
}

/** Not those of deferrable constraints, of a part of the rows, or over expressions: they do not keep two rows apart at every moment. */
const UNIQUE_KEYS = `
  select i.indrelid::int8::float8 as oid,
    (select json_agg(a.attname order by k.position)
     from unnest(i.indkey::int2[]) with ordinality as k(attnum, position)
     join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
     where k.position <= i.indnkeyatts) as columns
  from pg_catalog.pg_index i
  where i.indrelid = any ($1::oid[]) and i.indisunique and i.indisvalid and i.indimmediate and i.indpred is null
    and 0 <> all (i.indkey::int2[])`;

const IDENTITIES = `
  select attrelid::int8::float8 as oid, attname::text as name
  from pg_catalog.pg_attribute
  where attrelid = any ($1::oid[]) and attidentity = 'a' and not attisdropped`;

/** Also of a domain that has one. */
const LOOSE_COLLATIONS = `
  select a.attrelid::int8::float8 as oid, a.attname::text as name,
    pg_catalog.format('%I.%I', n.nspname, c.collname) as collation
  from pg_catalog.pg_attribute a
  join pg_catalog.pg_collation c on c.oid = a.attcollation
  join pg_catalog.pg_namespace n on n.oid = c.collnamespace
  where a.attrelid = any ($1::oid[]) and a.attnum > 0 and not a.attisdropped and not c.collisdeterministic`;

const LOOSE_TYPES = `
  select t.oid::int8::float8 as oid
  from pg_catalog.pg_type t
  join pg_catalog.pg_attribute a on a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
  join pg_catalog.pg_collation c on c.oid = a.attcollation
  where t.typtype = 'c' and not c.collisdeterministic
  union
  select r.rngtypid::int8::float8
  from pg_catalog.pg_range r join pg_catalog.pg_collation c on c.oid = r.rngcollation
  where not c.collisdeterministic`;

/** By the operator class that sorting and hashing take, also through the type that it counts as (varchar is text). */
const COMPARABLE = `
  select t.oid::int8::float8 as oid
  from pg_catalog.pg_type t
  where t.typtype = 'b' and t.oid < 16384 and exists (
    select from pg_catalog.pg_opclass c join pg_catalog.pg_am m on m.oid = c.opcmethod
    where m.amname in ('btree', 'hash') and c.opcdefault and (c.opcintype = t.oid or exists (
      select from pg_catalog.pg_cast k
      where k.castsource = t.oid and k.casttarget = c.opcintype and k.castmethod = 'b' and k.castcontext = 'i')))`;

/** The server's own types as it calls them (\`bpchar\`, never \`character\`, which is one character); others with their schema, whatever the search path is. */
const CAST_TYPES = `
  select t.oid::int8::float8 as oid,
    case when n.nspname = 'pg_catalog' then pg_catalog.format_type(t.oid, -1)
      else pg_catalog.format('%I.%I', n.nspname, t.typname) end as name
  from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace`;
