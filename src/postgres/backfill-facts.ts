import type pg from 'pg';
import { toDatabaseError } from './sqlstate.ts';

/** A relation that has rows of its own: a table, or a leaf of a partitioned one. */
export interface Leaf {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** `pg_relation_filenode`: another one after every rewrite. */
  readonly filenode: number;
  /** By the planner's statistics, or by its pages where it was never analysed. */
  readonly estimatedRows: number;
  readonly bytes: number;
  /** Its file has no page. */
  readonly isEmpty: boolean;
  /** Which attaching made it a leaf: the transactions that linked it to the table, level by level; undefined: no partition. */
  readonly attached: string | undefined;
}

/** As state and events name it, unquoted. */
export function leafName({ schema, name }: Pick<Leaf, 'schema' | 'name'>): string {
  return `${schema}.${name}`;
}

/** Rows in a page, where nothing is known of a table. */
const ROWS_PER_PAGE = 50;

/** The table itself, or the leaves of a partitioned one, in the order of their names. */
export async function leavesOf(client: pg.ClientBase | pg.Pool, oid: number): Promise<readonly Leaf[]> {
  try {
    const { rows } = await client.query<Omit<Leaf, 'attached'> & { readonly attached: string | null }>(
      `with tree as materialized (select * from pg_partition_tree($1::oid::regclass))
       select c.oid::int8::float8 as oid, n.nspname::text as schema, c.relname::text as name,
              pg_relation_filenode(c.oid)::int8::float8 as filenode, pg_table_size(c.oid)::float8 as bytes,
              pg_relation_size(c.oid) = 0 as "isEmpty",
              (select string_agg(i.xmin::text, '/' order by up.n) from pg_partition_ancestors(c.oid) with ordinality up(relid, n)
               join pg_inherits i on i.inhrelid = up.relid join tree on tree.relid = up.relid and tree.level > 0) as attached,
              case when c.reltuples >= 0 and c.relpages > 0
                   then c.reltuples / c.relpages * (pg_relation_size(c.oid) / current_setting('block_size')::int8)
                   else pg_relation_size(c.oid) / current_setting('block_size')::int8 * ${ROWS_PER_PAGE} end::float8 as "estimatedRows"
       from (select relid as leaf from tree where isleaf
             union select $1::oid::regclass where (select relkind from pg_class where oid = $1::oid) = 'r') t
       join pg_class c on c.oid = t.leaf and c.relkind = 'r' join pg_namespace n on n.oid = c.relnamespace
       order by n.nspname, c.relname`,
      [oid],
    );
    return rows.map((row) => ({
      ...row,
      estimatedRows: Math.round(row.estimatedRows),
      attached: row.attached ?? undefined,
    }));
  } catch (error) {
    throw toDatabaseError(error, 'looking at the size of a table');
  }
}
