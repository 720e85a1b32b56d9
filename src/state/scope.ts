import type pg from 'pg';
import { quoteIdentifier } from '../postgres/identifier.ts';
import { toDatabaseError } from '../postgres/sqlstate.ts';

/** What every store needs: whose rows they are, and where. */
export interface StateScope {
  readonly pool: pg.Pool;
  /** `config.name`: all rows are keyed by it, so that connectors can share one schema. */
  readonly connector: string;
  /** As configured, not quoted. */
  readonly schema: string;
  /** JSON text as the database can store it: `\u` escapes where its encoding is not UTF8, so that any character passes. */
  readonly storableJson: (json: string) => string;
  /** Prose for people as the database can store it: `?` for characters that its encoding has no form for. */
  readonly storableText: (text: string) => string;
}

/** One statement of a store. Tables are written as `{table}` and become schema-qualified, quoted names. */
export async function queryState<Row extends pg.QueryResultRow>(
  scope: StateScope,
  sql: string,
  values: readonly unknown[] = [],
): Promise<Row[]> {
  try {
    return (await scope.pool.query<Row>(qualify(sql, scope.schema), [...values])).rows;
  } catch (error) {
    throw toDatabaseError(error, usingState(scope.schema));
  }
}

/** The same inside a transaction of the caller's. */
export async function queryStateIn<Row extends pg.QueryResultRow>(
  client: pg.ClientBase,
  scope: StateScope,
  query: { readonly sql: string; readonly values: readonly unknown[]; readonly name?: string },
): Promise<Row[]> {
  try {
    const { name } = query;
    const text = qualify(query.sql, scope.schema);
    return (await client.query<Row>({ text, values: [...query.values], ...(name === undefined ? {} : { name }) })).rows;
  } catch (error) {
    throw toDatabaseError(error, usingState(scope.schema));
  }
}

export function qualify(sql: string, schema: string): string {
  return sql.replaceAll(/\{(\w+)\}/g, (_, table: string) => `${quoteIdentifier(schema)}.${table}`);
}

/** How JSON and prose pass into a database of that `server_encoding`. */
export function storable(encoding: string): Pick<StateScope, 'storableJson' | 'storableText'> {
  if (encoding === 'UTF8') return { storableJson: (json) => json, storableText: (text) => text };
  return {
    storableJson: (json) =>
      json.replaceAll(/[\u0080-\uFFFF]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`),
    storableText: (text) => text.replaceAll('’', "'").replaceAll(/[\u0080-\u{10FFFF}]/gu, '?'),
  };
}

/** What was being done, for error messages. */
export function usingState(schema: string): string {
  return `using the state schema ${schema}`;
}
