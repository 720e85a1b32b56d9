import type { Logger } from 'pino';
import { BanyanError, toBanyanError } from '../core/errors.ts';
import { type Backoff, retry } from '../flow/supervise.ts';
import { ParkingMeter } from '../flow/parking-meter.ts';

/** An event to set aside; `error` undefined: nothing is wrong with it, an earlier one of its key is parked. */
export interface ParkItem<D> {
  readonly delivery: D;
  readonly error: BanyanError | undefined;
}

export interface ParkerOptions<D> {
  /** Durable when it resolves. Called again with the same items after an error that retries. */
  readonly park: (items: readonly ParkItem<D>[]) => Promise<void>;
  /** Whether what was to be parked behind an earlier one of its key still has to be: a redrive may have let the key go meanwhile. */
  readonly isBehind: (delivery: D) => boolean;
  /** It has not: its turn to be sent. */
  readonly onFree: (delivery: D) => void;
  /** What waits only for this delivery and goes the same way: parked in the same call, or a hot key would cost one call an event. */
  readonly followerOf: (delivery: D) => D | undefined;
  readonly maxParkedPerMinute: number;
  readonly onParked: (deliveries: readonly D[]) => void;
  readonly onHalt: (error: BanyanError) => void;
  readonly backoff: Backoff;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** One call of `park` takes at most this many: one statement of moderate size. */
const ITEMS_PER_CALL = 500;

/** Hands what can not be sent to `park`, in the order it was added, one call at a time, until each is durable. */
export class Parker<D> {
  readonly #options: ParkerOptions<D>;
  readonly #meter: ParkingMeter;
  #queue: ParkItem<D>[] = [];
  #running: Promise<void> | undefined;
  #halted = false;

  constructor(options: ParkerOptions<D>) {
    this.#options = options;
    this.#meter = new ParkingMeter(options.maxParkedPerMinute);
  }

  add(delivery: D, error: BanyanError | undefined): void {
    if (error !== undefined && !this.admit(error)) return;
    this.#queue.push({ delivery, error });
    this.#running ??= this.#run();
  }

  /** Counts one event that is parked for its own fault; false: that was one too many, and everything halts. */
  admit(error: BanyanError): boolean {
    if (this.#halted) return false;
    // What is held with its table has a limit of its own (`holdLimit`).
    if (error.reaction !== 'park' || !this.#meter.isFlood()) return true;
    const { maxParkedPerMinute, onHalt } = this.#options;
    this.halt();
    onHalt(
      new BanyanError(
        'parking-flood',
        `more than ${maxParkedPerMinute} events had to be parked within a minute, the last one because: ${error.message}`,
        { context: { lastKind: error.kind }, ...(error.code === undefined ? {} : { code: error.code }) },
      ),
    );
    return false;
  }

  /** Parks nothing more; a call that is under way may still succeed. */
  halt(): void {
    this.#halted = true;
    this.#queue = [];
  }

  /** Resolves when no call is under way. */
  async idle(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    const { park, onParked, onHalt, signal } = this.#options;
    // Whoever becomes ready in the same turn belongs into the same call.
    await Promise.resolve();
    try {
      while (this.#queue.length > 0) {
        const items = this.#takeItems();
        if (items.length === 0) continue;
        await retry(() => park(items), {
          ...this.#options.backoff,
          signal,
          isRetriable,
          onRetry: (error, attempt, waitMs) => this.#logRetry(error, { attempt, waitMs, items: items.length }),
        });
        onParked(items.map(({ delivery }) => delivery));
      }
    } catch (error) {
      if (signal.aborted) return;
      this.halt();
      onHalt(toBanyanError(error, 'parking events'));
    } finally {
      this.#running = undefined;
    }
  }

  #takeItems(): readonly ParkItem<D>[] {
    const { isBehind, onFree, followerOf } = this.#options;
    const items: ParkItem<D>[] = [];
    while (items.length < ITEMS_PER_CALL) {
      const first = this.#queue.shift();
      if (first === undefined) break;
      if (first.error === undefined && !isBehind(first.delivery)) {
        onFree(first.delivery);
        continue;
      }
      items.push(first);
      // What waits behind an event of its own fault is not parked for sure: that one's letter may have been given up before.
      if (first.error !== undefined) continue;
      let { delivery } = first;
      // Asked for only where there is room for it: the one that is named goes with this call.
      while (items.length < ITEMS_PER_CALL) {
        const follower = followerOf(delivery);
        if (follower === undefined) break;
        items.push({ delivery: follower, error: undefined });
        delivery = follower;
      }
    }
    return items;
  }

  #logRetry(thrown: unknown, facts: { attempt: number; waitMs: number; items: number }): void {
    const { kind, message } = toBanyanError(thrown, 'parking events');
    this.#options.log.warn(
      { kind, ...facts, waitMs: Math.round(facts.waitMs) },
      `parking failed, trying again: ${message}`,
    );
  }
}

/** What passes by itself. Anything else is for the session to end by, since a person must act and must be told. */
function isRetriable(error: unknown): boolean {
  return error instanceof BanyanError && error.reaction === 'retry';
}
