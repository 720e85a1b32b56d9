import type pg from 'pg';
import { BanyanError } from '../core/errors.ts';
import type { Leaf } from '../postgres/backfill-facts.ts';
import { displayName, qualifiedName } from '../postgres/identifier.ts';
import { sqlStateOf } from '../postgres/sqlstate.ts';
import type { CatalogTable } from '../postgres/table.ts';
import { readError } from './preview-rows.ts';

const SYNTAX_ERROR = '42601';
const QUERY_CANCELED = '57014';

export interface ConditionPlace {
  readonly table: CatalogTable;
  readonly leaves: readonly Leaf[];
}

/**
 * Throws `usage` where the server would not take the condition as the worker writes it into the query of a chunk. Planned only, in a transaction that
 * can not write.
 */
export async function refuseCondition(client: pg.ClientBase, where: string, place: ConditionPlace): Promise<void> {
  const { table } = place;
  const from = sourceOf(place);
  try {
    await client.query('begin read only');
    await client.query(extended(`explain select from ${from} where (${where}\n)`));
    await refuseSeveral(client, { where, from, table });
  } catch (error) {
    throw readError(error, table, { where });
  } finally {
    await client.query('rollback').catch(() => undefined);
  }
}

/**
 * `true) or (false` fits between parentheses and would change what stands around it. It does not fit between brackets, and nothing that is more than
 * one expression fits between both.
 */
async function refuseSeveral(
  client: pg.ClientBase,
  about: { readonly where: string; readonly from: string; readonly table: CatalogTable },
): Promise<void> {
  const { where, from, table } = about;
  try {
    await client.query(extended(`explain select array[${where}\n] from ${from}`));
  } catch (error) {
    if (sqlStateOf(error) !== SYNTAX_ERROR) throw error;
    throw new BanyanError('usage', `--where is not one condition over ${displayName(table)}`, {
      cause: error,
      code: SYNTAX_ERROR,
      remedy: 'write one expression, with parentheses in pairs: --where "a = 1 or b = 2"',
    });
  }
}

/** Rows that the condition takes; not `exact` where counting took too long, so that the planner's word has to do. */
export async function countRows(
  client: pg.ClientBase,
  where: string,
  { table }: ConditionPlace,
): Promise<{ readonly rows: number; readonly exact: boolean }> {
  const from = `${table.kind === 'partitioned' ? '' : 'only '}${qualifiedName(table)}`;
  try {
    await client.query('begin read only');
    try {
      await client.query('savepoint counting');
      const { rows } = await client.query<{ rows: number }>(
        extended(`select count(*)::float8 as rows from ${from} where (${where}\n)`),
      );
      return { rows: rows[0]?.rows ?? 0, exact: true };
    } catch (error) {
      if (sqlStateOf(error) !== QUERY_CANCELED) throw error;
      await client.query('rollback to counting');
      const { rows } = await client.query<{ 'QUERY PLAN': [{ Plan: { 'Plan Rows': number } }] }>(
        extended(`explain (format json) select from ${from} where (${where}\n)`),
      );
      return { rows: rows[0]?.['QUERY PLAN'][0].Plan['Plan Rows'] ?? 0, exact: false };
    }
  } catch (error) {
    throw readError(error, table, { where });
  } finally {
    await client.query('rollback').catch(() => undefined);
  }
}

/** A chunk is read from a leaf, whose name the condition would have to use. */
function sourceOf({ table, leaves }: ConditionPlace): string {
  const [leaf] = leaves;
  return leaf === undefined ? qualifiedName(table) : `only ${qualifiedName(leaf)}`;
}

/** The extended protocol takes one statement only. */
function extended(text: string): pg.QueryConfig {
  return { text, queryMode: 'extended' } as pg.QueryConfig;
}
