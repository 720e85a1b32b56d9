import { toBanyanError } from '../core/errors.ts';
import { backoffMs } from '../flow/supervise.ts';
import { within } from '../flow/within.ts';
import type { ExpiredLetter } from '../state/reverse-letters.ts';
import type { Intent } from './intent.ts';
import { LetterAttempts, type LetterAttemptsOptions } from './letter-attempts.ts';
import type { ParkingFlood } from './parking-flood.ts';
import type { ReversePipeline } from './pipeline.ts';

export interface WaitingLettersOptions extends LetterAttemptsOptions {
  readonly pipeline: Pick<ReversePipeline, 'alone' | 'isFailing'>;
  readonly flood: Pick<ParkingFlood, 'parked'>;
  /** The row of an event has not come within its time. */
  readonly onRowMissing: (intent: Intent) => Promise<void>;
}

/** Letters of a lane that one attempt tries. */
const PAGE = { rows: 50, bytes: 4_000_000 };
/** Letters that may expire in a round. */
const EXPIRED_PER_ROUND = 100;
/** Lanes whose waiting letters a round tries, and how many of them at a time: each takes a worker from the new events. */
const LANES_PER_ROUND = 100;
const RETRIES = 4;
/** One that takes longer is held up by something, and makes room for the next. */
const PATIENCE_MS = 2_000;
/** A lane whose letters could not even be tried, because of a lock or a right, is left alone for longer and longer. */
const RETRY = { baseMs: 1_000, maxMs: 30_000 };
/** A table whose stage takes no events is left alone for so long: a person moves it, and one try tells for all of its lanes. */
const STAGE_OFF_MS = 5_000;

/** Tries again by itself what waits for something to come, until its time is over. */
export class WaitingLetters {
  readonly #options: WaitingLettersOptions;
  readonly #attempts: LetterAttempts;
  /** Lanes that are being tried: one attempt each. */
  readonly #retrying = new Set<string>();
  /** Lanes that the last round has chosen and that have not begun. */
  #due: string[] = [];
  #dueRunning = 0;
  #roundBegins = 0;
  /** Lanes that could not be tried: how often in a row, and when they are tried again. */
  readonly #refused = new Map<string, { readonly failures: number; readonly againMs: number }>();
  /** Tables whose stage took no events, and when they are tried again. */
  readonly #off = new Map<string, number>();

  constructor(options: WaitingLettersOptions) {
    this.#options = options;
    this.#attempts = new LetterAttempts(options);
  }

  /** To be called every second: ends what has waited too long, and begins to try the rest. Does not wait for that: a lane may be locked for long. */
  async round(): Promise<void> {
    const { parking } = this.#options;
    if (parking.waitingLanes.size === 0) return;
    if (this.#due.length === 0) this.#due = this.#nextLanes();
    this.#tryDue();
    const expired = await parking.store.expire(EXPIRED_PER_ROUND);
    for (const letter of expired) await this.#expired(letter);
  }

  #nextLanes(): string[] {
    const { parking, pipeline } = this.#options;
    for (const lane of this.#refused.keys()) if (!parking.isWaiting(lane)) this.#refused.delete(lane);
    const now = performance.now();
    const lanes = [...parking.waitingLanes].filter(
      (lane) =>
        !parking.isDead(lane) &&
        !this.#retrying.has(lane) &&
        // It would wait for that event; when that one passes, the letters are tried.
        !pipeline.isFailing(lane) &&
        !this.#isOff(lane) &&
        (this.#refused.get(lane)?.againMs ?? 0) <= now,
    );
    const begin = this.#roundBegins >= lanes.length ? 0 : this.#roundBegins;
    this.#roundBegins = begin + LANES_PER_ROUND;
    return lanes.slice(begin, begin + LANES_PER_ROUND);
  }

  #isOff(lane: string): boolean {
    // A lane's name begins with its table's; keys are percent-encoded.
    return (this.#off.get(lane.slice(0, lane.lastIndexOf(':'))) ?? 0) > performance.now();
  }

  #tryDue(): void {
    while (this.#dueRunning < RETRIES) {
      const lane = this.#due.shift();
      if (lane === undefined) return;
      this.#dueRunning += 1;
      void within(PATIENCE_MS, this.retryWaiting(lane)).finally(() => {
        this.#dueRunning -= 1;
        this.#tryDue();
      });
    }
  }

  /** Tries what of the lane waits for something to come. Never rejects. */
  async retryWaiting(lane: string): Promise<void> {
    const { parking, pipeline, log } = this.#options;
    if (this.#retrying.has(lane) || parking.isDead(lane) || this.#isOff(lane)) return;
    this.#retrying.add(lane);
    try {
      await pipeline.alone({ lane }, async () => {
        for (const letter of await parking.store.next(lane, { ...PAGE, only: 'waiting' })) {
          // Not before something that waits for a person.
          if (parking.isDead(lane)) return;
          const attempt = await this.#attempts.try(letter, { byOperator: false });
          if (attempt.status !== 'skipped') continue;
          this.#off.set(letter.table, performance.now() + STAGE_OFF_MS);
          break;
        }
        await parking.reconcile(lane);
      });
      this.#refused.delete(lane);
    } catch (error) {
      const failures = this.#refused.get(lane)?.failures ?? 0;
      this.#refused.set(lane, {
        failures: failures + 1,
        againMs: performance.now() + backoffMs(failures, RETRY),
      });
      const { kind, code, message } = toBanyanError(error, 'trying waiting events again');
      log.debug({ kind, code }, message);
    } finally {
      this.#retrying.delete(lane);
    }
  }

  /** It is said in `dead_letter` already, so whatever fails here must not keep the others from being told. */
  async #expired(letter: ExpiredLetter): Promise<void> {
    const { parking, flood, onRowMissing, log } = this.#options;
    const { id, table, kind, group } = letter;
    if (group !== undefined) parking.expired(group);
    log.warn(
      { letter: id, table, kind },
      'what a parked event waits for has not come in time: it waits for a person now',
    );
    flood.parked({ kind, code: undefined, message: `what it waits for has not come to ${table} in time` });
    if (kind !== 'row-missing') return;
    try {
      const intent = this.#attempts.intentOf(letter);
      if (intent !== undefined) await onRowMissing(intent);
    } catch (thrown) {
      const error = toBanyanError(thrown, 'reading a letter');
      log.warn(
        { letter: id, table, kind: error.kind, code: error.code },
        `a missing row is not recorded as a conflict: ${error.message}`,
      );
    }
  }
}
