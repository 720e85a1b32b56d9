import { setImmediate as turn } from 'node:timers/promises';
import type { Dispatcher } from '../../bus/dispatcher.ts';
import type { RowChange } from '../../core/change.ts';
import { type BanyanError, toBanyanError } from '../../core/errors.ts';
import { type ForwardDelivery, forwardDelivery, groupsOf, type Source } from '../delivery.ts';
import type { Mapper } from '../../mapping/mapper.ts';
import type { Parking } from '../parking.ts';
import type { RouteCounters } from '../routes.ts';
import { ChunkAccount } from './account.ts';
import type { ReadyChunk } from './chunks.ts';

/** Rows between two turns of the event loop: a live change waits no longer than it takes to map these. */
const ROWS_PER_TURN = 100;

export interface FeedOptions {
  readonly dispatcher: Dispatcher<ForwardDelivery>;
  readonly parking: Parking;
  readonly counters: RouteCounters;
  readonly table: string;
  readonly run: number;
  readonly signal: AbortSignal;
}

/**
 * Hands a chunk's rows on, a few at a time and only while little is on its way: what the stream brings meanwhile is never behind more than that. Resolves
 * when every event is accepted by the bus or durably parked; the number of rows.
 */
export async function feed(ready: ReadyChunk, options: FeedOptions): Promise<number> {
  const { dispatcher, counters, signal } = options;
  const { window } = ready;
  const account = new ChunkAccount();
  let ordinal = 0;
  for (let places = window.take(ROWS_PER_TURN); places.length > 0; places = window.take(ROWS_PER_TURN)) {
    deliver(places, { ready, account, ordinal, options });
    counters.read += places.length;
    ordinal += places.length;
    await turn();
    if (!dispatcher.isQuiet) await dispatcher.quiet(signal);
    signal.throwIfAborted();
  }
  await account.settled(signal);
  return ordinal;
}

interface Batch {
  readonly ready: ReadyChunk;
  readonly account: ChunkAccount;
  /** Of the first row. */
  readonly ordinal: number;
  readonly options: FeedOptions;
}

/** What the rows of a batch are mapped by. */
interface Target extends Batch {
  readonly mapper: Mapper;
}

/** Row by row: the events of one that several entries take stay together, and keys that several rows have stay in the order of their sequences. */
function deliver(places: readonly number[], batch: Batch): void {
  const { ready, account, ordinal, options } = batch;
  const { table, run, dispatcher } = options;
  const targets = ready.shape.mappers
    .filter((mapper) => mapper.takesReads)
    .map((mapper) => ({
      to: { ...batch, mapper },
      events: mapper.reads?.write(ready.chunk.rows, { places, ordinal, mark: ready.low, run }),
    }));
  for (let number = 0; number < places.length; number += 1) {
    for (const { to, events } of targets) {
      const source = new ReadSource(to, places[number] as number, ordinal + number);
      const event = events?.[number];
      if (event === undefined) {
        deliverMapped(source, to);
        continue;
      }
      account.open();
      dispatcher.submit(forwardDelivery(event, { source, table, exclusive: false }));
    }
  }
}

function deliverMapped(source: ReadSource, { mapper, account, options }: Target): void {
  const { dispatcher, table } = options;
  try {
    for (const event of mapper.map(source.change)) {
      account.open();
      dispatcher.submit(forwardDelivery(event, { source, table, exclusive: false }));
    }
  } catch (error) {
    park(source, { error: toBanyanError(error, `mapping a row of ${table}`), options });
  }
}

/** A row of a chunk. Its change is made when it is asked for: most rows are sent without. */
class ReadSource implements Source {
  readonly #to: Target;
  readonly #place: number;
  readonly #ordinal: number;

  constructor(to: Target, place: number, ordinal: number) {
    this.#to = to;
    this.#place = place;
    this.#ordinal = ordinal;
  }

  get change(): RowChange {
    const { ready, options } = this.#to;
    return {
      operation: 'read',
      transaction: ready.low,
      ordinal: this.#ordinal,
      relation: ready.shape.relation,
      new: ready.chunk.rows.at(this.#place),
      old: undefined,
      oldKind: undefined,
      run: options.run,
    };
  }

  get mapper(): Mapper {
    return this.#to.mapper;
  }

  /** Reads are in no transaction of the stream. */
  get transaction(): undefined {
    return undefined;
  }

  get chunk(): ChunkAccount {
    return this.#to.account;
  }

  get counters(): RouteCounters {
    return this.#to.options.counters;
  }
}

/** A row that can be no event: set aside in its key's turn, as one of the stream would be. */
function park(source: Source, what: { error: BanyanError; options: FeedOptions }): void {
  const { dispatcher, parking, table, counters } = what.options;
  if (what.error.reaction !== 'park') throw what.error;
  source.chunk?.open();
  const { group, previousGroup } = groupsOf(source, table);
  dispatcher.submitJob({
    lane: group,
    fence: table,
    parks: what.error,
    run: async () => {
      await parking.parkChange({ source, table, group, previousGroup, error: what.error });
      source.chunk?.settle();
      counters.settled += 1;
      counters.parked += 1;
    },
  });
}
