import type { Dispatcher } from '../bus/dispatcher.ts';
import type { Change, MessageChange, Relation, RowChange, TableChange, TransactionHeader } from '../core/change.ts';
import { BanyanError, toBanyanError } from '../core/errors.ts';
import type { Event } from '../core/event.ts';
import type { Lsn } from '../core/lsn.ts';
import type { Mapper } from '../mapping/mapper.ts';
import type { StreamItem } from '../postgres/stream-options.ts';
import type { Marks } from './backfill/marks.ts';
import type { TableWatch } from './backfill/watch.ts';
import { type ForwardDelivery, forwardDelivery, groupsOf, type Source } from './delivery.ts';
import type { Holding } from './holding.ts';
import type { Ledger, LedgerTransaction } from './ledger.ts';
import type { Parking } from './parking.ts';
import type { Route, Routes } from './routes.ts';
import { TransactionAssembler, type TransactionMarks } from './transactions.ts';

/** What the stream has shown so far; read by the status, written on every transaction. */
export interface StreamProgress {
  transactions: number;
  /** Rows, truncates and messages of captured tables and prefixes: what moves without our own doing. */
  changes: number;
  receivedLsn: Lsn | undefined;
  /** Commit time of the last transaction, microseconds since 1970-01-01 UTC, and when it arrived here. */
  lastCommitMicros: bigint | undefined;
  lastArrivalMs: number | undefined;
  /** When the server last said that it has nothing more to send, milliseconds since 1970-01-01 UTC. */
  idleAtMs: number | undefined;
}

export interface PipelineOptions {
  readonly stream: AsyncIterable<readonly StreamItem[]>;
  readonly timelineAt: (commitLsn: Lsn) => number;
  readonly routes: Routes;
  readonly ledger: Ledger;
  readonly dispatcher: Dispatcher<ForwardDelivery>;
  readonly parking: Parking;
  readonly holding: Holding;
  /** The ready-made event in a logical message; undefined where its prefix is not captured. Throws `mapping-failed`. */
  readonly mapMessage: (change: MessageChange) => Event | undefined;
  /** Before a relation is compiled: the catalog facts that its types need. */
  readonly prepareRelation: (relation: Relation) => Promise<void>;
  /** Reads cells again that the server did not send. */
  readonly reselect: (change: RowChange, columns: readonly number[]) => Promise<RowChange>;
  /** Positions in the stream that we set ourselves: they are nobody's event. */
  readonly marks: Pick<Marks, 'accept'>;
  /** Who must know of a table's changes before they go on, by OID. */
  readonly watches: ReadonlyMap<number, TableWatch>;
  readonly progress: StreamProgress;
  /** Ends the intake behind the next commit; `signal` ends it at once. */
  readonly stopping: AbortSignal;
  readonly signal: AbortSignal;
}

/** How many items are taken between two looks at the room downstream. */
const ITEMS_PER_LOOK = 128;

/**
 * The forward direction, socket to bus. Ends when the stream ends, or is to stop; rejects with the error that ended it. What is in flight then is the
 * dispatcher's, to be drained or dropped.
 */
export async function runPipeline(options: PipelineOptions): Promise<void> {
  const { stream, dispatcher, holding, stopping, signal } = options;
  const intake = new Intake(options);
  const assembler = new TransactionAssembler(intake, options.timelineAt);
  for await (const items of stream) {
    let sinceLook = 0;
    for (const item of items) {
      if (item.kind === 'relation') await options.prepareRelation(item.relation);
      assembler.accept(item);
      if (intake.pending !== undefined) await intake.settlePending();
      if (item.kind === 'commit' && stopping.aborted) return;
      if (++sinceLook === ITEMS_PER_LOOK) {
        sinceLook = 0;
        if (!dispatcher.hasRoom) await dispatcher.room(signal);
        if (!holding.hasRoom) await holding.room(signal);
      }
    }
    if (!dispatcher.hasRoom) await dispatcher.room(signal);
    if (!holding.hasRoom) await holding.room(signal);
  }
}

/** Marks of the stream to deliveries: opens each event in the ledger before the next mark is looked at. */
class Intake implements TransactionMarks {
  readonly #options: PipelineOptions;
  #transaction: LedgerTransaction | undefined;
  /** Set where a mark needs the database; the loop waits for it before the next mark. */
  pending: Promise<void> | undefined;

  constructor(options: PipelineOptions) {
    this.#options = options;
  }

  async settlePending(): Promise<void> {
    const pending = this.pending;
    this.pending = undefined;
    await pending;
  }

  begin(transaction: TransactionHeader): void {
    const { ledger, progress } = this.#options;
    this.#transaction = ledger.begin(transaction.commitLsn);
    progress.receivedLsn = transaction.commitLsn;
    progress.lastCommitMicros = transaction.committedAtMicros;
    progress.lastArrivalMs = Date.now();
  }

  commit(_transaction: TransactionHeader, endLsn: Lsn): void {
    const { ledger, progress } = this.#options;
    ledger.commit(this.#open(), endLsn);
    this.#transaction = undefined;
    progress.transactions += 1;
    progress.receivedLsn = endLsn;
  }

  idle(walEnd: Lsn): void {
    this.#options.ledger.idle(walEnd);
    this.#options.progress.receivedLsn = walEnd;
    this.#options.progress.idleAtMs = Date.now();
  }

  relation(relation: Relation): void {
    const error = this.#options.routes.update(relation);
    if (error === undefined) return;
    if (error.reaction !== 'hold') throw error;
    this.pending = this.#options.holding.hold(`${relation.schema}.${relation.name}`, error);
  }

  change(change: Change): void {
    if (change.operation === 'message') {
      this.#message(change);
      return;
    }
    const route = this.#options.routes.get(change.relation.oid);
    if (route === undefined) return;
    route.counters[change.operation] += 1;
    this.#options.progress.changes += 1;
    const { watches } = this.#options;
    const watch = watches.size > 0 ? watches.get(change.relation.oid) : undefined;
    const isHeld = this.#options.routes.heldReason(route.table) !== undefined;
    watch?.note(change, isHeld ? [] : route.mappers, () => this.#heldBack());
    if (isHeld) {
      this.#hold(change, route);
      return;
    }
    if (change.operation !== 'truncate' && wantsReselect(route.mappers, change)) {
      this.pending = this.#reselected(change, route);
      return;
    }
    for (const mapper of route.mappers) this.#deliver(change, { route, mapper });
    if (watch?.readsChanges === true && change.operation !== 'truncate') {
      this.#alsoRead(change, { route, run: watch.run });
    }
  }

  /** For a table without a key: a row that a backfill could not find again is sent as it is now, where the change itself does not say all of it. */
  #alsoRead(change: RowChange, { route, run }: { route: Route; run: number }): void {
    if (change.new === undefined) return;
    const row = change.new.map((cell, index) => (cell === undefined ? change.old?.[index] : cell));
    const read: RowChange = { ...change, operation: 'read', new: row, old: undefined, oldKind: undefined, run };
    for (const mapper of route.mappers) {
      if (mapper.takesReads && !mapper.isPlain) this.#deliver(read, { route, mapper });
    }
  }

  /** The slow path of a change with values to read again. */
  async #reselected(change: RowChange, route: Route): Promise<void> {
    for (const mapper of route.mappers) {
      const columns = mapper.unavailable(change);
      const whole = columns.length > 0 ? await this.#options.reselect(change, columns) : change;
      this.#deliver(whole, { route, mapper });
    }
  }

  #deliver(change: TableChange, { route, mapper }: { route: Route; mapper: Mapper }): void {
    const source: Source = { change, mapper, transaction: this.#open(), counters: route.counters };
    let events: readonly Event[];
    try {
      events = mapper.map(change);
    } catch (error) {
      this.#poison(source, { table: route.table, error: toBanyanError(error, `mapping a change of ${route.table}`) });
      return;
    }
    for (const event of events)
      this.#submit(event, { source, table: route.table, exclusive: change.operation === 'truncate' });
  }

  #message(change: MessageChange): void {
    if (this.#options.marks.accept(change)) return;
    const source: Source = {
      change,
      mapper: undefined,
      transaction: this.#open(),
      counters: undefined,
    };
    const table = `message:${change.prefix}`;
    let event: Event | undefined;
    try {
      event = this.#options.mapMessage(change);
    } catch (error) {
      this.#poison(source, {
        table,
        error: toBanyanError(error, `reading a logical message of prefix ${change.prefix}`),
      });
      return;
    }
    if (event !== undefined) this.#submit(event, { source, table, exclusive: false });
  }

  #submit(event: Event, place: { source: Source; table: string; exclusive: boolean }): void {
    this.#options.ledger.open(this.#open());
    this.#options.dispatcher.submit(forwardDelivery(event, place));
  }

  /** A change without an event: set aside in its key's turn, so that it neither overtakes nor is overtaken. */
  #poison(source: Source, what: { table: string; error: BanyanError }): void {
    const { ledger, dispatcher, parking } = this.#options;
    if (what.error.reaction !== 'park') throw what.error;
    const transaction = this.#open();
    ledger.open(transaction);
    const { group, previousGroup } = groupsOf(source, what.table);
    dispatcher.submitJob({
      lane: group,
      previousLane: previousGroup,
      fence: what.table,
      parks: what.error,
      run: async () => {
        await parking.parkChange({ source, table: what.table, group, previousGroup, error: what.error });
        ledger.settle(transaction);
        if (source.counters !== undefined) {
          source.counters.settled += 1;
          source.counters.parked += 1;
        }
      },
    });
  }

  /** Opens one more thing that the transaction waits for; returns what settles it. */
  #heldBack(): () => void {
    const { ledger } = this.#options;
    const transaction = this.#open();
    ledger.open(transaction);
    return () => ledger.settle(transaction);
  }

  #hold(change: TableChange, route: Route): void {
    const { ledger, holding } = this.#options;
    const transaction = this.#open();
    ledger.open(transaction);
    holding.add(change, {
      table: route.table,
      settled: () => {
        ledger.settle(transaction);
        route.counters.settled += 1;
        route.counters.parked += 1;
      },
    });
  }

  #open(): LedgerTransaction {
    if (this.#transaction === undefined)
      throw new BanyanError('unknown', 'the stream sent a change outside of a transaction');
    return this.#transaction;
  }
}

function wantsReselect(mappers: readonly Mapper[], change: RowChange): boolean {
  for (const mapper of mappers) if (mapper.unavailable(change).length > 0) return true;
  return false;
}
