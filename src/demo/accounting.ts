/**
 * The demo's books, kept from three sides that know nothing of each other: what the shop committed, what the bus accepted, what came out of the
 * queue. They are joined only in the report, by facts of the business (table, key, row version, event type) and not by anything that the
 * worker counts.
 */

/** One event that a committed change must lead to. The version is the row's own column, `-` where the table has none. */
export interface Expectation {
  readonly table: string;
  /** Values of the primary key, in the key's order. */
  readonly key: readonly string[];
  readonly version: number | '-';
  readonly detailType: string;
}

/** What the books need of an event, on the bus as in the queue. */
export interface SeenEvent extends Expectation {
  readonly id: string;
  /** As in metadata.operation. `read`: a row as the backfill found it. `backfill`: about a run, of no row. */
  readonly operation: string;
}

/** A row that was there before anybody captured it. */
export type RowBefore = Pick<Expectation, 'table' | 'key'>;

export interface DemoReport {
  /** Row changes that the shop committed, those that make no event included. */
  readonly changesCommitted: number;
  readonly transactionsCommitted: number;
  /** Events that these changes must lead to. */
  readonly eventsExpected: number;
  /** Entries that the bus accepted, repeats included. */
  readonly eventsAccepted: number;
  /** Events of changes that came out of the queue, by metadata.id: repeats counted once. */
  readonly received: number;
  /** The same of rows as the backfill read them, those included that were written while it ran. */
  readonly reads: number;
  /** Expected, and never received. */
  readonly missing: number;
  /** Received again, by metadata.id. */
  readonly repeated: number;
  /** Received, and no committed change explains it; a read, and nobody ever wrote its row. */
  readonly unexpected: number;
  /** Rows from before the worker that arrived, by a read or by an event of a later change, which has the whole row too (or says that it is gone). */
  readonly backfilled: number;
  /** Rows from before the worker of which nothing arrived. */
  readonly notBackfilled: number;
  /** Events that the bus accepted for the first time behind a newer one of the same key. */
  readonly outOfOrder: number;
  /** From the server's commit time to the bus's acceptance, milliseconds; null where nothing was accepted. */
  readonly latencyMs: { readonly p50: number | null; readonly p99: number | null };
}

export class Accounting {
  #changes = 0;
  #transactions = 0;
  readonly #expected = new Set<string>();
  #accepted = 0;
  readonly #acceptedIds = new Set<string>();
  readonly #newest = new Map<string, number>();
  #outOfOrder = 0;
  readonly #latencies: number[] = [];
  readonly #receivedIds = new Set<string>();
  readonly #receivedMarks = new Set<string>();
  readonly #readIds = new Set<string>();
  readonly #rowsRead = new Set<string>();
  readonly #rowsWritten = new Set<string>();
  /** Of these nothing arrived yet. */
  readonly #waiting = new Set<string>();
  readonly #completed = new Set<string>();
  #before = 0;
  #repeated = 0;
  #missing = 0;

  /** Called before the worker starts. */
  wasThere(rows: readonly RowBefore[]): void {
    for (const row of rows) {
      const name = rowOf(row);
      this.#before += 1;
      this.#waiting.add(name);
      this.#rowsWritten.add(name);
    }
  }

  /** Called when COMMIT has returned: before that nothing is promised. */
  committed(changes: number, expectations: readonly Expectation[]): void {
    this.#transactions += 1;
    this.#changes += changes;
    for (const expectation of expectations) {
      const mark = markOf(expectation);
      if (this.#expected.has(mark)) throw new Error(`the shop wrote the same version twice: ${expectation.table}`);
      this.#expected.add(mark);
      this.#rowsWritten.add(rowOf(expectation));
      if (!this.#receivedMarks.has(mark)) this.#missing += 1;
    }
  }

  /**
   * Called by the bus in the order in which it accepted, before it answers. Order within a key is judged here, since a standard queue has none. It is
   * judged by the row's version, which the shop raised, so the worker's own `sequence` proves nothing about itself. A repeat is not
   * counted as out of order: at least once allows it, and its id says so. A read has its place in this order like any change: an older row
   * behind a newer event would undo it at a consumer.
   *
   * @param latencyMs undefined where no commit is behind the event
   */
  accepted(event: SeenEvent, latencyMs: number | undefined): void {
    this.#accepted += 1;
    if (latencyMs !== undefined) this.#latencies.push(latencyMs);
    if (event.operation === 'backfill') return;
    if (this.#acceptedIds.has(event.id)) return;
    this.#acceptedIds.add(event.id);
    const row = rowOf(event);
    const version = rank(event);
    if (version < (this.#newest.get(row) ?? 0)) this.#outOfOrder += 1;
    else this.#newest.set(row, version);
  }

  received(event: SeenEvent): void {
    if (event.operation === 'backfill') {
      if (event.detailType === 'BackfillCompleted') this.#completed.add(event.table);
      return;
    }
    const isRead = event.operation === 'read';
    const ids = isRead ? this.#readIds : this.#receivedIds;
    if (ids.has(event.id)) {
      this.#repeated += 1;
      return;
    }
    ids.add(event.id);
    const row = rowOf(event);
    this.#waiting.delete(row);
    if (isRead) {
      // No repeat of a change, whatever came of the row before: it has an id, and a name, of its own.
      this.#rowsRead.add(row);
      return;
    }
    const mark = markOf(event);
    if (this.#expected.has(mark) && !this.#receivedMarks.has(mark)) this.#missing -= 1;
    this.#receivedMarks.add(mark);
  }

  /** Whether the shop has committed what this event says. */
  explains(event: Expectation): boolean {
    return this.#expected.has(markOf(event));
  }

  /** Cheap: the screen asks several times a second. */
  get now() {
    return {
      changes: this.#changes,
      transactions: this.#transactions,
      accepted: this.#accepted,
      received: this.#receivedIds.size,
      missing: this.#missing,
      reads: this.#readIds.size,
      notBackfilled: this.#waiting.size,
      /** Tables whose backfill a consumer knows to be over. */
      backfillsCompleted: this.#completed.size,
    };
  }

  report(): DemoReport {
    const sorted = this.#latencies.toSorted((a, b) => a - b);
    return {
      changesCommitted: this.#changes,
      transactionsCommitted: this.#transactions,
      eventsExpected: this.#expected.size,
      eventsAccepted: this.#accepted,
      received: this.#receivedIds.size,
      reads: this.#readIds.size,
      missing: this.#expected.difference(this.#receivedMarks).size,
      repeated: this.#repeated,
      unexpected:
        this.#receivedIds.size -
        this.#expected.intersection(this.#receivedMarks).size +
        this.#rowsRead.difference(this.#rowsWritten).size,
      backfilled: this.#before - this.#waiting.size,
      notBackfilled: this.#waiting.size,
      outOfOrder: this.#outOfOrder,
      latencyMs: { p50: nearestRank(sorted, 0.5), p99: nearestRank(sorted, 0.99) },
    };
  }
}

/** The smallest value that this share of all does not exceed, with one decimal; null of no values. */
export function nearestRank(sorted: readonly number[], share: number): number | null {
  const value = sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)];
  return value === undefined ? null : Math.round(value * 10) / 10;
}

function rowOf({ table, key }: RowBefore): string {
  return JSON.stringify([table, ...key]);
}

function markOf(expectation: Expectation): string {
  return JSON.stringify([rowOf(expectation), expectation.version, expectation.detailType]);
}

/** A row's life: its insert, its versions, its end. Tables without a version have only an insert and a delete. */
function rank({ version, detailType }: Expectation): number {
  if (version !== '-') return version;
  return GONE.has(detailType) ? Number.MAX_SAFE_INTEGER : 1;
}

/** The events of deletes: they carry no version, since the old row is known by its key only. */
export const GONE: ReadonlySet<string> = new Set(['CustomerForgotten', 'OrderLineRemoved', 'DeliveryRemoved']);
