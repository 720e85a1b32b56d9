import type pg from 'pg';
import type { Logger } from 'pino';
import type { Queue } from '../bus/queue.ts';
import type { Reverse } from '../config/reverse-schema.ts';
import type { Config } from '../config/schema.ts';
import type { Relation } from '../core/change.ts';
import { BanyanError, toBanyanError } from '../core/errors.ts';
import type { Finding } from '../core/finding.ts';
import type { Problem, ReverseState, ReverseStatus } from '../core/status.ts';
import { backoffMs, sleep } from '../flow/supervise.ts';
import { within } from '../flow/within.ts';
import { type ConnectionSettings, createPool } from '../postgres/connection.ts';
import type { WorkerRequest } from '../state/requests.ts';
import type { ConflictStore } from '../state/conflicts.ts';
import type { InboxStore } from '../state/inbox.ts';
import { readState } from '../state/state.ts';
import { Consumer } from './consumer.ts';
import type { Engine, EngineOptions } from './engine.ts';
import { keepHouse } from './housekeeping.ts';
import { ReverseLetters } from './letters.ts';
import { ReverseParking } from './parking.ts';
import { ParkingFlood } from './parking-flood.ts';
import { ReversePipeline } from './pipeline.ts';
import { noReverseProgress, type ReverseProgress } from './progress.ts';
import { Protection } from './protection.ts';
import { answerRequest } from './requests.ts';
import { SetAside } from './set-aside.ts';
import { TargetShapes } from './target-shapes.ts';
import { WaitingLetters } from './waiting-letters.ts';

/** What the session that holds the slot says of the stream. */
export interface ReverseSession {
  /** undefined: our own writes are recognized in the stream. */
  selfTest(pool: pg.Pool, signal: AbortSignal): Promise<Finding | undefined>;
  /** Resolves when the stream has passed everything that is committed now. */
  caughtUp(signal: AbortSignal): Promise<void>;
  /** Calls it with each table that the stream describes from now on; the function returned ends that. */
  onShape(listener: (relation: Relation) => void): () => void;
}

export interface ReverseSyncOptions {
  readonly config: Config;
  readonly reverse: Reverse;
  readonly connection: ConnectionSettings;
  readonly openQueue: () => Queue;
  readonly openEngine: (options: EngineOptions) => Promise<Engine>;
  /** Between two self-tests; for tests. */
  readonly testAgainMs?: number;
  readonly log: Logger;
}

/** What runs while a session streams. */
export interface RunningSync {
  readonly consumer: Consumer;
  readonly pipeline: ReversePipeline;
  readonly parking: ReverseParking;
  readonly letters: ReverseLetters;
  readonly waiting: WaitingLetters;
  readonly engine: Engine;
  readonly conflicts: ConflictStore;
  readonly inbox: InboxStore;
  readonly flood: ParkingFlood;
  /** Why our own writes are not known in the stream, which ends the attempt; undefined: they are, by a test of this moment. */
  readonly test: () => Promise<BanyanError | undefined>;
  /** What `dead_letter` holds, as it was looked at last. */
  counts: { readonly parked: number; readonly waiting: number };
}

/**
 * Enough messages for every worker's transaction, and as many that wait for their turn or their deletion: with half of it transactions are half full (measured), and each costs
 * its commit. Bodies of a megabyte each must not fill the memory.
 */
const MESSAGES_PER_WORKER = 20;
const HIGH_WATER_BYTES = 16_000_000;
const RETRY = { baseMs: 1_000, maxMs: 60_000 };
/** Longest wait for the queue's word on what is given back at the very end. */
const GIVE_BACK_MS = 1_000;
/** The goodbye of idle connections: a dead one would never answer it. */
const CLOSE_WAIT_MS = 1_000;

/** The way back: from the queue into the legacy tables, while a session streams, and never without protection against loops. */
export class ReverseSync {
  readonly #options: ReverseSyncOptions;
  readonly #progress: ReverseProgress = noReverseProgress();
  readonly #flood: ParkingFlood;
  #state: ReverseState = 'off';
  readonly #protection: Protection;
  #problem: Problem | undefined;
  #running: RunningSync | undefined;
  #ended: Promise<void> = Promise.resolve();

  constructor(options: ReverseSyncOptions) {
    this.#options = options;
    this.#protection = new Protection(options.testAgainMs);
    this.#flood = new ParkingFlood({ max: options.reverse.maxParkedPerMinute, log: options.log });
  }

  get status(): ReverseStatus {
    const running = this.#running;
    const { consumer, pipeline, parking, counts } = running ?? {};
    const flood = running && this.#flood.problem;
    const problem = this.#problem ?? flood ?? pipeline?.problem ?? consumer?.problem;
    // What passes by itself is waited for; a flood needs a person.
    const amiss = flood === undefined ? 'waiting' : 'refused';
    const { parked: _parked, waited: _waited, applied, ...counters } = this.#progress;
    return {
      state: this.#state === 'running' && problem !== undefined ? amiss : this.#state,
      problem,
      testedAt: this.#protection.testedAt,
      ...counters,
      applied: { ...applied },
      inHand: consumer?.inHand ?? 0,
      inFlight: pipeline?.inFlight ?? 0,
      parked: counts?.parked,
      waiting: counts?.waiting,
      heldTables: parking && [...parking.heldTables],
    };
  }

  /** Runs until the signal aborts. What fails is said, and tried again; it never ends the session. */
  async run(session: ReverseSession, signal: AbortSignal): Promise<void> {
    // A session that lost its server may be gone before what it had begun has ended.
    const before = this.#ended;
    const run = before.then(() => this.#run(session, signal));
    this.#ended = run.catch(() => undefined);
    await run;
  }

  async #run(session: ReverseSession, signal: AbortSignal): Promise<void> {
    const { log } = this.#options;
    for (let failures = 0; !signal.aborted; failures += 1) {
      try {
        await this.#attempt(session, signal);
      } catch (thrown) {
        if (signal.aborted) break;
        // It had run: this is a new failure, not the next of a row.
        if (this.#running !== undefined) failures = 0;
        const error = toBanyanError(thrown, 'reverse sync');
        const { kind, code, message, remedy } = error;
        const passes = error.reaction === 'retry' || error.reaction === 'wait';
        this.#fails(passes ? 'waiting' : 'refused', error);
        log[passes && failures < 3 ? 'info' : 'error']({ kind, code, remedy }, `reverse sync does not run: ${message}`);
        await sleep(Math.max(RETRY.baseMs, backoffMs(failures, RETRY)), signal).catch(() => undefined);
      } finally {
        this.#running = undefined;
      }
    }
    this.#state = 'off';
    this.#problem = undefined;
  }

  /** undefined: the request is not about the way back. */
  answer(request: WorkerRequest): Promise<unknown> | undefined {
    return answerRequest(request, {
      running: () => {
        if (this.#running !== undefined) return this.#running;
        const why = this.#problem === undefined ? '' : `: ${this.#problem.message}`;
        throw new BanyanError('usage', `reverse sync does not run${why}`, { remedy: 'mend that, and ask again' });
      },
    });
  }

  #fails(
    state: 'waiting' | 'refused',
    { kind, message, remedy }: Pick<BanyanError, 'kind' | 'message' | 'remedy'>,
  ): void {
    this.#state = state;
    if (this.#problem?.message !== message) this.#problem = { kind, message, remedy, since: new Date().toISOString() };
  }

  async #attempt(session: ReverseSession, signal: AbortSignal): Promise<void> {
    const { config, reverse, connection, openEngine, openQueue, log } = this.#options;
    if (this.#problem === undefined) this.#state = 'testing';
    // Whatever fails ends the rest of this attempt.
    const failed = new AbortController();
    const stop = AbortSignal.any([signal, failed.signal]);
    await using parts = new AsyncDisposableStack();
    const pool = createPool(connection, { max: reverse.concurrency + 2, log });
    parts.defer(() => within(CLOSE_WAIT_MS, pool.end()));
    const state = await readState({ pool, connector: config.name, schema: config.state.schema });
    const place = { session, pool, stop };
    const unprotected = await this.#protection.test(place);
    if (unprotected !== undefined) {
      this.#fails('refused', unprotected);
      await untilStopped(signal);
      return;
    }
    const parking = await ReverseParking.load({ store: state.reverseLetters, waitForMs: reverse.waitFor, log });
    // Before the catalog is read, so that nothing is missed in between.
    const shapes = new TargetShapes();
    parts.defer(session.onShape((relation) => shapes.see(relation)));
    const engine = await openEngine({ config, reverse, pool, state, session, parking, stop, log });
    const queue = openQueue();
    parts.defer(() => queue.close());

    const source = `queue:${new URL(reverse.queue).pathname.split('/').at(-1) ?? ''}`;
    const { apply, read, missingGrants } = engine;
    const progress = this.#progress;
    const flood = this.#flood;
    const pipeline = new ReversePipeline({
      read,
      apply,
      parking,
      progress,
      setAside: new SetAside({ parking, progress, flood, place: source, missingGrants }),
      concurrency: reverse.concurrency,
      stop,
      log,
    });
    const consumer: Consumer = new Consumer({
      queue,
      visibilityMs: reverse.visibilityTimeout,
      highWater: { messages: MESSAGES_PER_WORKER * reverse.concurrency, bytes: HIGH_WATER_BYTES },
      isPaused: () => flood.problem !== undefined,
      take: (delivery) => pipeline.take(delivery, consumer),
      log,
    });
    const { reload, tables, grown, onRowMissing } = engine;
    const parked = { parking, pipeline, read, apply, progress, conflicts: state.conflicts, log };
    const letters = new ReverseLetters({ ...parked, reload, stop });
    const waiting = new WaitingLetters({ ...parked, flood, onRowMissing });
    pipeline.onSuccess = (lane) => void waiting.retryWaiting(lane);
    const running: RunningSync = {
      consumer,
      pipeline,
      parking,
      letters,
      waiting,
      engine,
      conflicts: state.conflicts,
      inbox: state.inbox,
      flood,
      test: async () => {
        const found = await this.#protection.testNow(place);
        // The next attempt begins with a test of its own, and says what is wrong for as long as it is.
        if (found !== undefined) failed.abort(found);
        return found;
      },
      counts: await state.reverseLetters.counts(),
    };
    this.#running = running;
    this.#state = 'running';
    this.#problem = undefined;
    log.info({ entries: reverse.apply.length, concurrency: reverse.concurrency }, 'reverse sync runs');

    const working = pipeline.run();
    const all = [
      working,
      consumer.run(stop),
      keepHouse(running, { state, horizonMs: reverse.horizon, stop, log }),
      this.#protection.testAgain(place),
      shapes.run({ tables, grown, reload, stop, log }),
    ];
    try {
      await Promise.all(all);
    } catch (error) {
      failed.abort(error);
      throw error;
    } finally {
      await wind(running, { working, deadlineMs: config.shutdownTimeout });
    }
  }
}

/** Nothing new is begun: what has not begun is given back at once, what has is finished or given back at the deadline. */
async function wind(
  { consumer, pipeline }: RunningSync,
  { working, deadlineMs }: { working: Promise<void>; deadlineMs: number },
): Promise<void> {
  const stopBy = performance.now() + deadlineMs;
  const left = (): number => Math.max(0, stopBy - performance.now());
  const notBegun = consumer.unfinished().filter((delivery) => !pipeline.hasBegun(delivery));
  await within(left(), Promise.all([consumer.giveBack(notBegun), working]));
  await consumer.close(AbortSignal.timeout(Math.ceil(left())));
  // What the deadline leaves comes again when its visibility ends.
  await within(Math.max(GIVE_BACK_MS, left()), consumer.giveBack(consumer.unfinished()));
}

function untilStopped(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
