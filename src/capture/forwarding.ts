import type { MessageChange, RowChange, TableChange } from '../core/change.ts';
import { BanyanError, toBanyanError } from '../core/errors.ts';
import type { Event } from '../core/event.ts';
import type { Mapper } from '../mapping/mapper.ts';
import type { StageMessage } from '../postgres/apply-tag.ts';
import type { TableWatch } from './backfill/watch.ts';
import { forwardDelivery, groupsOf, type Source } from './delivery.ts';
import type { LedgerTransaction } from './ledger.ts';
import type { PipelineOptions } from './pipeline.ts';
import type { Route } from './routes.ts';

/** From a change to its deliveries, each opened in the ledger before it is handed on. */
export class Forwarding {
  readonly #options: PipelineOptions;
  /** The one that is being received. */
  transaction: LedgerTransaction | undefined;

  constructor(options: PipelineOptions) {
    this.#options = options;
  }

  /** Returns what has to end before the next change may be taken, where it needs the database. */
  take(change: TableChange): Promise<void> | undefined {
    const route = this.#options.routes.get(change.relation.oid);
    if (route === undefined) return undefined;
    const watch = this.#received(change, route, false);
    if (this.#isHeld(route)) {
      this.#hold(change, route);
      return undefined;
    }
    if (change.operation !== 'truncate' && wantsReselect(route.mappers, change)) return this.#reselected(change, route);
    for (const mapper of route.mappers) this.#deliver(change, { route, mapper });
    if (watch?.readsChanges === true && change.operation !== 'truncate') {
      this.#alsoRead(change, { route, run: watch.run, isSilent: false });
    }
    return undefined;
  }

  /** A change that is not published: for a backfill, its row is still to be read. */
  pass(change: TableChange): void {
    const route = this.#options.routes.get(change.relation.oid);
    if (route === undefined) return;
    const watch = this.#received(change, route, true);
    if (watch?.readsChanges === true && change.operation !== 'truncate' && !this.#isHeld(route)) {
      this.#alsoRead(change, { route, run: watch.run, isSilent: true });
    }
  }

  /** A row that is published as it is, without a change in the stream. */
  tell(change: RowChange, route: Route): void {
    if (this.#isHeld(route)) this.#hold(change, route);
    else for (const mapper of route.mappers) this.#deliver(change, { route, mapper });
  }

  /** A logical message that is nobody's of ours. */
  message(change: MessageChange): void {
    const source: Source = { change, mapper: undefined, transaction: this.current(), counters: undefined };
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

  /** A table was moved. Like a truncate's, its event waits for everything of the table before it, and holds what comes behind. */
  stage(message: StageMessage, change: MessageChange): void {
    const source: Source = { change, mapper: undefined, transaction: this.current(), counters: undefined };
    const event = this.#options.stageEvent(message, change);
    this.#submit(event, { source, table: message.table, exclusive: true });
  }

  /** Opens one more thing that the transaction waits for; returns what settles it. */
  heldBack(): () => void {
    const { ledger } = this.#options;
    const transaction = this.current();
    ledger.open(transaction);
    return () => ledger.settle(transaction);
  }

  current(): LedgerTransaction {
    if (this.transaction === undefined)
      throw new BanyanError('unknown', 'the stream sent a change outside of a transaction');
    return this.transaction;
  }

  /** Counts the change, and tells the backfill of its table. */
  #received(change: TableChange, route: Route, isSilent: boolean): TableWatch | undefined {
    const { guard, progress, watches } = this.#options;
    route.counters[change.operation] += 1;
    progress.changes += 1;
    // What is not published is our own, or counted otherwise.
    if (guard.keys.size > 0 && !isSilent) guard.note(change, () => this.heldBack());
    const watch = watches.size > 0 ? watches.get(change.relation.oid) : undefined;
    watch?.note(change, this.#isHeld(route) ? [] : route.mappers, () => this.heldBack(), isSilent);
    return watch;
  }

  #isHeld(route: Route): boolean {
    return this.#options.routes.heldReason(route.table) !== undefined;
  }

  /**
   * For a table without a key: a row that a backfill could not find again is sent as it is now, where the change itself does not say all of it.
   */
  #alsoRead(change: RowChange, { route, run, isSilent }: { route: Route; run: number; isSilent: boolean }): void {
    if (change.new === undefined) return;
    const row = change.new.map((cell, index) => (cell === undefined ? change.old?.[index] : cell));
    const read: RowChange = {
      ...change,
      operation: 'read',
      new: row,
      old: undefined,
      oldKind: undefined,
      run,
      origin: undefined,
    };
    for (const mapper of route.mappers) {
      if (mapper.takesReads && (isSilent || !mapper.isPlain)) this.#deliver(read, { route, mapper });
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
    const source: Source = { change, mapper, transaction: this.current(), counters: route.counters };
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

  #submit(event: Event, place: { source: Source; table: string; exclusive: boolean }): void {
    this.#options.ledger.open(this.current());
    this.#options.dispatcher.submit(forwardDelivery(event, place));
  }

  /** A change without an event: set aside in its key's turn, so that it neither overtakes nor is overtaken. */
  #poison(source: Source, what: { table: string; error: BanyanError }): void {
    const { ledger, dispatcher, parking } = this.#options;
    if (what.error.reaction !== 'park') throw what.error;
    const transaction = this.current();
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

  #hold(change: TableChange, route: Route): void {
    const { ledger, holding } = this.#options;
    const transaction = this.current();
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
}

function wantsReselect(mappers: readonly Mapper[], change: RowChange): boolean {
  for (const mapper of mappers) if (mapper.unavailable(change).length > 0) return true;
  return false;
}
