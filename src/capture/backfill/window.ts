import type { TransactionHeader, Tuple } from '../../core/change.ts';
import type { Snapshot } from '../../postgres/snapshot-xids.ts';

/** Keys that may be noted between the marks of one chunk; above that the chunk is read again, so that a huge transaction costs no memory. */
const MAX_TOUCHED = 100_000;

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
  /** Rows that are still to be handed on, by key; empty until the window closed. */
  readonly pending = new Map<string, Tuple>();
  /** Rows that were dropped although no event holds all of their fields. */
  readonly uncovered: Tuple[] = [];
  readonly #touched = new Map<string, boolean>();
  #closed = false;

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
    this.pending.clear();
  }

  /** The high mark has passed: `rows` without what was touched meanwhile are left. */
  close(rows: ReadonlyMap<string, Tuple>): void {
    this.#closed = true;
    if (this.spoiled !== undefined) return;
    for (const [key, row] of rows) this.pending.set(key, row);
    for (const [key, covered] of this.#touched) this.#drop(key, covered);
    this.#touched.clear();
  }

  #drop(key: string, covered: boolean): void {
    const row = this.pending.get(key);
    if (row === undefined) return;
    this.pending.delete(key);
    if (!covered) this.uncovered.push(row);
  }
}

/**
 * Transactions that the stream has shown, as far as a snapshot may still take them for running: their commit is in the WAL before other sessions see
 * it, so a chunk that is read behind such a commit may hold what was before it.
 */
export class RecentCommits {
  readonly #order = new Map<number, number>();
  #count = 0;

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
