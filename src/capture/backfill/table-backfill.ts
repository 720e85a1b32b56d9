import type { Logger } from 'pino';
import { sleep } from '../../flow/supervise.ts';
import type { ChunkLimits } from '../../postgres/chunk.ts';
import type { BackfillPart } from '../../state/backfills.ts';
import { type ChunkPlace, type ChunkSource, nextChunk, type ReadyChunk } from './chunks.ts';
import type { FeedOptions } from './feed.ts';
import { Pace } from './pace.ts';
import { sendChunk } from './send.ts';

/** Of a chunk, whatever its rows are. */
const MAX_CHUNK_BYTES = 4_000_000;
const LOOK_AGAIN_MS = 500;

export interface TableBackfillOptions {
  /** What is left, each with the relation that it is read from. */
  readonly parts: readonly { readonly part: BackfillPart; readonly place: ChunkPlace }[];
  readonly source: ChunkSource;
  readonly feeding: FeedOptions;
  /** Stores progress behind a settled chunk. */
  readonly advance: (step: {
    part: number;
    cursor: readonly string[] | undefined;
    done: boolean;
    rows: number;
  }) => Promise<void>;
  /** The part's file is another one: its positions mean nothing any more. */
  readonly restart: (part: number, filenode: number) => Promise<void>;
  /** Why the next chunk has to wait; looked at again a little later. */
  readonly throttle: () => string | undefined;
  readonly onReason: (reason: string | undefined) => Promise<void>;
  /** Aborts when the run is paused or replaced, or the session ends. */
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** Reads what is left of one table, chunk by chunk. The next chunk is read while the rows of one are being sent. */
export async function backfillTable(options: TableBackfillOptions): Promise<void> {
  for (const { part, place } of options.parts) await new PartReader(options, part, place).run();
}

class PartReader {
  readonly #options: TableBackfillOptions;
  readonly #part: BackfillPart;
  readonly #place: ChunkPlace;
  /** Of rows that are sent, and of those that a condition is asked about: where it takes none for long, the next may all be of those that it takes. */
  readonly #sent = new Pace();
  readonly #looked = new Pace();
  /** Of a row of the last chunk. */
  #rowBytes: number | undefined;

  constructor(options: TableBackfillOptions, part: BackfillPart, place: ChunkPlace) {
    this.#options = options;
    this.#part = part;
    this.#place = place;
  }

  async run(): Promise<void> {
    const { source, restart, log } = this.#options;
    let { cursor, filenode } = this.#part;
    let ahead: Promise<ReadyChunk> | undefined;
    try {
      for (;;) {
        const started = performance.now();
        const ready = await (ahead ?? this.#read(cursor));
        const { chunk } = ready;
        const read = chunk.rows.length;
        if (read > 0) this.#rowBytes = chunk.bytes / read;
        if (chunk.filenode !== undefined && chunk.filenode !== filenode) {
          source.watch.forget(ready.window);
          log.info({ relation: this.#part.relation }, 'the table was rewritten: reading it from its beginning again');
          filenode = chunk.filenode;
          await restart(this.#part.number, chunk.filenode);
          cursor = undefined;
          ahead = undefined;
          continue;
        }
        const next = chunk.atEnd ? undefined : this.#read(chunk.last);
        // Awaited when its turn comes; a failure before that ends this chunk first.
        next?.catch(() => undefined);
        ahead = next;
        const rows = await sendChunk(ready, this.#place, this.#options);
        if (rows === undefined) {
          // Cut short: read again, and what was read ahead might not begin where that ends.
          await this.#drop(next);
          ahead = undefined;
          continue;
        }
        cursor = chunk.last ?? cursor;
        await this.#options.advance({ part: this.#part.number, cursor, done: chunk.atEnd, rows });
        if (chunk.atEnd) return;
        const seconds = (performance.now() - started) / 1_000;
        this.#sent.adapt(read, seconds);
        this.#looked.adapt(chunk.lookedAt, seconds);
      }
    } finally {
      await this.#drop(ahead);
    }
  }

  async #read(after: readonly string[] | undefined): Promise<ReadyChunk> {
    await this.#turn();
    const { source, signal } = this.#options;
    signal.throwIfAborted();
    const limits: ChunkLimits = {
      rows: this.#sent.rows,
      lookedAt: this.#looked.rows,
      bytes: MAX_CHUNK_BYTES,
      rowBytes: this.#rowBytes,
    };
    return nextChunk(source, this.#place, { after, limits });
  }

  async #drop(ahead: Promise<ReadyChunk> | undefined): Promise<void> {
    const read = await ahead?.catch(() => undefined);
    if (read !== undefined) this.#options.source.watch.forget(read.window);
  }

  /** Waits while live changes, the bus or the server need the room. */
  async #turn(): Promise<void> {
    const { throttle, onReason, signal } = this.#options;
    for (;;) {
      const reason = throttle();
      await onReason(reason);
      if (reason === undefined) return;
      await sleep(LOOK_AGAIN_MS, signal);
    }
  }
}
