import type { TransactionHeader, Tuple } from '../../core/change.ts';
import type { Snapshot } from '../../postgres/snapshot-xids.ts';

/** Keys that may be noted between the marks of one chunk; above that the chunk is read again, so that a huge transaction costs no memory. */
const MAX_TOUCHED = 100_000;

/** Rows that are made when they are asked for; an array is one too. */
export interface RowList {
  readonly length: number;
  at(row: number): Tuple | undefined;
}

const NO_ROWS: RowList = [];

/**
 * One chunk between its marks. Rows that the stream touches behind the low mark are not sent: the stream's own event is newer. That holds until
 * the row was handed on, which may be long after the high mark.
 */
export class ChunkWindow {
  /** Transaction of the low mark; undefined until the stream has shown it. */
  low: TransactionHeader | undefined;
  /** What the watch had counted then: what came before it is older than the chunk. */
  lowCount = 0;
  /** Why the chunk must be read again. */
  spoiled: string | undefined;
  /** Rows that were dropped although no event holds all of their fields. */
  readonly uncovered: Tuple[] = [];
  readonly #touched = new Map<string, boolean>();
  /** Of a closed window. Those before `#next` were handed on or dropped. */
  #rows: RowList = NO_ROWS;
  #next = 0;
  /** Those behind `#next` that were dropped. */
  readonly #dropped = new Set<number>();
  #closed = false;
  #keyAt: (place: number) => string = () => '';
  /** Where each row that was left stands. Made for the first change behind the high mark: most chunks see none. */
  #places: Map<string, number> | undefined;

  /** The low mark has passed. */
  open(mark: TransactionHeader, count: number): void {
    this.low = mark;
    this.lowCount = count;
  }

  /** @param covered whether the change makes an event that holds all that a read would */
  touch(key: string, covered: boolean): void {
    if (this.low === undefined) return;
    if (this.#closed) {
      this.#drop(key, covered);
      return;
    }
    this.#touched.set(key, covered);
    if (this.#touched.size > MAX_TOUCHED) {
      this.#touched.clear();
      this.spoil('too many of its table’s rows changed while it was read');
    }
  }

  spoil(reason: string): void {
    if (this.low === undefined) return;
    this.spoiled ??= reason;
    this.#end();
  }

  /** The high mark has passed: `rows` without what was touched meanwhile are left. */
  close(rows: RowList, keyAt: (place: number) => string): void {
    this.#closed = true;
    if (this.spoiled !== undefined) return;
    this.#rows = rows;
    this.#keyAt = keyAt;
    for (const [key, covered] of this.#touched) this.#drop(key, covered);
    this.#touched.clear();
  }

  /** Numbers of the next rows, at most so many, that may be handed on; none: none is left. The window knows no more of them. */
  take(atMost: number): readonly number[] {
    const taken: number[] = [];
    while (taken.length < atMost && this.#next < this.#rows.length) {
      const place = this.#next;
      this.#next += 1;
      if (this.#dropped.size === 0 || !this.#dropped.delete(place)) taken.push(place);
    }
    if (taken.length === 0) this.#end();
    return taken;
  }

  #drop(key: string, covered: boolean): void {
    if (this.#rows.length === 0) return;
    this.#places ??= this.#placesLeft();
    const place = this.#places.get(key);
    if (place === undefined || place < this.#next || this.#dropped.has(place)) return;
    this.#dropped.add(place);
    const row = covered ? undefined : this.#rows.at(place);
    if (row !== undefined) this.uncovered.push(row);
  }

  #placesLeft(): Map<string, number> {
    const places = new Map<string, number>();
    for (let place = this.#next; place < this.#rows.length; place += 1) {
      const key = this.#keyAt(place);
      // Rows that nothing tells apart are one: a change of it is a change of all.
      if (places.has(key)) this.#dropped.add(place);
      else places.set(key, place);
    }
    return places;
  }

  #end(): void {
    this.#rows = NO_ROWS;
    this.#next = 0;
    this.#dropped.clear();
    this.#places = undefined;
  }
}

/**
 * Transactions that the stream has shown, as far as a snapshot may still take them for running: their commit is in the WAL before other sessions see
 * it, so a chunk that is read behind such a commit may hold what was before it.
 */
export class RecentCommits {
  readonly #order = new Map<number, number>();
  #count = 0;

  get size(): number {
    return this.#order.size;
  }

  get count(): number {
    return this.#count;
  }

  add(xid: number): void {
    if (this.#order.has(xid)) return;
    this.#count += 1;
    this.#order.set(xid, this.#count);
  }

  /** A transaction that was shown as committed up to that count and that the snapshot does not see. */
  unseenBy(snapshot: Snapshot, upTo: number): number | undefined {
    for (const [xid, count] of this.#order) {
      if (count > upTo) return undefined;
      if (snapshot.isInvisible(xid)) return xid;
    }
    return undefined;
  }

  /** Forgets those that every later snapshot sees. */
  prune(snapshot: Snapshot): void {
    for (const xid of this.#order.keys()) if (snapshot.isOver(xid)) this.#order.delete(xid);
  }
}
