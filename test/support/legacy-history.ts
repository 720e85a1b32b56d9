import fc from 'fast-check';
import type { TransactionHeader } from '../../src/core/change.ts';
import { sequencePrefix, sequenceSuffix } from '../../src/core/event.ts';
import type { Lsn } from '../../src/core/lsn.ts';
import type { Detail, Row } from './reference-consumer.ts';

/** Something that is done to a row or to the table; left out where it can not be done: an insert of a row that is there. */
interface Step {
  readonly operation: 'insert' | 'update' | 'move' | 'delete' | 'truncate' | 'read' | 'promote';
  readonly row: number;
  /** The new key of a `move`. */
  readonly to: number;
  /** Columns that are written. The others stay as they are, and the server does not send them: they are TOASTed. */
  readonly writes: readonly string[];
  /** The table has REPLICA IDENTITY FULL now: every column is sent. */
  readonly full: boolean;
  /** Whether a transaction begins here; else it is in the one of the step before. */
  readonly begins: boolean;
}

/** A gap, and the run of a backfill that mends it. */
interface Episode {
  readonly before: readonly Step[];
  /** These make no events. */
  readonly lost: readonly Step[];
  readonly between: readonly Step[];
  readonly during: readonly Step[];
}

export interface History {
  readonly episodes: readonly Episode[];
  readonly after: readonly Step[];
  /** What a last run reads, with `--where`. */
  readonly some: readonly number[];
}

const COLUMNS = ['notes', 'doc'];
const slot = fc.nat({ max: 3 });
const step: fc.Arbitrary<Step> = fc.record({
  operation: fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom('insert', 'update', 'move') },
    { weight: 2, arbitrary: fc.constantFrom('delete', 'read') },
    { weight: 1, arbitrary: fc.constantFrom('truncate', 'promote') },
  ),
  row: slot,
  to: slot,
  writes: fc.subarray(COLUMNS),
  full: fc.nat({ max: 5 }).map((n) => n === 0),
  begins: fc.boolean(),
});
const steps = fc.array(step, { maxLength: 10 });

export const history: fc.Arbitrary<History> = fc.record({
  episodes: fc.array(fc.record({ before: steps, lost: steps, between: steps, during: steps }), { maxLength: 2 }),
  after: steps,
  some: fc.uniqueArray(slot, { maxLength: 2 }),
});

/** All events in any order, some of them twice. */
export function deliveryOf(events: readonly Detail[]): fc.Arbitrary<Detail[]> {
  return fc.subarray([...events]).chain((repeated) => {
    const all = [...events, ...repeated];
    return fc.shuffledSubarray(all, { minLength: all.length });
  });
}

export interface LegacyTableOptions {
  readonly name: string;
  /** Its rows are told apart by their content; there are never two with the same. */
  readonly keyless?: boolean;
  /** A change of the key sends all columns. */
  readonly wholeMoves?: boolean;
}

/** A table of the legacy database with its events, as Banyan promises them. */
export class LegacyTable {
  readonly rows = new Map<number, Row>();
  readonly events: Detail[] = [];
  /** How often it happened what makes this hard. */
  readonly seen = { unavailable: 0, unavailableInMove: 0, lost: 0, runs: 0, truncates: 0, promotions: 0 };
  readonly #options: LegacyTableOptions;
  /** Rows that had an event with all columns since the run started: the others have to be read before it is completed. */
  #met = new Set<number>();
  #loses = false;
  #run = 0;
  #values = 0;
  #timeline = 1;
  #lsn = 0xffff_ff80n;
  #ordinal = 0;

  constructor(options: LegacyTableOptions) {
    this.#options = options;
  }

  play({ episodes, after, some }: History): void {
    for (const { before, lost, between, during } of episodes) {
      this.#steps(before);
      this.#loses = true;
      this.#steps(lost);
      this.#loses = false;
      // A run that is given up; the next one replaces it.
      this.#start(undefined);
      this.#steps(between);
      this.#start(undefined);
      this.#steps(during);
      for (const row of this.rows.keys()) if (!this.#met.has(row)) this.#read(row);
      this.#complete(undefined);
    }
    this.#steps(after);
    this.#start('some of them');
    for (const row of some) this.#read(row);
    this.#complete('some of them');
  }

  #steps(steps: readonly Step[]): void {
    for (const step of steps) this.#step(step);
  }

  #step(step: Step): void {
    const { operation, row, to } = step;
    const isThere = this.rows.has(row);
    if (step.begins) this.#begin();
    if (this.#loses) this.seen.lost += 1;
    if (operation === 'truncate') this.#truncate();
    else if (operation === 'promote') this.#promote();
    else if (operation === 'insert' && !isThere) this.#insert(row);
    else if (operation === 'delete' && isThere) this.#delete(row, step.full);
    else if (operation === 'read' && isThere) this.#read(row);
    else if (operation === 'update' && isThere) this.#update(row, { ...step, to: row });
    else if (operation === 'move' && isThere && !this.rows.has(to)) this.#update(row, step);
  }

  #insert(row: number): void {
    const data = this.#options.keyless === true ? { a: row } : this.#written({ id: row }, ['status', ...COLUMNS]);
    this.rows.set(row, data);
    this.#met.add(row);
    this.#emit('insert', { key: this.#key(row) }, { data });
  }

  #update(row: number, step: Step): void {
    const { keyless = false, wholeMoves = false } = this.#options;
    const { to, writes } = step;
    const old = this.rows.get(row) ?? {};
    const moves = to !== row;
    const data = keyless ? { a: to } : this.#written({ ...old, id: to }, ['status', ...writes]);
    const full = keyless || step.full || (moves && wholeMoves);
    // NULL is no TOAST.
    const unavailable = full ? [] : COLUMNS.filter((column) => !writes.includes(column) && data[column] !== null);
    const met = this.#met.has(row) || unavailable.length === 0;
    this.rows.delete(row);
    this.#met.delete(row);
    this.rows.set(to, data);
    if (met) this.#met.add(to);
    if (unavailable.length > 0) this.seen.unavailable += 1;
    if (unavailable.length > 0 && moves) this.seen.unavailableInMove += 1;
    this.#emit(
      'update',
      { key: this.#key(to), ...(moves && !keyless ? { previousKey: this.#key(row) } : {}), unavailable },
      { data: without(data, unavailable), ...(full ? { previous: old } : {}) },
    );
  }

  #delete(row: number, full: boolean): void {
    const old = this.rows.get(row) ?? {};
    const unavailable = full || this.#options.keyless === true ? [] : ['status', ...COLUMNS];
    this.rows.delete(row);
    this.#met.delete(row);
    this.#emit('delete', { key: this.#key(row), unavailable }, { data: without(old, unavailable) });
  }

  #truncate(): void {
    this.rows.clear();
    this.#met.clear();
    if (!this.#loses) this.seen.truncates += 1;
    this.#emit('truncate', { key: {} }, { data: {} });
  }

  /** A standby goes on, from a position before the one that was reached. */
  #promote(): void {
    this.#timeline += 1;
    this.#lsn -= 0x40n;
    this.#ordinal = 0;
    this.seen.promotions += 1;
  }

  #read(row: number): void {
    const data = this.rows.get(row);
    if (data === undefined) return;
    this.#begin();
    if (!this.#loses) this.#met.add(row);
    this.#emit('read', { key: this.#key(row) }, { data });
  }

  #start(where: string | undefined): void {
    this.#begin();
    this.#run += 1;
    this.#met = new Set();
    this.#emit('backfill', { key: {} }, { data: { run: this.#run, table: this.#options.name, ...given(where) } });
  }

  #complete(where: string | undefined): void {
    this.#begin();
    this.seen.runs += 1;
    const data = { run: this.#run, table: this.#options.name, ...given(where), rows: this.#met.size };
    this.#emit('backfill', { key: {} }, { data });
  }

  #key(row: number): Row {
    return this.#options.keyless === true ? {} : { id: row };
  }

  /** No value is written twice, so that one from the wrong event shows. */
  #written(row: Row, columns: readonly string[]): Row {
    const values = columns.map((column) => {
      this.#values += 1;
      return [column, this.#values % 7 === 0 ? null : `${column} ${this.#values}`] as const;
    });
    return { ...row, ...Object.fromEntries(values) };
  }

  #begin(): void {
    this.#lsn += 0x10n;
    this.#ordinal = 0;
  }

  #emit(
    operation: string,
    metadata: Omit<Detail['metadata'], 'operation' | 'sequence' | 'table'>,
    rest: Omit<Detail, 'metadata'>,
  ): void {
    const transaction = { timeline: this.#timeline, commitLsn: this.#lsn as Lsn } as TransactionHeader;
    const prefix = sequencePrefix({ systemId: '1', epoch: 1 }, transaction);
    const sequence = prefix + sequenceSuffix(this.#ordinal, 0);
    this.#ordinal += 1;
    if (this.#loses) return;
    this.events.push({ metadata: { sequence, operation, table: this.#options.name, ...metadata }, ...rest });
  }
}

function given(where: string | undefined): Row {
  return where === undefined ? {} : { where };
}

function without(row: Row, columns: readonly string[]): Row {
  return Object.fromEntries(Object.entries(row).filter(([column]) => !columns.includes(column)));
}
