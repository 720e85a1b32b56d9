import type pg from 'pg';
import type { Logger } from 'pino';
import { Dispatcher } from '../bus/dispatcher.ts';
import type { Publisher } from '../bus/publisher.ts';
import { type Config, publicationName, slotName } from '../config/schema.ts';
import { BanyanError, toBanyanError } from '../core/errors.ts';
import { within } from '../flow/within.ts';
import type { ConnectionSettings } from '../postgres/connection.ts';
import { openReplicationStream } from '../postgres/replication-stream.ts';
import { timelineAt } from '../postgres/timeline.ts';
import { openState } from '../state/state.ts';
import { Marks } from './marks.ts';
import { openWatches } from './backfill/run.ts';
import { runBackfills } from './backfill/runner.ts';
import type { Companion } from './companion.ts';
import type { ForwardDelivery } from './delivery.ts';
import { drained, stopped } from './drained.ts';
import { Holding } from './holding.ts';
import { openLagMeter } from './lag.ts';
import { Ledger } from './ledger.ts';
import { openLoopGuard } from './loop-guard.ts';
import { MapperFactory, type MappingFiles } from './mappers.ts';
import { mappingFindings, refuseBrokenMapping } from './mapping-findings.ts';
import { Parking } from './parking.ts';
import { runPipeline, type StreamProgress } from './pipeline.ts';
import { prepareCapture, type PrepareOptions, type Prepared } from './prepare.ts';
import { RequestBell } from './request-bell.ts';
import { reselect } from './reselect.ts';
import { Routes } from './routes.ts';
import { StreamTypes } from './stream-types.ts';
import { catalogRoute } from './table-shape.ts';
import { countedPosition, Traffic } from './traffic.ts';
import { lettersOf, type LiveSession, runUpkeep, type UpkeepIntervals } from './upkeep.ts';
import { openWriters } from './writers-seen.ts';

export interface SessionOptions {
  readonly config: Config;
  readonly connection: ConnectionSettings;
  readonly pool: pg.Pool;
  /** The pool of `state.url`; the same one by default. */
  readonly statePool: pg.Pool;
  /** For chunks, so that nobody else waits for one. */
  readonly backfillPool: pg.Pool;
  readonly files: MappingFiles;
  readonly publisher: Publisher;
  /** Counters that outlive a session. */
  readonly progress: StreamProgress;
  /** Called when streaming has begun. */
  readonly onStreaming: (session: LiveSession) => void;
  /** What is done beside capture while this session streams. */
  readonly companions: readonly Companion[];
  readonly intervals: UpkeepIntervals;
  /** Graceful stop: no more intake, what is in flight is settled and confirmed. */
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/**
 * Deliveries on their way, and messages before them: enough for every call to be full several times over. No more than that: rows that wait
 * outlive V8's young generation, and copying them costs more than decoding them did (measured: half of all CPU time at 8,192).
 */
const HIGH_WATER = { items: 1_000, bytes: 16_000_000 };
const STREAM_HIGH_ITEMS = 1_024;
/** How long a session waits for the end of what is done beside the stream. */
const UPKEEP_END_MS = 2_000;
/** How long a stop waits for the end of the transaction that is being received: less than any orchestrator's patience. */
const FINISH_TRANSACTION_MS = 5_000;
/** How long what is in flight may take after the connection was lost; then it is sent again with the same ids. */
const DRAIN_AFTER_FAILURE_MS = 5_000;

/**
 * One connection's life, from the comparison with what state remembers to the last status update. Resolves when `signal` stopped it and
 * everything is settled or the shutdown deadline has passed; rejects with the BanyanError that ended it.
 */
export async function runSession(options: SessionOptions): Promise<void> {
  const { config, connection, pool, progress, publisher, signal, log } = options;
  // Before a slot is made that nobody could empty. A bus that is not there takes events as well, and drops them.
  await publisher.probe(signal);
  const state = await openState({ pool: options.statePool, connector: config.name, schema: config.state.schema });
  const types = await StreamTypes.load(pool);
  const factoryOf = ({ server, identity, resolved }: Prepared) =>
    new MapperFactory({
      config,
      files: options.files,
      identity,
      entries: resolved.entries,
      versionNumber: server.versionNumber,
      types: () => types.catalog,
    });
  const preparing: PrepareOptions = {
    config,
    connection,
    pool,
    state,
    checkMapping: async (prospect) => refuseBrokenMapping(factoryOf(prospect)),
    signal,
    log,
  };
  const prepared = await prepareCapture(preparing);
  const { server, identity } = prepared;
  const factory = factoryOf(prepared);

  await using parts = new AsyncDisposableStack();
  const intake = new AbortController();
  const halt = (error: BanyanError): void => intake.abort(error);

  const ended = new AbortController();
  parts.defer(() => ended.abort());
  const ledger = new Ledger();
  // What is sent of half a transaction is sent again from its first row: one that is being received is taken to its end, if that is near.
  let patience: NodeJS.Timeout | undefined;
  let stopBy = 0;
  const endNow = (): void => intake.abort(signal.reason);
  const stop = (): void => {
    stopBy = performance.now() + config.shutdownTimeout;
    const near = ledger.receiving && dispatcher.status.state === 'sending';
    if (near) patience = setTimeout(endNow, Math.min(FINISH_TRANSACTION_MS, config.shutdownTimeout / 2));
    else endNow();
  };
  signal.addEventListener('abort', stop, { once: true });
  parts.defer(() => {
    signal.removeEventListener('abort', stop);
    clearTimeout(patience);
  });
  signal.throwIfAborted();
  const held = new Map((await state.held.list()).map(({ table, problem }) => [table, problem]));
  const routes = new Routes((relation) => factory.compile(relation), held);
  for (const { table } of factory.captured) routes.announce(`${table.schema}.${table.name}`);
  const parking = new Parking({
    store: state.deadLetters,
    identity,
    groups: await state.deadLetters.parkedGroups(),
    log,
  });
  const holding = new Holding({
    state,
    routes,
    identity,
    serialize: (change) => factory.serialize(change),
    limitOf: (table) => factory.holdLimitOf(table),
    onHalt: halt,
    signal: ended.signal,
    log,
  });
  for (const { table, rows, bytes } of await state.deadLetters.heldTables()) holding.account(table, { rows, bytes });

  const stream = await openReplicationStream({
    connection,
    slot: slotName(config),
    publication: publicationName(config),
    watermark: () => ledger.watermark,
    highItems: STREAM_HIGH_ITEMS,
    signal: intake.signal,
    log,
  }).catch((error: unknown) => {
    throw withoutGap(error);
  });
  parts.defer(() => stream.close());

  const dispatcher = new Dispatcher<ForwardDelivery>({
    publisher,
    concurrency: config.bus.concurrency,
    lingerMs: config.bus.linger,
    maxEntries: config.bus.maxEntries,
    maxRequestBytes: config.bus.maxRequest,
    isParked: (group) => parking.isParked(group),
    park: (items) => parking.parkDeliveries(items),
    onSettled: (deliveries, how) => {
      for (const { source } of deliveries) {
        if (source.transaction !== undefined) ledger.settle(source.transaction);
        source.chunk?.settle();
        if (source.counters === undefined) continue;
        source.counters.settled += 1;
        if (how === 'parked') source.counters.parked += 1;
      }
      traffic.accepted();
      stream.acknowledge();
    },
    highWater: HIGH_WATER,
    maxParkedPerMinute: config.bus.maxParkedPerMinute,
    onHalt: halt,
    log,
  });
  parts.defer(() => dispatcher.stop());

  const marks = new Marks(config.name);
  const findings = [...prepared.resolved.findings, ...mappingFindings(factory)];
  const ownWrites = await openLoopGuard({
    config,
    state,
    identity,
    pool,
    marks,
    progress,
    findings,
    log,
    onWritten: () => stream.acknowledge(),
    onHalt: halt,
    signal: ended.signal,
  });
  const lag = openLagMeter(config, progress);
  const writers = openWriters(config.name, { routes, captured: factory.captured });
  const traffic = new Traffic({
    store: state.traffic,
    counted: await countedPosition(state, { epoch: identity.epoch, timelines: server.timelines }),
    ledger,
    counters: () => routes.counters(),
    changes: () => progress.changes,
    writers,
    passedUntilMs: () => lag.passedUntilMs,
    onWritten: () => stream.acknowledge(),
    onHalt: halt,
    signal: ended.signal,
  });
  const session: LiveSession = {
    config,
    pool,
    state,
    server,
    ledger,
    routes,
    parking,
    holding,
    dispatcher,
    factory,
    stream,
    progress,
    marks,
    ownWrites,
    traffic,
    lag,
    requestBell: new RequestBell({ pool: options.statePool, connector: config.name, log }),
    watches: new Map(),
    shapes: new Map(),
    prepareRelation: (relation) => types.prepare(relation, intake.signal),
    findings,
    companions: options.companions,
    halt,
    slot: undefined,
    backfills: [],
    deadLetters: await lettersOf(state),
  };
  const upkeep = runUpkeep(session, { preparing, publisher, intervals: options.intervals, signal: ended.signal, log });
  upkeep.catch((error: unknown) => halt(toBanyanError(error, 'watching the slot')));
  parts.defer(async () => {
    ended.abort();
    // Its failure has ended the intake already; a query of its own on a dead connection must not keep the session.
    await within(UPKEEP_END_MS, upkeep);
  });
  await openWatches(session, options.backfillPool);
  const backfills = runBackfills({
    session,
    pool: options.backfillPool,
    inspectMs: options.intervals.inspectMs,
    signal: ended.signal,
    log,
  });
  backfills.catch((error: unknown) => halt(toBanyanError(error, 'backfilling')));
  parts.defer(async () => {
    ended.abort();
    await within(UPKEEP_END_MS, backfills);
  });
  const interrupted = await state.requests.failInterrupted();
  if (interrupted > 0)
    log.warn({ requests: interrupted }, 'requests that an earlier worker did not finish were failed');
  options.onStreaming(session);
  log.info({ slot: slotName(config), timeline: server.timeline }, 'streaming');
  const stops = AbortSignal.any([signal, ended.signal]);
  const beside = Promise.all(options.companions.map((companion) => companion.run(session, stops)));
  // None of them may end capture.
  beside.catch((error: unknown) => log.error(toBanyanError(error, 'a companion of capture').message));
  parts.defer(async () => {
    ended.abort();
    // A lost server may never answer what they have begun, and the next session is not to wait for it.
    await within(signal.aborted ? config.shutdownTimeout + UPKEEP_END_MS : DRAIN_AFTER_FAILURE_MS, beside);
  });

  try {
    await runPipeline({
      stream,
      routes,
      ledger,
      dispatcher,
      parking,
      holding,
      progress,
      timelineAt: (lsn) => timelineAt(server.timelines, lsn),
      mapMessage: (change) => factory.mapMessage(change),
      stageEvent: (message, change) => factory.stageEvent(message, change),
      prepareRelation: session.prepareRelation,
      marks: session.marks,
      watches: session.watches,
      guard: ownWrites,
      traffic,
      writers,
      catalogRoute: (oid) => catalogRoute(oid, session),
      reselect: (change, columns) => reselect(pool, change, columns),
      stopping: signal,
      signal: intake.signal,
    });
    if (!signal.aborted) throw new BanyanError('database-unavailable', 'the server ended the stream');
  } catch (error) {
    if (!signal.aborted) {
      await drained(session, { deadlineMs: DRAIN_AFTER_FAILURE_MS, log });
      throw intake.signal.aborted ? intake.signal.reason : withoutGap(error);
    }
  }
  await stopped(session, { deadlineMs: Math.max(0, stopBy - performance.now()), log });
  await stream.close({ lastStatus: true });
}

/** A gap is for the comparison of the next session to find, which also records it: the stream only knows that something is gone. */
function withoutGap(error: unknown): unknown {
  if (!(error instanceof BanyanError) || error.kind !== 'gap') return error;
  return new BanyanError('database-unavailable', error.message, { cause: error });
}
