import type { Dispatcher } from '../bus/dispatcher.ts';
import type { MessageChange, Relation, RowChange } from '../core/change.ts';
import type { Event } from '../core/event.ts';
import { type Lsn, ZERO_LSN } from '../core/lsn.ts';
import { untilAborted } from '../flow/within.ts';
import type { StageMessage } from '../postgres/apply-tag.ts';
import type { StreamItem } from '../postgres/stream-options.ts';
import type { Marks } from './marks.ts';
import type { TableWatch } from './backfill/watch.ts';
import type { ForwardDelivery } from './delivery.ts';
import type { Holding } from './holding.ts';
import { Intake } from './intake.ts';
import type { Ledger } from './ledger.ts';
import type { LoopGuard } from './loop-guard.ts';
import type { Parking } from './parking.ts';
import type { Route, Routes } from './routes.ts';
import type { Traffic } from './traffic.ts';
import { TransactionAssembler } from './transactions.ts';
import type { WritersSeen } from './writers-seen.ts';

/** What the stream has shown so far; read by the status, written on every transaction. */
export interface StreamProgress {
  transactions: number;
  /** Rows, truncates and messages of captured tables and prefixes: what moves without our own doing. */
  changes: number;
  receivedLsn: Lsn | undefined;
  /** Commit time of the last transaction, microseconds since 1970-01-01 UTC, and when it arrived here. */
  lastCommitMicros: bigint | undefined;
  lastArrivalMs: number | undefined;
}

/** Before anything was received. */
export function noProgress(): StreamProgress {
  return {
    transactions: 0,
    changes: 0,
    receivedLsn: ZERO_LSN,
    lastCommitMicros: undefined,
    lastArrivalMs: undefined,
  };
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
  /** What is published of a table that was moved. */
  readonly stageEvent: (message: StageMessage, change: MessageChange) => Event;
  /** Before a relation is compiled: the catalog facts that its types need. */
  readonly prepareRelation: (relation: Relation) => Promise<void>;
  /** Reads cells again that the server did not send. */
  readonly reselect: (change: RowChange, columns: readonly number[]) => Promise<RowChange>;
  /** Positions in the stream that we set ourselves: they are nobody's event. */
  readonly marks: Pick<Marks, 'accept'>;
  /** Who must know of a table's changes before they go on, by OID. */
  readonly watches: ReadonlyMap<number, TableWatch>;
  /** Counts what was committed. */
  readonly traffic: Pick<Traffic, 'begin' | 'commit' | 'committed' | 'hasRoom' | 'flush'>;
  readonly writers: Pick<WritersSeen, 'prefix' | 'note'>;
  /** Tells our own writes from others. */
  readonly guard: LoopGuard;
  /** Where a row goes whose table the stream has not shown yet; undefined: it is not captured. */
  readonly catalogRoute: (oid: number) => Promise<Route | undefined>;
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
  const { stream, stopping } = options;
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
        if (isFull(options)) await room(options);
      }
    }
    if (isFull(options)) await room(options);
  }
}

function isFull({ dispatcher, holding, guard, traffic }: PipelineOptions): boolean {
  return !dispatcher.hasRoom || !holding.hasRoom || !guard.observations.hasRoom || !traffic.hasRoom;
}

/** Resolves when whoever takes what the stream brings can take more. */
async function room({ dispatcher, holding, guard, traffic, signal }: PipelineOptions): Promise<void> {
  if (!dispatcher.hasRoom) await dispatcher.room(signal);
  if (!holding.hasRoom) await holding.room(signal);
  // A state database that is away must not keep the session from its end. Nor is anything asked for that nobody would wait for.
  signal.throwIfAborted();
  if (!guard.observations.hasRoom) await untilAborted(guard.observations.flush(), signal);
  if (!traffic.hasRoom) await untilAborted(traffic.flush(), signal);
}
