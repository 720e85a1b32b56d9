import { pino, type Logger } from 'pino';
import { createEventBridgePublisher } from '../src/bus/eventbridge.ts';
import type { Event } from '../src/core/event.ts';
import { ACCEPTED, type Outcome, type Publisher } from '../src/bus/publisher.ts';
import { parseConfig } from '../src/config/load.ts';
import { startWorker } from '../src/worker.ts';
import { measure, runInChild, serveJob, type Usage } from './child.ts';
import { WORKER_FLAGS } from './worker-flags.ts';

export interface WorkerRunJob {
  readonly url: string;
  readonly slot: string;
  readonly publication: string;
  readonly table: string;
  /** Events that are to be accepted, of those that count; the run ends with the last. */
  readonly events: number;
  /** Whether the rows that the table holds are read too. */
  readonly backfill: boolean;
  /** What is measured: the events of changes, or of rows that a backfill reads. */
  readonly counts: 'changes' | 'reads';
  /** undefined: a publisher that accepts at once, in the worker's process. */
  readonly endpoint: string | undefined;
  /** PutEvents calls in flight. */
  readonly concurrency: number;
  /** Also answer when each event was accepted, counted from its commit. */
  readonly latencies: boolean;
}

export interface WorkerRun extends Usage {
  /** Milliseconds from the server's commit time to acceptance, one per event; empty unless asked for. */
  readonly latenciesMs: readonly number[];
  /** Events in the average request. */
  readonly batchSize: number;
  /** Accepted meanwhile, of those that do not count. */
  readonly otherEvents: number;
}

/** The whole worker, as `banyan run` starts it, in a process of its own; measured from the first event that it sends to the last that is accepted. */
export function workerRun(job: WorkerRunJob): Promise<WorkerRun> {
  return runInChild('worker-run.ts', { job, flags: WORKER_FLAGS });
}

async function run(job: WorkerRunJob): Promise<WorkerRun> {
  const loaded = await parseConfig(configOf(job), { file: undefined, env: {} });
  const log = pino({ level: 'warn' }, pino.destination(2));
  const meter = new Meter(job);
  const worker = await startWorker({
    loaded,
    log,
    publisher: meter.around(job.endpoint === undefined ? acceptAll : eventBridgeAt(job.endpoint, { job, log })),
  });
  const halted = worker.halted.then((error) => {
    throw error;
  });
  const result = await Promise.race([meter.done, halted]);
  await worker.stop();
  return result;
}

/**
 * Every run keeps its state in a schema of its own, so that none knows of the others' slots, and has a name of its own, so that what the others wrote into the
 * WAL is not taken for forged. JSON is YAML.
 */
function configOf(job: WorkerRunJob): string {
  return JSON.stringify({
    name: `bench-${job.slot}`,
    legacy: {
      url: job.url,
      slot: { name: job.slot, manage: false },
      publication: { name: job.publication, manage: false },
    },
    state: { schema: `state_${job.slot}` },
    bus: {
      type: 'eventbridge',
      name: 'bench',
      region: 'eu-west-1',
      endpoint: job.endpoint ?? 'http://127.0.0.1:9',
      concurrency: job.concurrency,
    },
    capture: [{ table: job.table, backfill: job.backfill }],
    http: { port: 0 },
    log: { level: 'warn' },
  });
}

/** As the worker makes it, with the credentials that the stub does not look at. */
function eventBridgeAt(endpoint: string, { job, log }: { job: WorkerRunJob; log: Logger }): Publisher {
  return createEventBridgePublisher({
    endpoint,
    region: 'eu-west-1',
    busName: 'bench',
    concurrency: job.concurrency,
    requestTimeoutMs: 10_000,
    credentials: { accessKeyId: 'bench', secretAccessKey: 'bench' },
    log,
  });
}

const acceptAll: Publisher = {
  publish: (events) => Promise.resolve(ALL_ACCEPTED[events.length] ?? events.map(() => ACCEPTED)),
  probe: () => Promise.resolve(),
  close: () => Promise.resolve(),
};
const ALL_ACCEPTED: readonly (readonly Outcome[])[] = Array.from({ length: 11 }, (_, n) => Array(n).fill(ACCEPTED));

class Meter {
  readonly done: Promise<WorkerRun>;
  readonly #finish: (run: WorkerRun) => void;
  readonly #job: WorkerRunJob;
  readonly #latenciesMs: number[] = [];
  #stop: (() => Usage) | undefined;
  #accepted = 0;
  #others = 0;
  #requests = 0;
  /** What is known of the type of the last event: the meter must not cost what is measured. */
  #recentType: string | undefined;
  #recentCounts = false;

  constructor(job: WorkerRunJob) {
    this.#job = job;
    const { promise, resolve } = Promise.withResolvers<WorkerRun>();
    this.done = promise;
    this.#finish = resolve;
  }

  around(publisher: Publisher): Publisher {
    return {
      publish: async (events, signal) => {
        if (this.#stop === undefined && events.some((event) => this.#isCounted(event))) this.#stop = measure();
        const outcomes = await publisher.publish(events, signal);
        this.#count(events, outcomes);
        return outcomes;
      },
      probe: (signal) => publisher.probe(signal),
      close: () => publisher.close(),
    };
  }

  /** By its default name: the events around a backfill are neither. */
  #isCounted({ detailType }: Event): boolean {
    if (detailType === this.#recentType) return this.#recentCounts;
    const isRead = detailType.endsWith('Imported');
    this.#recentType = detailType;
    this.#recentCounts = this.#job.counts === 'reads' ? isRead : !isRead && !detailType.startsWith('Backfill');
    return this.#recentCounts;
  }

  #count(events: readonly Event[], outcomes: readonly Outcome[]): void {
    if (this.#stop === undefined) return;
    this.#requests += 1;
    const now = this.#job.latencies ? performance.timeOrigin + performance.now() : 0;
    for (let i = 0; i < events.length; i += 1) {
      const event = events[i];
      if (event === undefined || outcomes[i]?.status !== 'accepted') continue;
      if (!this.#isCounted(event)) {
        this.#others += 1;
        continue;
      }
      this.#accepted += 1;
      if (this.#job.latencies) this.#latenciesMs.push(now - committedAtMs(event.detail));
    }
    if (this.#accepted < this.#job.events) return;
    this.#finish({
      ...this.#stop(),
      latenciesMs: this.#latenciesMs,
      batchSize: Math.round(((this.#accepted + this.#others) / this.#requests) * 10) / 10,
      otherEvents: this.#others,
    });
  }
}

/** From the event's own metadata, with its microseconds. */
function committedAtMs(detail: string): number {
  const mark = '"committedAt":"';
  const at = detail.indexOf(mark) + mark.length;
  return Date.parse(detail.slice(at, at + 27)) + Number(detail.slice(at + 23, at + 26)) / 1_000;
}

if (import.meta.main) serveJob(run);
