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

/** The batch of one key that is being filled; empty while none is. Kept from batch to batch, one a key ever seen. */
interface Slot<T> {
  items: T[];
  bytes: number;
  openedAt: number;
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
  readonly #slots = new Map<string | undefined, Slot<T>>();
  /** Slots with items, the oldest batch first. */
  readonly #open: Slot<T>[] = [];
  #recentKey: string | undefined;
  #recent: Slot<T> | undefined;
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
    const bytes = sizeOf(item);
    const slot = this.#slot(keyOf(item));
    if (slot.items.length > 0 && slot.bytes + bytes > maxBytes) this.#full.push(this.#close(slot));
    if (slot.items.length === 0) {
      slot.openedAt = this.#now();
      this.#open.push(slot);
      this.#arm(this.#options.lingerMs);
    }
    slot.items.push(item);
    slot.bytes += bytes;
    this.#size += 1;
    if (slot.items.length >= maxEntries || slot.bytes >= maxBytes) this.#full.push(this.#close(slot));
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
    const [oldest] = this.#open;
    if (oldest === undefined || this.#now() - oldest.openedAt < minAgeMs) return undefined;
    this.#size -= oldest.items.length;
    return this.#close(oldest);
  }

  #close(slot: Slot<T>): T[] {
    this.#open.splice(this.#open.indexOf(slot), 1);
    const { items } = slot;
    slot.items = [];
    slot.bytes = 0;
    return items;
  }

  #slot(key: string | undefined): Slot<T> {
    if (this.#recent !== undefined && key === this.#recentKey) return this.#recent;
    let slot = this.#slots.get(key);
    if (slot === undefined) {
      slot = { items: [], bytes: 0, openedAt: 0 };
      this.#slots.set(key, slot);
    }
    this.#recentKey = key;
    this.#recent = slot;
    return slot;
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
    for (const open of this.#open) {
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
