import { setImmediate as turn } from 'node:timers/promises';
import type { Dispatcher } from '../../bus/dispatcher.ts';
import type { RowChange, Tuple } from '../../core/change.ts';
import { type BanyanError, toBanyanError } from '../../core/errors.ts';
import { type ForwardDelivery, forwardDelivery, groupsOf, type Source } from '../delivery.ts';
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
  for (let row = window.take(); row !== undefined; row = window.take()) {
    deliver(readOf(row, { ready, ordinal, run: options.run }), { ready, account, options });
    counters.read += 1;
    ordinal += 1;
    if (ordinal % ROWS_PER_TURN !== 0) continue;
    await turn();
    if (!dispatcher.isQuiet) await dispatcher.quiet(signal);
    signal.throwIfAborted();
  }
  await account.settled(signal);
  return ordinal;
}

function readOf(row: Tuple, place: { ready: ReadyChunk; ordinal: number; run: number }): RowChange {
  return {
    operation: 'read',
    transaction: place.ready.low,
    ordinal: place.ordinal,
    relation: place.ready.shape.relation,
    new: row,
    old: undefined,
    oldKind: undefined,
    run: place.run,
  };
}

function deliver(change: RowChange, to: { ready: ReadyChunk; account: ChunkAccount; options: FeedOptions }): void {
  const { ready, account, options } = to;
  const { dispatcher, table, counters } = options;
  for (const mapper of ready.shape.mappers) {
    if (!mapper.takesReads) continue;
    const source: Source = { change, mapper, transaction: undefined, chunk: account, counters };
    try {
      for (const event of mapper.map(change)) {
        account.open();
        dispatcher.submit(forwardDelivery(event, { source, table, exclusive: false }));
      }
    } catch (error) {
      park(source, { error: toBanyanError(error, `mapping a row of ${table}`), options });
    }
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
