export interface ChannelOptions {
  /** Items waiting at which the source is paused; it goes on at half of it. Default 8,192. */
  readonly highItems?: number;
  /** Bytes waiting at which the source is paused; it goes on at half of it. Default 8 MB. */
  readonly highBytes?: number;
  /** Longest chunk: bounds how long a consumer works before the event loop turns. Default 1,024. */
  readonly chunkItems?: number;
  readonly onPause?: () => void;
  readonly onResume?: () => void;
  /** Called once when nobody will read any more: after the end, a failure, an abort, or the consumer's `return`. */
  readonly onDone?: () => void;
  readonly signal?: AbortSignal;
}

interface Chunk<T> {
  readonly items: T[];
  bytes: number;
}

interface Parked<T> {
  readonly resolve: (result: IteratorResult<readonly T[]>) => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * A bounded bridge from callbacks to an async iterable of arrays. `push` never waits and never refuses: the source is asked to pause, and what it
 * still had in hand is taken. Chunks and not items are handed over, so that a consumer awaits once per chunk. One consumer only.
 *
 * The iterator is written by hand since `return()` of an async generator waits behind its pending `next()`, so a parked one can
 * not be cancelled.
 */
export class Channel<T> implements AsyncIterable<readonly T[]>, AsyncIterator<readonly T[]> {
  readonly #options: ChannelOptions;
  readonly #highItems: number;
  readonly #highBytes: number;
  readonly #chunkItems: number;
  #chunks: Chunk<T>[] = [];
  #items = 0;
  #bytes = 0;
  #paused = false;
  /** A hand-over to the waiting consumer is under way. */
  #handing = false;
  #parked: Parked<T> | undefined;
  /** No more pushes are taken. */
  #ended = false;
  /** Nothing will be read any more. */
  #done = false;
  #failure: { readonly error: unknown } | undefined;

  constructor(options: ChannelOptions = {}) {
    this.#options = options;
    this.#highItems = options.highItems ?? 8_192;
    this.#highBytes = options.highBytes ?? 8_000_000;
    this.#chunkItems = options.chunkItems ?? 1_024;
    const signal = options.signal;
    if (signal?.aborted === true) this.#onAbort();
    else signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  get paused(): boolean {
    return this.#paused;
  }

  /** Items that wait to be read. */
  get size(): number {
    return this.#items;
  }

  /** `weightBytes`: about what the item occupies. Pushes after the end are dropped. */
  push(item: T, weightBytes: number): void {
    if (this.#ended) return;
    const tail = this.#chunks.at(-1);
    if (tail === undefined || tail.items.length >= this.#chunkItems) {
      this.#chunks.push({ items: [item], bytes: weightBytes });
    } else {
      tail.items.push(item);
      tail.bytes += weightBytes;
    }
    this.#items++;
    this.#bytes += weightBytes;
    if (!this.#paused && (this.#items >= this.#highItems || this.#bytes >= this.#highBytes)) {
      this.#paused = true;
      this.#options.onPause?.();
    }
    if (this.#parked !== undefined) this.#hand();
  }

  /** Ends the iteration behind what was pushed. */
  close(): void {
    this.#end();
  }

  /** Ends the iteration behind what was pushed, by throwing `error`. The first failure is kept. */
  fail(error: unknown): void {
    if (!this.#ended) this.#failure = { error };
    this.#end();
  }

  next(): Promise<IteratorResult<readonly T[]>> {
    if (this.#parked !== undefined) return Promise.reject(new Error('a channel has one consumer, and it is waiting'));
    return new Promise((resolve, reject) => {
      this.#parked = { resolve, reject };
      // A consumer that comes late finds what was pushed meanwhile; one that waits gets it with the next turn.
      if (this.#items > 0 || this.#ended) this.#settle();
    });
  }

  return(): Promise<IteratorResult<readonly T[]>> {
    this.#discard();
    this.#failure = undefined;
    this.#end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  readonly #onAbort = (): void => {
    if (this.#done) return;
    // What waits is dropped at once: an abort must not be followed by more work.
    this.#discard();
    this.#failure ??= { error: this.#options.signal?.reason };
    this.#end();
  };

  /** Wakes the waiting consumer after the source's callback has pushed all that it has, so that it gets a chunk and not one item. */
  #hand(): void {
    if (this.#handing) return;
    this.#handing = true;
    setImmediate(() => {
      this.#handing = false;
      this.#settle();
    });
  }

  #settle(): void {
    const parked = this.#parked;
    if (parked === undefined) return;
    const chunk = this.#chunks.shift();
    if (chunk !== undefined) {
      this.#parked = undefined;
      this.#items -= chunk.items.length;
      this.#bytes -= chunk.bytes;
      parked.resolve({ done: false, value: chunk.items });
      if (this.#paused && this.#items <= this.#highItems / 2 && this.#bytes <= this.#highBytes / 2) {
        this.#paused = false;
        this.#options.onResume?.();
      }
      return;
    }
    if (!this.#ended) return;
    this.#parked = undefined;
    this.#finish();
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure === undefined) parked.resolve({ done: true, value: undefined });
    else parked.reject(failure.error);
  }

  #discard(): void {
    this.#chunks = [];
    this.#items = 0;
    this.#bytes = 0;
  }

  #end(): void {
    this.#ended = true;
    if (this.#items === 0) this.#finish();
    this.#settle();
  }

  #finish(): void {
    if (this.#done) return;
    this.#done = true;
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    this.#options.onDone?.();
  }
}
