import type pg from 'pg';
import { castKey, castTo, type ChunkTable, keyNames } from './chunk-key.ts';
import { type ChunkRange, endOfRange } from './chunk-range.ts';
import { qualifiedName, quoteIdentifier } from './identifier.ts';
import { Snapshot } from './snapshot-xids.ts';
import { toDatabaseError } from './sqlstate.ts';
import { fetchInto } from './wire-fetch.ts';
import { type SpareRows, WireRows } from './wire-rows.ts';

export type { ChunkTable, KeyColumn } from './chunk-key.ts';

export interface ChunkLimits {
  readonly rows: number;
  /** Rows that a condition is asked about; default: as many as it may take. */
  readonly lookedAt?: number;
  readonly bytes: number;
  /** Of a row, as wide as they were last; undefined: nobody knows. Only a hint: what comes is measured. */
  readonly rowBytes?: number | undefined;
}

export interface Chunk {
  readonly snapshot: Snapshot;
  readonly rows: WireRows;
  /** Of all values. */
  readonly bytes: number;
  /** Rows that were looked at: more than were read, where a condition does not take all. */
  readonly lookedAt: number;
  /** Key that the next chunk begins behind; undefined where nothing was looked at. */
  readonly last: readonly string[] | undefined;
  /** Nothing comes after. */
  readonly atEnd: boolean;
  /** Of a table that is read by ctid: positions mean nothing in another file. */
  readonly filenode: number | undefined;
}

export interface ChunkRequest {
  /** Key of the last row before. */
  readonly after: readonly string[] | undefined;
  readonly limits: ChunkLimits;
  /** SQL condition. */
  readonly where: string | undefined;
  /** Where the rows' memory comes from. */
  readonly spare?: SpareRows | undefined;
}

/** A cursor's first fetch where nobody knows how wide rows are, and its largest: it grows while they are narrow. */
const FIRST_FETCH = 20;
const MAX_FETCH = 5_000;

/**
 * The next rows in the order of the key, in one short transaction, with the snapshot that they were read under. Ends at the limit of rows, or with the row
 * that reaches the limit of bytes.
 */
export function readChunk(client: pg.ClientBase, table: ChunkTable, request: ChunkRequest): Promise<Chunk> {
  const { after, limits, where } = request;
  const byPosition = table.key.length === 0;
  return read(client, table, {
    conditions: [
      ...(where === undefined ? [] : [`(${where}\n)`]),
      ...(after === undefined ? [] : [comparison(table, '>', 1)]),
    ],
    values: after ?? [],
    // Sorting by ctid would sort the whole rest of the table: a scan by ranges of it comes in order already.
    tail: byPosition ? `limit ${limits.rows}` : `order by ${keyNames(table)} limit ${limits.rows}`,
    limits,
    range: where === undefined ? undefined : { after, rows: limits.lookedAt ?? limits.rows },
    spare: request.spare,
  });
}

/** The rows of these keys, for what has to be read again. */
export function readKeys(
  client: pg.ClientBase,
  table: ChunkTable,
  keys: readonly (readonly string[])[],
  { where, spare }: Pick<ChunkRequest, 'where' | 'spare'>,
): Promise<Chunk> {
  const names = table.key.map(({ name }) => quoteIdentifier(name));
  const columns = table.key.map((column, index) => castTo(`unnest($${index + 1}::text[])`, column));
  return read(client, table, {
    conditions: [
      ...(where === undefined ? [] : [`(${where}\n)`]),
      `(${names.join(', ')}) in (select ${columns.join(', ')})`,
    ],
    values: table.key.map((_, index) => keys.map((key) => key[index])),
    tail: '',
    limits: { rows: Number.MAX_SAFE_INTEGER, bytes: Number.MAX_SAFE_INTEGER },
    range: undefined,
    spare,
  });
}

/** Rows before or behind the position in the parameters that begin with this number. */
function comparison(table: ChunkTable, operator: '>' | '<=', first: number): string {
  return table.key.length === 0
    ? `ctid ${operator} $${first}::text::tid`
    : `(${keyNames(table)}) ${operator} (${castKey(table, first)})`;
}

interface Selection {
  readonly conditions: readonly string[];
  readonly values: readonly unknown[];
  readonly tail: string;
  readonly limits: ChunkLimits;
  /** Of the rows that a condition is asked about at a time; undefined: without one every row counts. */
  readonly range: ChunkRange | undefined;
  readonly spare: SpareRows | undefined;
}

async function read(client: pg.ClientBase, table: ChunkTable, selection: Selection): Promise<Chunk> {
  const { values, tail, limits, range } = selection;
  const byPosition = table.key.length === 0;
  const columns = [...table.columns.map(quoteIdentifier), ...(byPosition ? ['ctid'] : [])].join(', ');
  const relation = `${table.partitioned === true ? '' : 'only '}${qualifiedName(table)}`;
  try {
    // The lock comes before the snapshot: a rewriting ALTER that is waited for between the two would leave an older snapshot an empty table.
    // A policy that hides rows is an error and no end of the table: the stream does not hide them. The select also fixes the snapshot: the cursor
    // reads under the same one.
    const begun = await client.query(`begin isolation level repeatable read read only; set local row_security = off;
      ${byPosition ? IN_PHYSICAL_ORDER : ''}
      lock table ${relation} in access share mode;
      select pg_current_snapshot()::text as snapshot`);
    const { rows: facts } = (begun as unknown as pg.QueryResult<{ snapshot: string }>[]).at(-1) ?? { rows: [] };
    const snapshot = Snapshot.parse(facts[0]?.snapshot ?? '');
    const end = range === undefined ? undefined : await endOfRange(client, table, range);
    const conditions = [
      ...selection.conditions,
      ...(end === undefined ? [] : [comparison(table, '<=', values.length + 1)]),
    ];
    const where = conditions.length === 0 ? '' : ` where ${conditions.join(' and ')}`;
    // The condition is a person's SQL; the extended protocol takes one statement only.
    await client.query({
      text: `declare banyan_chunk no scroll cursor for select ${columns} from ${relation}${where} ${tail}`,
      values: [...values, ...(end ?? [])],
      queryMode: 'extended',
    } as pg.QueryConfig);
    const cells = table.columns.length;
    const rows = selection.spare?.take(cells) ?? new WireRows(cells);
    const { atEnd } = await fetchRows(client, rows, limits);
    const isRangeOver = atEnd && end !== undefined;
    // Behind the cursor, whose lock keeps the file as it is.
    const filenode = byPosition ? await filenodeOf(client, table) : undefined;
    await client.query('commit');
    return {
      snapshot,
      rows,
      bytes: rows.bytes,
      lookedAt: isRangeOver ? (range?.rows ?? rows.length) : rows.length,
      last: isRangeOver ? end : keyOf(rows, table),
      atEnd: atEnd && !isRangeOver,
      filenode,
    };
  } catch (error) {
    await client.query('rollback').catch(() => undefined);
    throw toDatabaseError(error, `reading a chunk of ${table.schema}.${table.name}`);
  }
}

async function fetchRows(client: pg.ClientBase, into: WireRows, limits: ChunkLimits): Promise<{ atEnd: boolean }> {
  let { rowBytes } = limits;
  for (let atMost = rowBytes === undefined ? FIRST_FETCH : MAX_FETCH; ;) {
    // Half of what is left, as wide as the rows were so far.
    const fitting = Math.ceil((limits.bytes - into.held) / 2 / Math.max(1, rowBytes ?? 1));
    const size = Math.max(1, Math.min(MAX_FETCH, atMost, fitting, limits.rows - into.length));
    // How wide the next rows are is known only when they come: those behind the limit are let go one by one, and read by the next chunk.
    const fetched = await fetchInto(client, { portal: 'banyan_chunk', rows: size, into, maxBytes: limits.bytes });
    if (into.held >= limits.bytes) return { atEnd: false };
    if (fetched < size) return { atEnd: true };
    if (into.length >= limits.rows) return { atEnd: false };
    rowBytes = into.held / into.length;
    atMost = size * 4;
  }
}

/** A scan of all pages may begin anywhere, with others; and one that filters by ctid would read all that is behind us again. */
const IN_PHYSICAL_ORDER = 'set local synchronize_seqscans = off; set local enable_seqscan = off;';

async function filenodeOf(client: pg.ClientBase, table: ChunkTable): Promise<number> {
  const { rows } = await client.query<{ filenode: number }>(
    'select pg_relation_filenode($1::text::regclass)::int8::float8 as filenode',
    [qualifiedName(table)],
  );
  return rows[0]?.filenode ?? 0;
}

function keyOf(rows: WireRows, table: ChunkTable): readonly string[] | undefined {
  const row = rows.length - 1;
  if (row < 0) return undefined;
  // The ctid stands behind all columns.
  const columns =
    table.key.length === 0 ? [table.columns.length] : table.key.map(({ name }) => table.columns.indexOf(name));
  return columns.map((column) => rows.value(row, column) ?? '');
}
