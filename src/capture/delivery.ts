import type { Delivery } from '../bus/dispatcher.ts';
import type { Change } from '../core/change.ts';
import type { Event } from '../core/event.ts';
import type { Mapper } from '../mapping/mapper.ts';
import type { ChunkAccount } from './backfill/account.ts';
import type { LedgerTransaction } from './ledger.ts';
import type { RouteCounters } from './routes.ts';

/** Where an event of the stream came from: what parking needs to store, and settling to count. */
export interface Source {
  readonly change: Change;
  /** undefined for logical messages, which are ready-made events. */
  readonly mapper: Mapper | undefined;
  /** undefined where it comes out of `dead_letter`: then the stream is past it. */
  readonly transaction: LedgerTransaction | undefined;
  /** The chunk of a backfill that a read belongs to. */
  readonly chunk?: ChunkAccount | undefined;
  readonly counters: RouteCounters | undefined;
}

/** One event on its way to the bus. */
export interface ForwardDelivery extends Delivery {
  readonly event: Event;
  readonly source: Source;
}

export function forwardDelivery(
  event: Event,
  place: { source: Source; table: string; exclusive: boolean },
): ForwardDelivery {
  return {
    event,
    source: place.source,
    lane: event.group,
    previousLane: event.previousGroup,
    fence: place.table,
    exclusive: place.exclusive,
    blockers: 0,
    nextInLane: undefined,
    nextInPreviousLane: undefined,
    section: undefined,
  };
}

/** What a change without an event holds up while it is set aside. */
export function groupsOf(source: Source, table: string): { group: string; previousGroup: string | undefined } {
  const { change, mapper } = source;
  if (mapper === undefined || change.operation === 'message' || change.operation === 'truncate') {
    return { group: table, previousGroup: undefined };
  }
  const { group, previousGroup } = mapper.groups(change);
  return { group: group ?? table, previousGroup };
}
