import type pg from 'pg';
import type { Logger } from 'pino';
import type { Dispatcher } from '../bus/dispatcher.ts';
import type { Publisher } from '../bus/publisher.ts';
import { type Config, slotName } from '../config/schema.ts';
import type { Relation } from '../core/change.ts';
import { BanyanError, toBanyanError } from '../core/errors.ts';
import type { Finding } from '../core/finding.ts';
import type { BackfillProgress, LetterCounts } from '../core/status.ts';
import { sleep } from '../flow/supervise.ts';
import { within } from '../flow/within.ts';
import type { ReplicationStream } from '../postgres/replication-stream.ts';
import { identifyServer, type Server } from '../postgres/server.ts';
import { type ObservedSlot, observeSlot } from '../postgres/slot.ts';
import type { WorkerRequest } from '../state/requests.ts';
import type { State } from '../state/state.ts';
import type { Marks } from './marks.ts';
import type { TableWatch } from './backfill/watch.ts';
import type { Companion } from './companion.ts';
import type { ForwardDelivery } from './delivery.ts';
import { Heartbeat } from './heartbeat.ts';
import type { Holding } from './holding.ts';
import type { LagMeter } from './lag.ts';
import type { Ledger } from './ledger.ts';
import type { LoopGuard } from './loop-guard.ts';
import type { MapperFactory } from './mappers.ts';
import type { Parking } from './parking.ts';
import type { StreamProgress } from './pipeline.ts';
import { inspectCapture, type PrepareOptions } from './prepare.ts';
import type { RequestBell } from './request-bell.ts';
import { serveRequest } from './requests.ts';
import type { Routes } from './routes.ts';
import { StageUpkeep } from './stage-upkeep.ts';
import type { Shape } from './table-shape.ts';
import type { Traffic } from './traffic.ts';

/** A session that streams, as upkeep, requests and status see it. */
export interface LiveSession {
  readonly config: Config;
  readonly pool: pg.Pool;
  readonly state: State;
  readonly server: Server;
  readonly ledger: Ledger;
  readonly routes: Routes;
  readonly parking: Parking;
  readonly holding: Holding;
  readonly dispatcher: Dispatcher<ForwardDelivery>;
  readonly factory: MapperFactory;
  readonly stream: ReplicationStream;
  readonly progress: StreamProgress;
  readonly marks: Marks;
  /** Tables that are being backfilled, by OID. */
  readonly watches: Map<number, TableWatch>;
  /** Our own writes in the stream: reverse sync begins with its `selfTest`. */
  readonly ownWrites: LoopGuard;
  /** Counts what was committed. */
  readonly traffic: Traffic;
  /** How far the stream is behind. */
  readonly lag: LagMeter;
  /** Forms of tables that are compiled already, as the catalog has them, by OID. */
  readonly shapes: Map<number, Shape>;
  /** The catalog facts that a relation's types need. */
  readonly prepareRelation: (relation: Relation) => Promise<void>;
  /** Rings when there is a request, and when one was served. */
  readonly requestBell: RequestBell;
  readonly findings: readonly Finding[];
  /** What else this session does. */
  readonly companions: readonly Companion[];
  /** Ends the session with this error. */
  readonly halt: (error: BanyanError) => void;
  /** As the server showed it last, and when. */
  slot: { readonly observed: ObservedSlot; readonly observedAt: string } | undefined;
  /** The last run of each table, as it was looked at last. */
  backfills: readonly BackfillProgress[];
  /** What `dead_letter` holds, as it was looked at last. */
  deadLetters: LetterCounts;
}

export interface UpkeepIntervals {
  /** Slot facts for the status, and the position that state remembers. */
  readonly observeMs: number;
  /** Comparison of slot, publication and tables with what state remembers. */
  readonly inspectMs: number;
  /** Commands that wait for the worker. */
  readonly requestsMs: number;
}

export const UPKEEP: UpkeepIntervals = { observeMs: 5_000, inspectMs: 60_000, requestsMs: 1_000 };

/** Between two looks for requests while they ring. */
const QUIET_LOOK_MS = 15_000;

/** Between two looks whether a table goes to its next stage. */
const STAGES_MS = 1_000;

/** One look at dead letters of so many, while nothing moves. */
const QUIET_LOOKS = 6;

/** How long tasks may take to end once one of them has ended the session. */
const TASKS_END_MS = 2_000;

export interface UpkeepOptions {
  readonly preparing: PrepareOptions;
  readonly publisher: Pick<Publisher, 'probe'>;
  readonly intervals: UpkeepIntervals;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** What is done beside the stream while it runs. Resolves when `signal` aborts; rejects with what must end the session. */
export async function runUpkeep(session: LiveSession, options: UpkeepOptions): Promise<void> {
  const { preparing, publisher, intervals, signal, log } = options;
  const { config } = session;
  const heartbeat = new Heartbeat(session);
  const stages = new StageUpkeep(session, log);
  const failed = new AbortController();
  const lost = Promise.withResolvers<never>();
  const ends = AbortSignal.any([signal, failed.signal]);
  const requests = requestLoop(session, intervals, (request) => serveRequest(request, { session, signal: ends, log }));
  const tasks = [
    every(intervals.observeMs, observer(session), { signal: ends, log }),
    every(intervals.inspectMs, () => inspect(session, { preparing, lost: lost.reject }), { signal: ends, log }),
    every(intervals.inspectMs, () => lookAtBus(session, { publisher, signal: ends }), { signal: ends, log }),
    every(config.legacy.heartbeat, () => heartbeat.beat(ends), { signal: ends, log }),
    every(Math.min(intervals.observeMs, STAGES_MS), () => stages.look(), { signal: ends, log }),
    session.requestBell.listen(ends),
    every(requests.wait, requests.look, { signal: ends, log }),
  ];
  try {
    await Promise.race([Promise.all(tasks), lost.promise]);
  } finally {
    failed.abort();
    // None of them may keep what was found from being reported: a query on a dead connection might never answer.
    await within(TASKS_END_MS, Promise.allSettled(tasks));
  }
}

/** Runs the task now and then. What passes by itself is tried again the next time: the stream notices a lost server on its own. */
async function every(
  interval: number | ((signal: AbortSignal) => Promise<unknown>),
  task: () => Promise<unknown>,
  { signal, log }: { signal: AbortSignal; log: Logger },
): Promise<void> {
  for (;;) {
    try {
      await task();
    } catch (error) {
      if (signal.aborted) return;
      const failure = toBanyanError(error, 'upkeep');
      if (failure.reaction !== 'retry') throw failure;
      log.info({ kind: failure.kind, code: failure.code }, failure.message);
    }
    try {
      await (typeof interval === 'number' ? sleep(interval, signal) : interval(signal));
    } catch {
      return;
    }
  }
}

/** Looks for requests when one rings, or every second where nobody could hear that. */
function requestLoop(
  { state, requestBell }: LiveSession,
  { requestsMs }: UpkeepIntervals,
  serve: (request: WorkerRequest) => Promise<void>,
): { readonly look: () => Promise<void>; readonly wait: (signal: AbortSignal) => Promise<void> } {
  const listener = requestBell.bell.listener();
  let hasRung = true;
  return {
    look: async () => {
      for (
        let request = await state.requests.claimNext();
        request !== undefined;
        request = await state.requests.claimNext()
      ) {
        if (!hasRung && !listener.hears()) requestBell.missed();
        await serve(request);
        // Others look after what it changed.
        requestBell.bell.ring();
      }
    },
    wait: async (signal) => {
      hasRung = await listener.waits(requestBell.isHeard ? QUIET_LOOK_MS : requestsMs, signal);
    },
  };
}

function observer(session: LiveSession): () => Promise<void> {
  const { config, pool, state, ledger, progress } = session;
  const requests = session.requestBell.bell.listener();
  let remembered = progress.changes;
  let quiet = 0;
  return async () => {
    const observed = await observeSlot(pool, slotName(config));
    if (observed !== undefined) session.slot = { observed, observedAt: new Date().toISOString() };
    const { queued, inFlight } = session.dispatcher.status;
    const moved = progress.changes !== remembered || queued + inFlight > 0 || requests.hears();
    // Nobody else sets letters aside, or takes them out again.
    if (moved || ++quiet % QUIET_LOOKS === 0) session.deadLetters = await lettersOf(state);
    // Only user data is worth a write of ours, or an idle database would be kept moving by the book-keeping of its own idleness.
    if (progress.changes === remembered) return;
    remembered = progress.changes;
    await state.slots.advance(ledger.watermark);
  };
}

/** What `dead_letter` holds now. */
export async function lettersOf({ deadLetters }: State): Promise<LetterCounts> {
  const observedAt = new Date().toISOString();
  return { ...(await deadLetters.counts()), observedAt };
}

/** `lost`: the stream belongs to a server that is no longer what it was; a new session must ask again. */
async function inspect(
  session: LiveSession,
  { preparing, lost }: { preparing: PrepareOptions; lost: (error: BanyanError) => void },
): Promise<void> {
  const server = await identifyServer(preparing.connection, preparing.signal);
  if (server.timeline !== session.server.timeline || server.systemId !== session.server.systemId) {
    lost(new BanyanError('database-unavailable', 'the server is on another timeline than when the stream began'));
    return;
  }
  await inspectCapture(preparing, server);
}

/** EventBridge takes events for a bus that is gone and drops them: that it is there is asked for beside the stream. */
async function lookAtBus(
  { dispatcher }: LiveSession,
  { publisher, signal }: { publisher: Pick<Publisher, 'probe'>; signal: AbortSignal },
): Promise<void> {
  if (dispatcher.status.state !== 'sending') return;
  try {
    await publisher.probe(signal);
  } catch (error) {
    if (signal.aborted) return;
    const failure = toBanyanError(error, 'probing the bus');
    if (failure.reaction !== 'wait') throw failure;
    dispatcher.suspend(failure);
  }
}
