import type pg from 'pg';
import type { Cell, RowChange } from '../core/change.ts';
import { textTypes } from '../postgres/connection.ts';
import { qualifiedName, quoteIdentifier } from '../postgres/identifier.ts';
import { sqlStateOf, toDatabaseError } from '../postgres/sqlstate.ts';

/** undefined_column, undefined_table, invalid_schema_name, undefined_function. */
const GONE = new Set(['42703', '42P01', '3F000', '42883']);

/**
 * Reads cells again that the server did not send (unchanged TOAST), by the row's replica identity. The value is the one of now, which may be newer
 * than the change; a row that is gone meanwhile leaves the cells as they were.
 */
export async function reselect(pool: pg.Pool, change: RowChange, columns: readonly number[]): Promise<RowChange> {
  const { relation } = change;
  const row = change.new;
  const key = relation.columns.flatMap((column, index) => (column.inIdentity ? [{ name: column.name, index }] : []));
  const names = columns.flatMap((index) => relation.columns[index]?.name ?? []);
  if (row === undefined || key.length === 0 || names.length === 0) return change;
  const where = key.map(({ name }, position) => `${quoteIdentifier(name)} = $${position + 1}`).join(' and ');
  try {
    const { rows } = await pool.query<Cell[]>({
      text: `select ${names.map(quoteIdentifier).join(', ')} from ${qualifiedName(relation)} where ${where}`,
      values: key.map(({ index }) => row[index]),
      types: textTypes,
      rowMode: 'array',
    });
    const found = rows[0];
    if (found === undefined) return change;
    const whole = [...row];
    for (const [position, index] of columns.entries()) whole[index] = found[position];
    return { ...change, new: whole };
  } catch (error) {
    // DDL since the change: the column, table, schema or its operator is no longer there. Then the value stays what it is, unavailable.
    if (GONE.has(sqlStateOf(error) ?? '')) return change;
    throw toDatabaseError(error, `reading values of ${relation.schema}.${relation.name} again`);
  }
}
