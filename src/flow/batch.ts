export interface BatcherOptions<T> {
  readonly maxEntries: number;
  /** Sum of `sizeOf` over a batch. An item that is larger alone still makes a batch of its own: refuse it before. */
  readonly maxBytes: number;
  /** How long a batch that is not full waits for more. */
  readonly lingerMs: number;
  readonly sizeOf: (item: T) => number;
  /** Items of different keys never share a batch. */
  readonly keyOf: (item: T) => string | undefined;
  /** A batch that is not full has waited long enough: `take` returns it now. Called from a timer. */
  readonly onDue: () => void;
  /** Milliseconds that never go back. Default: `performance.now`. */
  readonly now?: () => number;
}

interface OpenBatch<T> {
  readonly items: T[];
  bytes: number;
  readonly openedAt: number;
}

/** Node.js timers count whole milliseconds and may fire that much early by the finer clock. */
const TIMER_GRAIN_MS = 1;

/**
 * Collects items into batches by count, bytes and age. The sender *takes* batches when it has a free hand, so a batch that is due
 * while all hands are busy goes on filling: a request costs the same with one entry as with ten. One timer serves all batches.
 */
export class Batcher<T> {
  readonly #options: BatcherOptions<T>;
  readonly #now: () => number;
  readonly #full: T[][] = [];
  readonly #open = new Map<string | undefined, OpenBatch<T>>();
  #recentKey: string | undefined;
  #recent: OpenBatch<T> | undefined;
  #size = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: BatcherOptions<T>) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** Items in batches that were not taken yet. */
  get size(): number {
    return this.#size;
  }

  get hasFull(): boolean {
    return this.#full.length > 0;
  }

  /** Returns whether a full batch is there to be taken. */
  add(item: T): boolean {
    const { maxEntries, maxBytes, sizeOf, keyOf } = this.#options;
    const key = keyOf(item);
    const bytes = sizeOf(item);
    let open = key === this.#recentKey ? this.#recent : this.#open.get(key);
    if (open !== undefined && open.bytes + bytes > maxBytes) {
      this.#close(key, open);
      open = undefined;
    }
    if (open === undefined) {
      open = { items: [], bytes: 0, openedAt: this.#now() };
      this.#open.set(key, open);
      this.#arm(this.#options.lingerMs);
    }
    this.#recentKey = key;
    this.#recent = open;
    open.items.push(item);
    open.bytes += bytes;
    this.#size += 1;
    if (open.items.length >= maxEntries || open.bytes >= maxBytes) this.#close(key, open);
    return this.#full.length > 0;
  }

  /** The next full batch, else one that has waited its time; undefined when nothing should be sent yet. */
  take(): T[] | undefined {
    return this.#takeFull() ?? this.#takeOpen(this.#options.lingerMs - TIMER_GRAIN_MS);
  }

  /** Like `take`, but without waiting for a batch to fill or to age. */
  takeAny(): T[] | undefined {
    return this.#takeFull() ?? this.#takeOpen(Number.NEGATIVE_INFINITY);
  }

  /** Stops the timer; what was collected stays takeable. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #takeFull(): T[] | undefined {
    const full = this.#full.shift();
    if (full !== undefined) this.#size -= full.length;
    return full;
  }

  #takeOpen(minAgeMs: number): T[] | undefined {
    if (this.#open.size === 0) return undefined;
    // Insertion order is age order: a batch is opened once and removed when closed.
    for (const [key, open] of this.#open) {
      if (this.#now() - open.openedAt < minAgeMs) return undefined;
      this.#forget(key);
      this.#size -= open.items.length;
      return open.items;
    }
    return undefined;
  }

  #close(key: string | undefined, open: OpenBatch<T>): void {
    this.#forget(key);
    this.#full.push(open.items);
  }

  #forget(key: string | undefined): void {
    this.#open.delete(key);
    if (key === this.#recentKey) this.#recent = undefined;
  }

  /** A timer that is already running is left alone: it looks again when it fires, which is cheaper than one timer a batch. */
  #arm(delayMs: number): void {
    this.#timer ??= setTimeout(() => this.#onTimer(), delayMs);
  }

  #onTimer(): void {
    this.#timer = undefined;
    const { lingerMs, onDue } = this.#options;
    const now = this.#now();
    let due = false;
    for (const open of this.#open.values()) {
      const ageMs = now - open.openedAt;
      if (ageMs >= lingerMs - TIMER_GRAIN_MS) {
        due = true;
      } else {
        this.#arm(lingerMs - ageMs);
        break;
      }
    }
    if (due) onDue();
  }
}
