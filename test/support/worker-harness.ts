import pg from 'pg';
import { pino } from 'pino';
import type { Publisher } from '../../src/bus/publisher.ts';
import type { UpkeepIntervals } from '../../src/capture/upkeep.ts';
import { recover } from '../../src/cli/recover.ts';
import { parseConfig } from '../../src/config/load.ts';
import type { WorkerState, WorkerStatus } from '../../src/core/status.ts';
import { type LocalBus, startLocalBus } from '../../src/local-bus/local-bus.ts';
import { readState, type State } from '../../src/state/state.ts';
import { startWorker, type Worker } from '../../src/worker.ts';
import { eventually } from './eventually.ts';
import { settleStages } from './settled-stages.ts';
import { workerRole } from './worker-role.ts';

/** An event as a consumer parses it. */
export interface SeenEvent {
  readonly source: string;
  readonly detailType: string;
  readonly metadata: {
    readonly id: string;
    readonly sequence: string;
    readonly operation: string;
    readonly table: string;
    readonly key: Readonly<Record<string, unknown>>;
    readonly previousKey?: Readonly<Record<string, unknown>>;
    readonly changed?: readonly string[];
    readonly unavailable: readonly string[];
  };
  readonly data: Readonly<Record<string, unknown>>;
  readonly previous?: Readonly<Record<string, unknown>>;
  /** JSON text as it was sent. */
  readonly detail: string;
}

/** What a test says of its configuration; the rest is filled in. */
export interface BedConfig {
  readonly capture: readonly object[];
  readonly legacy?: object;
  readonly bus?: object;
  /** Default: in the legacy database. Elsewhere, stages are as they are. */
  readonly state?: { readonly url: string };
  /** The bed adds its queue, where it has one. */
  readonly reverse?: { readonly apply: readonly object[]; readonly [option: string]: unknown };
  /** Default: tables that were never moved are in `shadow`, those of `reverse.apply` in `dual`. */
  readonly stages?: 'as they are';
}

export interface StartOptions {
  readonly publisher?: Publisher;
  readonly intervals?: Partial<UpkeepIntervals>;
  /** Return at once, whatever becomes of it. */
  readonly dontWait?: boolean;
}

/** A database, a bus in this process, and workers that are started and stopped on them: one for each test. */
export interface WorkerBed extends AsyncDisposable {
  /** As a superuser, who is the legacy application and the DBA. */
  readonly url: string;
  /** As the role that `init --role` makes: the worker's, where it writes. */
  readonly workerUrl: string;
  readonly slot: string;
  readonly bus: LocalBus;
  /** Of the way back, where the bed has queues. */
  readonly queue: BedQueue | undefined;
  /** What its workers logged, where the bed has queues. */
  readonly logged: readonly string[];
  /** What the bus accepted, in order, repeats included. */
  readonly events: readonly SeenEvent[];
  sql<Row extends pg.QueryResultRow = pg.QueryResultRow>(text: string): Promise<Row[]>;
  /**
   * Starts a worker and waits until it streams. It is stopped with the bed, if not before. Where it writes it does so with the rights that `init --role` gives for
   * its configuration, and no others.
   */
  start(config: BedConfig, options?: StartOptions): Promise<RunningWorker>;
  /** What the connector remembers; its schema must be there. */
  state(): Promise<State>;
  /** As a command asks the worker: resolves with the answer, rejects with the error that it answered. */
  ask(command: 'redrive' | 'discard' | 'backfill' | 'resolve-conflict', selection: object): Promise<unknown>;
  /** `banyan recover --accept-gap`. */
  acceptGap(config: BedConfig, options?: { readonly backfill?: boolean }): Promise<void>;
  /** Waits until the slot's confirmed position has passed everything that is committed now. */
  confirmed(): Promise<void>;
  /** Drops the slot under whoever reads it. */
  snatchSlot(): Promise<void>;
  /** Waits until at least `count` events of all are there. */
  accepted(count: number): Promise<readonly SeenEvent[]>;
}

export interface RunningWorker {
  readonly worker: Worker;
  status(): WorkerStatus;
  table(name: string): WorkerStatus['tables'][number];
  until(what: string, holds: (status: WorkerStatus) => boolean): Promise<WorkerStatus>;
  reaches(state: WorkerState): Promise<WorkerStatus>;
  stop(): Promise<void>;
}

/** A queue of the embedded bus that no rule fills. */
export interface BedQueue {
  readonly url: string;
  send(...bodies: readonly string[]): Promise<void>;
  /** Resolves when every message is deleted. */
  empty(): Promise<void>;
}

const BUS = 'shop-legacy';
/** Short, since tests wait for them. */
const INTERVALS: UpkeepIntervals = { observeMs: 100, inspectMs: 200, requestsMs: 50 };

export interface BedOptions {
  /** Database and connector. */
  readonly name: string;
  readonly setup?: string;
  /** Of CREATE DATABASE, such as an encoding. */
  readonly database?: string;
  /** With a queue for the way back. */
  readonly queues?: boolean;
}

/** Any PostgreSQL server that a test may make databases on: an embedded one, or one in a container. */
export interface DatabaseServer {
  /** Makes an empty database and returns its URL. `options`: of CREATE DATABASE. */
  createDatabase(name: string, options?: string): Promise<string>;
}

export async function makeBed(server: DatabaseServer, options: BedOptions): Promise<WorkerBed> {
  const { name } = options;
  const parts = new AsyncDisposableStack();
  const url = await server.createDatabase(name, options.database);
  const pool = new pg.Pool({ connectionString: url, max: 3 });
  // A test may end sessions, or the whole server.
  pool.on('error', () => undefined);
  parts.defer(() => pool.end());
  const bus = await startLocalBus({ queues: options.queues === true });
  parts.defer(() => bus.close());
  const queue = options.queues === true ? await makeQueue(bus) : undefined;
  bus.invoke('CreateEventBus', { Name: BUS });
  const events: SeenEvent[] = [];
  bus.onAccepted((event) => void events.push(seen(event)));
  if (options.setup !== undefined) await pool.query(options.setup);
  const slot = `banyan_${name}`;
  const logged: string[] = [];
  const level = process.env['BANYAN_TEST_LOG'] ?? 'silent';
  const log =
    queue === undefined ? pino({ level }) : pino({ level: 'debug' }, { write: (line) => void logged.push(line) });

  const sql: WorkerBed['sql'] = async (text) => {
    const result = (await pool.query(text)) as unknown as pg.QueryResult | pg.QueryResult[];
    return (Array.isArray(result) ? (result.at(-1)?.rows ?? []) : result.rows) as never;
  };
  const state = () => readState({ pool, connector: name, schema: 'banyan' });

  const role = workerRole(url);
  const configOf = (config: BedConfig, as: string) => ({
    name,
    legacy: { url: as, lockTimeout: '2s', ...config.legacy },
    bus: { type: 'local', name: BUS, endpoint: bus.url, linger: '1ms', ...config.bus },
    capture: config.capture,
    ...(config.state === undefined ? {} : { state: config.state }),
    ...(config.reverse === undefined
      ? {}
      : { reverse: { queue: queue?.url, endpoint: bus.queuesUrl, visibilityTimeout: '10s', ...config.reverse } }),
    http: { port: 0 },
    shutdownTimeout: '5s',
  });
  const configText = (config: BedConfig): string =>
    JSON.stringify(configOf(config, config.reverse === undefined ? url : role.url));

  return {
    url,
    workerUrl: role.url,
    slot,
    bus,
    queue,
    logged,
    events,
    sql,
    state,
    async start(config, { dontWait = false, ...started } = {}) {
      if (config.reverse !== undefined) await role.grant(configOf(config, url));
      // The state's schema belongs to whoever makes it.
      const { url: own } = { url: undefined, ...config.legacy };
      const as = typeof own === 'string' ? own : config.reverse === undefined ? url : role.url;
      const settles = config.stages !== 'as they are' && config.state === undefined;
      if (settles) await settleStages({ url: as, name }, config.reverse?.apply);
      const loaded = await parseConfig(configText(config), { file: undefined, env: {} });
      const worker = await startWorker({ loaded, log, ...started, intervals: { ...INTERVALS, ...started.intervals } });
      parts.defer(() => worker.stop());
      const running = runningWorker(worker);
      if (!dontWait) await running.reaches('streaming');
      return running;
    },
    async ask(command, selection) {
      const { requests } = await state();
      const id = await requests.insert({ command, arguments: { ...selection }, requestedBy: 'test' });
      const outcome = await requests.await(id, { timeoutMs: 20_000, signal: AbortSignal.timeout(30_000) });
      if (outcome.status === 'finished') return outcome.result;
      throw new Error(outcome.status === 'failed' ? outcome.error : `the request is ${outcome.status}`);
    },
    async acceptGap(config, { backfill = true } = {}) {
      const quiet = { json: true, line() {}, value() {}, note() {}, paint: (_style: unknown, text: string) => text };
      const env = { BANYAN_CONFIG_YAML: configText(config) };
      await recover({ acceptGap: true, backfill }, { configFile: undefined, env, output: quiet });
    },
    async confirmed() {
      const [end] = await sql<{ lsn: string }>('select pg_current_wal_lsn()::text as lsn');
      await eventually(
        async () =>
          (
            await sql(`select 1 from pg_replication_slots
            where slot_name = '${slot}' and confirmed_flush_lsn >= '${end?.lsn}'`)
          ).length > 0,
        () => `slot ${slot} was never confirmed up to ${end?.lsn}; ${events.length} events came`,
        // A worker that was killed under load may have a hundred thousand events to send.
        { timeoutMs: 60_000 },
      );
    },
    async snatchSlot() {
      // Again where the worker was back before the drop.
      await sql(`do $$ begin
        loop begin
          perform pg_terminate_backend(active_pid, 5000) from pg_replication_slots where slot_name = '${slot}';
          perform pg_drop_replication_slot('${slot}');
          exit;
        exception when object_in_use then null; end; end loop;
      end $$`);
    },
    async accepted(count) {
      await eventually(
        () => events.length >= count,
        () => `${events.length} of ${count} events came: ${events.map(({ detailType }) => detailType).join(', ')}`,
        { timeoutMs: 20_000, everyMs: 5 },
      );
      return events;
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}

async function makeQueue(bus: LocalBus): Promise<BedQueue> {
  const url = `${bus.queuesUrl}/000000000000/back`;
  await bus.invokeQueues('CreateQueue', { QueueName: 'back' });
  const left = async (): Promise<string> => {
    const answer = await bus.invokeQueues('GetQueueAttributes', { QueueUrl: url, AttributeNames: ['All'] });
    const attributes = answer['Attributes'] as Record<string, string>;
    return `${attributes['ApproximateNumberOfMessages']} waiting, ${attributes['ApproximateNumberOfMessagesNotVisible']} in hand`;
  };
  return {
    url,
    async send(...bodies) {
      for (const body of bodies) await bus.invokeQueues('SendMessage', { QueueUrl: url, MessageBody: body });
    },
    async empty() {
      let now = '';
      await eventually(
        async () => (now = await left()) === '0 waiting, 0 in hand',
        () => `the queue does not become empty: ${now}`,
        { timeoutMs: 20_000 },
      );
    },
  };
}

function runningWorker(worker: Worker): RunningWorker {
  const until: RunningWorker['until'] = (what, holds) =>
    eventually(
      () => {
        const status = worker.status();
        return holds(status) ? status : undefined;
      },
      () => {
        const { state, problem } = worker.status();
        return `the worker never came to: ${what}; it is ${state} (${problem?.kind ?? 'no problem'}: ${problem?.message ?? ''})`;
      },
      { timeoutMs: 20_000, everyMs: 10 },
    );
  return {
    worker,
    status: () => worker.status(),
    table(name) {
      const found = worker.status().tables.find(({ table }) => table === name);
      if (found === undefined) throw new Error(`the status has no table ${name}`);
      return found;
    },
    until,
    reaches: (state) =>
      until(state, (status) => {
        // Nobody goes on from a halt: say at once why it is not what was waited for.
        if (status.state === 'halted' && state !== 'halted')
          throw new Error(`the worker halted (${status.problem?.kind}): ${status.problem?.message}`);
        return status.state === state;
      }),
    stop: () => worker.stop(),
  };
}

/** Of what a publisher took, too. */
export function seen(event: { source: string; detailType: string; detail: string }): SeenEvent {
  const { source, detailType, detail } = event;
  return { source, detailType, detail, ...(JSON.parse(detail) as Pick<SeenEvent, 'metadata' | 'data' | 'previous'>) };
}

/** `operation key-values`, one line an event: what most tests compare. */
export function brief(events: readonly SeenEvent[]): string[] {
  return events.map(({ metadata }) => `${metadata.operation} ${Object.values(metadata.key).join(',')}`);
}

/** The values of one field, of the events of one key. */
export function fieldOf(events: readonly SeenEvent[], place: { key: unknown; field: string }): unknown[] {
  return events
    .filter(({ metadata }) => Object.values(metadata.key)[0] === place.key)
    .map(({ data }) => data[place.field]);
}
