import { type ChunkPlace, type ChunkSource, nextChunk, type ReadyChunk } from './chunks.ts';
import { feed, type FeedOptions } from './feed.ts';
import { indexesOf } from './watch.ts';

export interface SendOptions {
  readonly source: ChunkSource;
  readonly feeding: FeedOptions;
}

/** Sends a chunk and what had to be read again of it; the rows sent. undefined: something spoiled it meanwhile, and all of it is to be read again. */
export async function sendChunk(
  ready: ReadyChunk,
  place: ChunkPlace,
  options: SendOptions,
): Promise<number | undefined> {
  const { source, feeding } = options;
  const { window, shape } = ready;
  try {
    const sent = await feed(ready, feeding);
    // Every event of it is settled: nobody looks at its rows any more.
    source.spare.give(ready.chunk.rows);
    if (window.spoiled !== undefined) {
      source.onRepeat(window.spoiled);
      return undefined;
    }
    if (window.uncovered.length === 0) return sent;
    // Rows that changed between the marks without an event that holds all of them.
    const indexes = indexesOf(
      shape.relation,
      source.key.map(({ name }) => name),
    );
    const keys = window.uncovered.map((row) => indexes.map((index) => row[index] ?? ''));
    return sent + (await sendKeys(keys, place, options));
  } finally {
    source.watch.forget(window);
  }
}

/** Reads the rows of these keys and sends them, with marks of their own. */
export async function sendKeys(
  keys: readonly (readonly string[])[],
  place: ChunkPlace,
  options: SendOptions,
): Promise<number> {
  for (;;) {
    const sent = await sendChunk(await nextChunk(options.source, place, { keys }), place, options);
    if (sent !== undefined) return sent;
  }
}
