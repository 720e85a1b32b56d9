import type pg from 'pg';
import { type ChunkTable, castKey, keyNames } from './chunk-key.ts';
import { textTypes } from './connection.ts';
import { qualifiedName } from './identifier.ts';

/** Where a table is read in its physical order: a range is of so many pages, however many rows they hold. */
const ROWS_PER_PAGE = 50;

export interface ChunkRange {
  /** Key of the last row before. */
  readonly after: readonly string[] | undefined;
  /** Rows in the range, before any condition. */
  readonly rows: number;
}

/**
 * The end of the next range of a table: where a condition takes few rows, they would be looked for to the end of the table in one statement, and nobody
 * would know how far that is. Found by the key's index alone; undefined: the range goes to the end.
 */
export async function endOfRange(
  client: pg.ClientBase,
  table: ChunkTable,
  range: ChunkRange,
): Promise<readonly string[] | undefined> {
  return table.key.length === 0 ? endByPosition(client, table, range) : endByKey(client, table, range);
}

async function endByKey(
  client: pg.ClientBase,
  table: ChunkTable,
  { after, rows }: ChunkRange,
): Promise<readonly string[] | undefined> {
  const names = keyNames(table);
  const behind = after === undefined ? '' : ` where (${names}) > (${castKey(table, 1)})`;
  const from = `${table.partitioned === true ? '' : 'only '}${qualifiedName(table)}`;
  const { rows: found } = await client.query<string[]>({
    text: `select ${names} from ${from}${behind} order by ${names} offset ${Math.max(0, rows - 1)} limit 1`,
    values: [...(after ?? [])],
    rowMode: 'array',
    types: textTypes,
  });
  return found[0];
}

async function endByPosition(
  client: pg.ClientBase,
  table: ChunkTable,
  { after, rows }: ChunkRange,
): Promise<readonly string[] | undefined> {
  const { rows: facts } = await client.query<{ first: number; pages: number }>(
    `select coalesce((($1::text::tid)::text::point)[0], 0)::float8 as first,
            pg_relation_size($2::text::regclass)::float8 / current_setting('block_size')::int8 as pages`,
    [after?.[0] ?? null, qualifiedName(table)],
  );
  const { first = 0, pages = 0 } = facts[0] ?? {};
  const end = first + Math.max(1, Math.ceil(rows / ROWS_PER_PAGE));
  // Rows begin at 1: all of them are behind position 0 of a page.
  return end < pages ? [`(${end},0)`] : undefined;
}
