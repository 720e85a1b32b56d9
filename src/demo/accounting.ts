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
}

export interface DemoReport {
  /** Row changes that the shop committed, those that make no event included. */
  readonly changesCommitted: number;
  readonly transactionsCommitted: number;
  /** Events that these changes must lead to. */
  readonly eventsExpected: number;
  /** Entries that the bus accepted, repeats included. */
  readonly eventsAccepted: number;
  /** Events that came out of the queue, by metadata.id: repeats counted once. */
  readonly received: number;
  /** Expected, and never received. */
  readonly missing: number;
  /** Received again, by metadata.id. */
  readonly repeated: number;
  /** Received, and no committed change explains it. */
  readonly unexpected: number;
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
  #repeated = 0;
  #missing = 0;

  /** Called when COMMIT has returned: before that nothing is promised. */
  committed(changes: number, expectations: readonly Expectation[]): void {
    this.#transactions += 1;
    this.#changes += changes;
    for (const expectation of expectations) {
      const mark = markOf(expectation);
      if (this.#expected.has(mark)) throw new Error(`the shop wrote the same version twice: ${expectation.table}`);
      this.#expected.add(mark);
      if (!this.#receivedMarks.has(mark)) this.#missing += 1;
    }
  }

  /**
   * Called by the bus in the order in which it accepted, before it answers. Order within a key is judged here, since a standard queue has none. It is
   * judged by the row's version, which the shop raised, so the worker's own `sequence` proves nothing about itself. A repeat is not
   * counted as out of order: at least once allows it, and its id says so.
   */
  accepted(event: SeenEvent, latencyMs: number): void {
    this.#accepted += 1;
    this.#latencies.push(latencyMs);
    if (this.#acceptedIds.has(event.id)) return;
    this.#acceptedIds.add(event.id);
    const row = rowOf(event);
    const version = rank(event);
    if (version < (this.#newest.get(row) ?? 0)) this.#outOfOrder += 1;
    else this.#newest.set(row, version);
  }

  received(event: SeenEvent): void {
    if (this.#receivedIds.has(event.id)) {
      this.#repeated += 1;
      return;
    }
    this.#receivedIds.add(event.id);
    const mark = markOf(event);
    if (this.#expected.has(mark) && !this.#receivedMarks.has(mark)) this.#missing -= 1;
    this.#receivedMarks.add(mark);
  }

  /** Cheap: the screen asks several times a second. */
  get now() {
    return {
      changes: this.#changes,
      transactions: this.#transactions,
      accepted: this.#accepted,
      received: this.#receivedIds.size,
      missing: this.#missing,
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
      missing: this.#expected.difference(this.#receivedMarks).size,
      repeated: this.#repeated,
      unexpected: this.#receivedIds.size - this.#expected.intersection(this.#receivedMarks).size,
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

function rowOf({ table, key }: Expectation): string {
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
export const GONE: ReadonlySet<string> = new Set(['CustomerForgotten', 'OrderLineRemoved']);
