import type { Delivery } from '../bus/dispatcher.ts';
import type { Change } from '../core/change.ts';
import type { Event } from '../core/event.ts';
import { laneLinks } from '../flow/lanes.ts';
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

/** As the hot paths make it; no literal, for the reason that `young-arrays.ts` has. */
export class RowSource implements Source {
  readonly change: Change;
  readonly mapper: Mapper | undefined;
  readonly transaction: LedgerTransaction | undefined;
  readonly chunk: ChunkAccount | undefined;
  readonly counters: RouteCounters | undefined;

  constructor(source: Source) {
    this.change = source.change;
    this.mapper = source.mapper;
    this.transaction = source.transaction;
    this.chunk = source.chunk;
    this.counters = source.counters;
  }
}

/** One event on its way to the bus. No literal, for the reason that `young-arrays.ts` has. */
export class ForwardDelivery implements Delivery {
  readonly event: Event;
  readonly source: Source;
  readonly lane: string | undefined;
  readonly previousLane: string | undefined;
  readonly fence: string;
  readonly exclusive: boolean;
  blockers: number = laneLinks.blockers;
  nextInLane: Delivery['nextInLane'] = laneLinks.nextInLane;
  nextInPreviousLane: Delivery['nextInPreviousLane'] = laneLinks.nextInPreviousLane;
  section: Delivery['section'] = laneLinks.section;

  constructor(event: Event, place: { source: Source; table: string; exclusive: boolean }) {
    this.event = event;
    this.source = place.source;
    this.lane = event.group;
    this.previousLane = event.previousGroup;
    this.fence = place.table;
    this.exclusive = place.exclusive;
  }
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
