import type { Logger } from 'pino';
import type { Companion } from './capture/companion.ts';
import type { Config } from './config/schema.ts';
import { toBanyanError } from './core/errors.ts';
import type { HealthPoint } from './core/progress.ts';
import type { WorkerStatus } from './core/status.ts';
import { sleep } from './flow/supervise.ts';
import { within } from './flow/within.ts';
import type { State } from './state/state.ts';

export interface HistoryOptions {
  readonly config: Config;
  readonly status: () => WorkerStatus;
  readonly intervals?: { readonly lookMs: number; readonly thinMs: number };
  readonly log: Logger;
}

/** Looks at the worst of a minute, and at what is old. */
const INTERVALS = { lookMs: 5_000, thinMs: 600_000 };
const MINUTE_MS = 60_000;
/** What became of a request can be looked up in the state for so long. */
const KEEP_REQUESTS_MS = 30 * 86_400_000;
/** Rows of a statement, statements of a round, and between them: a lock of ours must not be felt. */
const THIN_ROWS = 1_000;
const THIN_BATCHES = 50;
const THIN_PAUSE_MS = 200;
/** What the last minute may take when the session ends. */
const LAST_MS = 1_000;

type Counters = Pick<HealthPoint, 'accepted' | 'throttled' | 'parked' | 'applied'>;
type Worst = Pick<HealthPoint, 'lagSeconds' | 'lagBytes' | 'heldBytes'>;

/** Remembers what the connector was like, minute by minute while something happens, makes hours of what is old, and forgets requests that were done long ago. */
export function openHistory(options: HistoryOptions): Companion {
  const { lookMs, thinMs } = options.intervals ?? INTERVALS;
  const minutes = new Minutes(options);
  return {
    run: async ({ state }, signal) => {
      await Promise.all([
        repeat(lookMs, () => minutes.look(state), options, signal),
        repeat(thinMs, () => thin(state, options.config, signal), options, signal),
      ]);
      await within(LAST_MS, minutes.write(state));
    },
    answer: () => undefined,
  };
}

class Minutes {
  readonly #options: HistoryOptions;
  /** Of the worker, as they were when they were written last. */
  #before: Counters;
  #minuteMs = 0;
  #worst: Worst = { lagSeconds: undefined, lagBytes: undefined, heldBytes: undefined };
  /** Something waits or is late, although nothing passes. */
  #isLate = false;

  constructor(options: HistoryOptions) {
    this.#options = options;
    this.#before = { accepted: 0, throttled: 0, parked: 0, applied: 0 };
  }

  async look(state: Pick<State, 'health'>): Promise<void> {
    const now = Date.now();
    const minuteMs = now - (now % MINUTE_MS);
    if (minuteMs !== this.#minuteMs) await this.write(state);
    this.#minuteMs = minuteMs;
    const { stream, slot, bus } = this.#options.status();
    this.#worst = {
      lagSeconds: worse(this.#worst.lagSeconds, stream.lagSeconds),
      lagBytes: worse(this.#worst.lagBytes, slot.lagBytes),
      heldBytes: worse(this.#worst.heldBytes, slot.heldBytes),
    };
    const { atMost } = this.#options.config.progress.gates.lag;
    this.#isLate ||= bus.queued > 0 || (stream.lagSeconds ?? 0) * 1_000 > atMost;
  }

  /** What came since the last time belongs to the minute that was looked at last. */
  async write({ health }: Pick<State, 'health'>): Promise<void> {
    if (this.#minuteMs === 0) return;
    const counters = countersOf(this.#options.status());
    const { accepted, throttled, parked, applied } = this.#before;
    const since: Counters = {
      accepted: counters.accepted - accepted,
      throttled: counters.throttled - throttled,
      parked: counters.parked - parked,
      applied: counters.applied - applied,
    };
    const isIdle = Object.values(since).every((count) => count === 0);
    if (!isIdle || this.#isLate) {
      await health.add({ at: new Date(this.#minuteMs).toISOString(), ...this.#worst, ...since });
    }
    this.#before = counters;
    this.#worst = { lagSeconds: undefined, lagBytes: undefined, heldBytes: undefined };
    this.#isLate = false;
  }
}

function countersOf({ bus, tables, reverse }: WorkerStatus): Counters {
  const { echo = 0, correction = 0, unchanged = 0 } = reverse?.applied ?? {};
  return {
    accepted: bus.accepted,
    throttled: bus.throttled,
    parked: tables.reduce((sum, { parked }) => sum + parked, 0),
    applied: echo + correction + unchanged,
  };
}

function worse(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? (a ?? b) : Math.max(a, b);
}

async function thin({ traffic, health, requests }: State, { progress }: Config, signal: AbortSignal): Promise<void> {
  const keep = { minutesMs: progress.keepMinutes, hoursMs: progress.keepHours, limit: THIN_ROWS };
  for (let batch = 0; batch < THIN_BATCHES; batch += 1) {
    const done = [
      await traffic.thin(keep),
      await health.thin(keep),
      await requests.forget({ olderThanMs: KEEP_REQUESTS_MS, limit: THIN_ROWS }),
    ];
    if (done.every(Boolean)) return;
    await sleep(THIN_PAUSE_MS, signal);
  }
}

/** Resolves when the signal aborts. What fails is tried the next time. */
async function repeat(
  intervalMs: number,
  task: () => Promise<void>,
  { log }: HistoryOptions,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    try {
      await sleep(intervalMs, signal);
      await task();
    } catch (error) {
      if (signal.aborted) return;
      const { kind, code, message } = toBanyanError(error, 'keeping the history');
      log.info({ kind, code }, message);
    }
  }
}
