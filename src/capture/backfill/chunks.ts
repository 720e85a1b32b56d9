import type pg from 'pg';
import type { Relation, TransactionHeader } from '../../core/change.ts';
import { abortReason, sleep } from '../../flow/supervise.ts';
import { type Chunk, type ChunkLimits, type ChunkTable, readChunk, readKeys } from '../../postgres/chunk.ts';
import type { SpareRows } from '../../postgres/wire-rows.ts';
import type { Shape } from '../table-shape.ts';
import type { Marks } from '../marks.ts';
import { keyIndexes, keyText, type TableWatch } from './watch.ts';
import type { ChunkWindow } from './window.ts';

/** Before a chunk is read again. */
const REPEAT_MS = 100;

export interface ChunkSource {
  readonly pool: pg.Pool;
  readonly marks: Marks;
  readonly watch: TableWatch;
  /** Columns that tell rows apart in the stream, and in which order chunks go. */
  readonly key: ChunkTable['key'];
  /** Form of the table as the catalog has it now. */
  readonly shape: () => Promise<Shape>;
  readonly where: string | undefined;
  readonly spare: SpareRows;
  readonly signal: AbortSignal;
  /** A chunk had to be read again. */
  readonly onRepeat: (reason: string) => void;
}

/** Where a chunk is read: a table, or one of its partitions. */
export interface ChunkPlace {
  readonly schema: string;
  readonly name: string;
  readonly partitioned?: boolean;
}

/** What is asked for: the next rows behind a key, or the rows of some keys. */
export type ChunkRequest =
  | { readonly after: readonly string[] | undefined; readonly limits: ChunkLimits }
  | { readonly keys: readonly (readonly string[])[] };

/** A chunk between whose marks nothing of its rows is left to the stream: they may be handed on, as long as the window keeps them. */
export interface ReadyChunk {
  readonly chunk: Chunk;
  readonly window: ChunkWindow;
  readonly low: TransactionHeader;
  readonly shape: Shape;
}

/**
 * Low mark, read, high mark, until a chunk was read that is neither older than what the stream had shown before the low mark, nor of another form than
 * the table has now.
 */
export async function nextChunk(source: ChunkSource, place: ChunkPlace, request: ChunkRequest): Promise<ReadyChunk> {
  let shape = await source.shape();
  for (;;) {
    let attempt: ReadyChunk;
    try {
      attempt = await readBetweenMarks(source, place, { request, shape });
    } catch (error) {
      source.signal.throwIfAborted();
      const before = shape;
      shape = await source.shape();
      // What was asked for may have been altered or dropped just then.
      if (sameColumns(before.relation, shape.relation)) throw error;
      source.onRepeat('its table was altered');
      continue;
    }
    const { window } = attempt;
    const now = await source.shape().catch((error: unknown) => {
      source.watch.forget(window);
      throw error;
    });
    if (source.signal.aborted) {
      source.watch.forget(window);
      throw abortReason(source.signal);
    }
    if (!sameColumns(shape.relation, now.relation)) window.spoil('its table was altered');
    shape = now;
    if (window.spoiled === undefined) return attempt;
    source.watch.forget(window);
    source.spare.give(attempt.chunk.rows);
    source.onRepeat(window.spoiled);
    // What it waits for may last: a commit that a standby does not answer, DDL in several steps.
    await sleep(REPEAT_MS, source.signal);
  }
}

async function readBetweenMarks(
  { pool, marks, watch, key, where, spare, signal }: ChunkSource,
  place: ChunkPlace,
  { request, shape }: { request: ChunkRequest; shape: Shape },
): Promise<ReadyChunk> {
  const window = watch.window();
  try {
    const lowMark = await marks.set(pool, {
      onSeen: (mark) => window.open(mark, watch.recent.count),
      signal,
    });
    const table = { ...place, key, columns: shape.relation.columns.map(({ name }) => name) };
    const chunk = await withReader(pool, (client) =>
      'keys' in request
        ? readKeys(client, table, request.keys, { where, spare })
        : readChunk(client, table, { after: request.after, limits: request.limits, where, spare }),
    );
    const low = await lowMark.seen;
    const indexes = keyIndexes(
      shape.relation,
      key.map(({ name }) => name),
    );
    const highMark = await marks.set(pool, {
      onSeen: () => {
        if (watch.recent.unseenBy(chunk.snapshot, window.lowCount) !== undefined) {
          window.spoil('a change that was streamed already was not visible yet');
        }
        watch.recent.prune(chunk.snapshot);
        window.close(chunk.rows, (place) => keyText(chunk.rows.pick(place, indexes)));
      },
      signal,
    });
    await highMark.seen;
    return { chunk, window, low, shape };
  } catch (error) {
    watch.forget(window);
    throw error;
  }
}

async function withReader<T>(pool: pg.Pool, read: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  let failed = true;
  try {
    const result = await read(client);
    failed = false;
    return result;
  } finally {
    client.release(failed);
  }
}

function sameColumns(a: Relation, b: Relation): boolean {
  return (
    a.columns.length === b.columns.length &&
    a.columns.every((column, index) => {
      const other = b.columns[index];
      return (
        column.name === other?.name && column.typeOid === other.typeOid && column.typeModifier === other.typeModifier
      );
    })
  );
}
