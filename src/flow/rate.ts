import { sleep } from './supervise.ts';

export interface AdaptiveRateOptions {
  /** The limit never falls below this, calls per second, and a second of full use adds at least as much. Default 5. */
  readonly minPerSecond?: number;
  /** What a throttled answer leaves of the limit. Default 0.7. */
  readonly decrease?: number;
  /** What a second of full use adds, as a part of the limit at which the last throttling began. Default 0.05. */
  readonly increase?: number;
  /** Throttled answers within this time after a decrease belong to the same cause: all calls in flight are answered alike. Default 250. */
  readonly settleMs?: number;
  /** Milliseconds that never go back. Default: `performance.now`. */
  readonly now?: () => number;
}

/** Calls that may go out at once after a pause, as a time at the current rate. */
const BURST_MS = 100;
/** Over which the rate in use is measured, for the first throttled answer. */
const WINDOW_MS = 1_000;

/**
 * The rate of calls to a service that throttles, shared by all calls in flight: additive increase, multiplicative decrease. No
 * limit until the first throttled answer; then the rate that was in use, less `decrease`, becomes the limit.
 */
export class AdaptiveRate {
  readonly #minPerSecond: number;
  readonly #decrease: number;
  readonly #increase: number;
  readonly #settleMs: number;
  readonly #now: () => number;
  #limit: number | undefined;
  /** Calls per second that a full second of use adds. */
  #step = 0;
  #decreasedAt = Number.NEGATIVE_INFINITY;
  /** When the next call may go, by the limit alone. */
  #nextAt = Number.NEGATIVE_INFINITY;
  #windowStart: number;
  #windowCalls = 0;
  #previousCalls: number | undefined;

  constructor(options: AdaptiveRateOptions = {}) {
    this.#minPerSecond = options.minPerSecond ?? 5;
    this.#decrease = options.decrease ?? 0.7;
    this.#increase = options.increase ?? 0.05;
    this.#settleMs = options.settleMs ?? 250;
    this.#now = options.now ?? (() => performance.now());
    this.#windowStart = this.#now();
  }

  /** Calls per second allowed now; undefined: unlimited. */
  get limit(): number | undefined {
    return this.#limit;
  }

  /** Counts one call and says how long it must wait, 0 to go at once. Calls are spaced in the order they ask. */
  reserveMs(): number {
    const now = this.#now();
    this.#roll(now);
    this.#windowCalls += 1;
    if (this.#limit === undefined) return 0;
    const goAt = Math.max(this.#nextAt, now - BURST_MS);
    this.#nextAt = goAt + 1_000 / this.#limit;
    return Math.max(0, goAt - now);
  }

  /** Waits for this call's turn; rejects with the signal's reason when it aborts. */
  async acquire(signal: AbortSignal): Promise<void> {
    const waitMs = this.reserveMs();
    if (waitMs > 0) await sleep(waitMs, signal);
  }

  /** A call was answered and nothing of it was throttled. */
  succeeded(): void {
    // Per answer the step over the limit: a second at the limit adds one step, an idle one nothing.
    if (this.#limit !== undefined) this.#limit += this.#step / this.#limit;
  }

  /** A call, or entries of it, were throttled. */
  throttled(): void {
    const now = this.#now();
    if (now - this.#decreasedAt < this.#settleMs) return;
    this.#decreasedAt = now;
    this.#roll(now);
    const from = this.#limit ?? this.#used(now);
    this.#limit = Math.max(this.#minPerSecond, from * this.#decrease);
    this.#step = Math.max(this.#minPerSecond, from * this.#increase);
    // No burst right after a throttled answer.
    this.#nextAt = Math.max(this.#nextAt, now);
  }

  /** Calls per second over about the last second. */
  #used(now: number): number {
    const elapsed = now - this.#windowStart;
    if (this.#previousCalls === undefined) return (this.#windowCalls * WINDOW_MS) / Math.max(elapsed, BURST_MS);
    return this.#previousCalls * (1 - elapsed / WINDOW_MS) + this.#windowCalls;
  }

  #roll(now: number): void {
    const elapsed = now - this.#windowStart;
    if (elapsed < WINDOW_MS) return;
    this.#previousCalls = elapsed < 2 * WINDOW_MS ? this.#windowCalls : 0;
    this.#windowCalls = 0;
    this.#windowStart = elapsed < 2 * WINDOW_MS ? this.#windowStart + WINDOW_MS : now;
  }
}
