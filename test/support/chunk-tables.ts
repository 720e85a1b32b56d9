import type pg from 'pg';
import { expect } from 'vitest';
import type { Cell } from '../../src/core/change.ts';
import { loadTables } from '../../src/postgres/catalog.ts';
import { type ChunkLimits, type ChunkTable, readChunk } from '../../src/postgres/chunk.ts';
import { textTypes } from '../../src/postgres/connection.ts';

export interface MadeTable extends ChunkTable {
  /** Its name as SQL. */
  readonly sql: string;
}

/** A new table as the catalog has it, read by its primary key; without one by its positions. */
export async function made(client: pg.Client, sql: string, definition: string): Promise<MadeTable> {
  await client.query(`drop table if exists ${sql} cascade; create table ${sql} (${definition})`);
  const { rows } = await client.query<{ oid: number }>('select $1::text::regclass::oid::int8::float8 as oid', [sql]);
  const [table] = await loadTables(client, [rows[0]?.oid ?? 0]);
  if (table === undefined) throw new Error(`${sql} is not in the catalog`);
  const { schema, name, columns, primaryKey } = table;
  return {
    sql,
    schema,
    name,
    columns: columns.map((column) => column.name),
    key: primaryKey.map((column) => ({
      name: column,
      typeName: columns.find((each) => each.name === column)?.typeName ?? '',
    })),
  };
}

/** Chunk by chunk to the end. */
export async function readAll(
  client: pg.Client,
  table: ChunkTable,
  limits: ChunkLimits,
  where?: string,
): Promise<(readonly Cell[])[]> {
  const rows: (readonly Cell[])[] = [];
  for (let after: readonly string[] | undefined; ;) {
    const chunk = await readChunk(client, table, { after, limits, where });
    rows.push(...chunk.rows);
    if (chunk.atEnd) return rows;
    expect(chunk.last).not.toEqual(after);
    after = chunk.last;
  }
}

export async function texts(client: pg.Client, sql: string): Promise<Cell[][]> {
  const { rows } = await client.query<Cell[]>({ text: sql, rowMode: 'array', types: textTypes });
  return rows;
}

export function sorted(rows: Iterable<readonly Cell[]>): readonly string[] {
  return Array.from(rows, (row) => JSON.stringify(row)).toSorted();
}
