import type { Logger } from 'pino';
import { createEventBridgePublisher } from './bus/eventbridge.ts';
import type { Publisher } from './bus/publisher.ts';
import { openPools } from './capture/pools.ts';
import { runSession } from './capture/session.ts';
import { UPKEEP, type UpkeepIntervals } from './capture/upkeep.ts';
import { WalGuard } from './capture/wal-guard.ts';
import type { LoadedConfig } from './config/load.ts';
import { type Config, slotName } from './config/schema.ts';
import { type BanyanError, toBanyanError } from './core/errors.ts';
import type { WorkerStatus } from './core/status.ts';
import { backoffMs, sleep } from './flow/supervise.ts';
import { within } from './flow/within.ts';
import { startEmfLog } from './http/emf-log.ts';
import { startHttp } from './http/server.ts';
import { createQueueTarget } from './local-bus/queue-target.ts';
import { type LocalBus, startLocalBus } from './local-bus/local-bus.ts';
import { loadContracts } from './mapping/contract.ts';
import { loadTransforms } from './mapping/transform.ts';
import type { ConnectionSettings } from './postgres/connection.ts';
import { keepUses } from './progress/uses.ts';
import { readState } from './state/state.ts';
import { StatusBoard } from './status-board.ts';
import { openHistory } from './worker-history.ts';
import { openProgress } from './worker-progress.ts';
import { openReadWatch } from './worker-reads.ts';
import { openWayBack, type WayBack } from './worker-reverse.ts';

export interface WorkerOptions {
  readonly loaded: LoadedConfig;
  readonly log: Logger;
  /** Another bus than the configured one: for benchmarks and tests. The worker closes it. */
  readonly publisher?: Publisher;
  readonly intervals?: Partial<UpkeepIntervals>;
  /** Takes the lines of `metrics: emf`. Default: stdout, beside the log. */
  readonly writeMetrics?: (line: string) => void;
}

export interface Worker {
  status(): WorkerStatus;
  /** `http://host:port` of its health, status and metrics. */
  readonly url: string;
  /** Where the embedded bus listens, with `bus.type: local`. */
  readonly bus: LocalBus | undefined;
  /** Drains, confirms and releases everything; resolves when all is closed. */
  stop(): Promise<void>;
  /** Resolves when the worker halts: it stays up and says why until it is stopped. */
  readonly halted: Promise<BanyanError>;
}

/** Between attempts to connect. */
const RECONNECT = { baseMs: 250, maxMs: 15_000 };
/** How often a standby looks whether the slot is free, and a halted worker whether its gap was accepted. */
const STANDBY_MS = 1_000;
const GAP_LOOK_MS = 2_000;
/** A server that is gone may never answer what the guard has asked. */
const GUARD_END_MS = 1_000;

/** The composition root: everything that a running worker consists of. Rejects where it can not even start (configuration, ports). */
export async function startWorker(options: WorkerOptions): Promise<Worker> {
  const { loaded, log } = options;
  const { config, directory } = loaded;
  const parts = new AsyncDisposableStack();
  let wayBack: WayBack | undefined;
  try {
    const stop = new AbortController();
    const intervals = { ...UPKEEP, ...options.intervals };
    const connection = connectionOf(config);
    const guard = new WalGuard({
      config,
      connection,
      session: () => board.session,
      intervalMs: intervals.observeMs,
      signal: stop.signal,
      log,
    });
    const board: StatusBoard = new StatusBoard(config, { reverse: () => wayBack?.sync.status, wal: () => guard });
    const lookAtUses = keepUses(config);
    const progress = openProgress({ config, connection, status: () => board.status(), lookAtUses, log });
    parts.defer(() => progress.close());
    const http = await startHttp({
      ...config.http,
      token: config.http.token,
      status: () => board.status(),
      progress,
      log,
    });
    parts.defer(() => http.close());
    if (config.metrics === 'emf') {
      const { writeMetrics = (line) => void process.stdout.write(`${line}\n`) } = options;
      const emf = startEmfLog({ status: () => board.status(), progress, write: writeMetrics, log });
      parts.defer(() => emf.close());
    }
    const bus = await embeddedBus(config, { parts, log });
    const publisher = options.publisher ?? publisherOf(config, bus, log);
    parts.defer(() => publisher.close());
    wayBack = await openWayBack({ config, connection, bus, log });
    const history = openHistory({ config, status: () => board.status(), log });
    const always = [history, openReadWatch({ config, lookAtUses, log })];
    const companions = wayBack === undefined ? always : [...always, wayBack.companion];
    // Nothing is connected by it: what is wrong with a URL is told now.
    await openPools(config, { connection, log })[Symbol.asyncDispose]();
    const files = {
      transforms: await loadTransforms(config.capture, directory),
      contracts: await loadContracts(config.capture, directory),
    };

    const session = { config, connection, files, publisher, intervals, progress: board.progress, log };
    const halted = Promise.withResolvers<BanyanError>();
    const supervised = supervise({
      board,
      log,
      signal: stop.signal,
      onHalt: halted.resolve,
      // Each attempt has connections of its own: one that died without a word would let the next session wait for it.
      attempt: async () => {
        await using pools = openPools(config, { connection, log });
        const { pool, statePool, backfillPool } = pools;
        await runSession({
          ...session,
          pool,
          statePool,
          backfillPool,
          companions,
          signal: stop.signal,
          onStreaming: (live) => board.streams(live),
        });
      },
      gapAccepted: async () => {
        await using pools = openPools(config, { connection, log });
        const { statePool } = pools;
        const state = await readState({ pool: statePool, connector: config.name, schema: config.state.schema });
        return (await state.gaps.open()).length === 0;
      },
    });
    const guarded = guard.run();
    let stopping: Promise<void> | undefined;
    const shutDown = async (): Promise<void> => {
      board.stops();
      stop.abort(new DOMException('the worker stops', 'AbortError'));
      await supervised;
      await within(GUARD_END_MS, guarded);
      await parts.disposeAsync();
      log.info({ slot: slotName(config) }, `slot ${slotName(config)} still holds WAL; \`banyan teardown\` removes it`);
    };
    log.info({ name: config.name, http: http.url }, 'worker started');
    return {
      status: () => board.status(),
      url: http.url,
      bus,
      halted: halted.promise,
      stop: () => (stopping ??= shutDown()),
    };
  } catch (error) {
    await parts.disposeAsync();
    throw error;
  }
}

/** As `banyan run` runs it: until `signal` aborts, or with `exitOnHalt` until it halts. Resolves with the exit code. */
export async function runWorker(
  options: WorkerOptions & { readonly signal: AbortSignal; readonly exitOnHalt: boolean },
): Promise<number> {
  const { signal, exitOnHalt } = options;
  const worker = await startWorker(options);
  const stopped = new Promise<'stopped'>((resolve) => {
    if (signal.aborted) resolve('stopped');
    signal.addEventListener('abort', () => resolve('stopped'), { once: true });
  });
  const end = exitOnHalt ? await Promise.race([stopped, worker.halted]) : await stopped;
  await worker.stop();
  if (end === 'stopped') return 0;
  return end.kind === 'preflight' ? 5 : 6;
}

interface Supervision {
  readonly board: StatusBoard;
  readonly attempt: () => Promise<void>;
  readonly gapAccepted: () => Promise<boolean>;
  readonly onHalt: (error: BanyanError) => void;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** One session after the other, by the reaction of the error that ended the last. */
async function supervise(supervision: Supervision): Promise<void> {
  const { board, attempt, signal, log } = supervision;
  for (let failures = 0; !signal.aborted; failures += 1) {
    try {
      await attempt();
      return;
    } catch (error) {
      if (signal.aborted) return;
      // A session that streamed was healthy: what ended it is a new failure.
      if (board.takeStreamed()) failures = 0;
      const failure = toBanyanError(error, 'the capture session ended');
      try {
        await react(failure, { ...supervision, failures });
      } catch (waiting) {
        if (signal.aborted) return;
        log.error({ kind: toBanyanError(waiting, 'waiting').kind }, 'waiting for the next attempt failed');
      }
    }
  }
}

async function react(error: BanyanError, run: Supervision & { failures: number }): Promise<void> {
  const { board, signal, log, failures } = run;
  const facts = { kind: error.kind, code: error.code, remedy: error.remedy, context: error.context };
  if (error.kind === 'slot-in-use') {
    if (board.standsBy(error)) log.info(facts, `standing by: ${error.message}`);
    await sleep(STANDBY_MS, signal);
    return;
  }
  switch (error.reaction) {
    case 'retry': {
      board.reconnects(error);
      const waitMs = backoffMs(failures, RECONNECT);
      log[failures < 3 ? 'info' : 'warn'](
        { ...facts, waitMs: Math.round(waitMs) },
        `connecting again: ${error.message}`,
      );
      await sleep(waitMs, signal);
      return;
    }
    case 'wait':
      if (board.waits(error)) log.error(facts, `waiting: ${error.message}`);
      await sleep(Math.max(1_000, backoffMs(failures, RECONNECT)), signal);
      return;
    // A mapping that can not go on at the start, and an event's own fault outside of the stream: a person must look.
    case 'park':
    case 'hold':
    case 'halt':
      board.halts(error);
      run.onHalt(error);
      log.error(facts, `halted: ${error.message}`);
      await (error.kind === 'gap' ? untilAccepted(run) : untilStopped(signal));
  }
}

/** `banyan recover --accept-gap` lets a worker that halted for a gap go on by itself. */
async function untilAccepted({ gapAccepted, signal, log }: Supervision): Promise<void> {
  for (;;) {
    await sleep(GAP_LOOK_MS, signal);
    try {
      if (await gapAccepted()) return;
    } catch (error) {
      log.debug({ kind: toBanyanError(error, 'reading gaps').kind }, 'the gaps can not be read at the moment');
    }
  }
}

function untilStopped(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

export function connectionOf(config: Config): ConnectionSettings {
  return {
    url: config.legacy.url,
    tls: config.legacy.tls,
    name: config.name,
    lockTimeoutMs: config.legacy.lockTimeout,
  };
}

/** With `bus.type: local` and no endpoint: a bus of our own, with one rule that brings every event into a queue to look at. */
async function embeddedBus(
  config: Config,
  { parts, log }: { parts: AsyncDisposableStack; log: Logger },
): Promise<LocalBus | undefined> {
  if (config.bus.type !== 'local' || config.bus.endpoint !== undefined) return undefined;
  const bus = await startLocalBus({ port: config.bus.port });
  parts.defer(() => bus.close());
  const { queueUrl } = await createQueueTarget(bus, {
    busName: config.bus.name,
    ruleName: 'everything',
    pattern: { source: [{ prefix: '' }] },
    queueName: `${config.name}-events`,
  });
  log.info(
    { endpoint: bus.url, queueUrl, recent: `${bus.url}/_banyan/events` },
    'embedded bus started: every event goes into its queue',
  );
  return bus;
}

export function publisherOf(config: Config, bus: LocalBus | undefined, log: Logger): Publisher {
  const local = config.bus.type === 'local';
  const endpoint = bus?.url ?? config.bus.endpoint;
  return createEventBridgePublisher({
    region: config.bus.region ?? bus?.region ?? 'us-east-1',
    ...(endpoint === undefined ? {} : { endpoint }),
    busName: config.bus.name,
    concurrency: config.bus.concurrency,
    requestTimeoutMs: config.bus.requestTimeout,
    // The embedded bus looks at no signature, but the SDK wants to make one.
    ...(local ? { credentials: { accessKeyId: 'local', secretAccessKey: 'local' } } : {}),
    log,
  });
}
