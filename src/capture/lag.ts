import type { Config } from '../config/schema.ts';
import type { Lsn } from '../core/lsn.ts';
import type { StreamProgress } from './pipeline.ts';

export interface LagMeterOptions {
  /** How far the stream has come; undefined: not known. */
  readonly received: () => Lsn | undefined;
  /** `progress.gates.lag.atMost` */
  readonly calmMs: number;
  /** What was measured before that is worth nothing any more. */
  readonly staleMs: number;
  readonly now?: () => number;
}

/** Beside three heartbeats, how long what was measured is good for. */
const STALE_MS = 15_000;

/** For one session: what an earlier one received says nothing of this one. */
export function openLagMeter({ legacy, progress }: Config, stream: StreamProgress): LagMeter {
  const before = stream.receivedLsn;
  return new LagMeter({
    received: () => (stream.receivedLsn === before ? undefined : stream.receivedLsn),
    calmMs: progress.gates.lag.atMost,
    staleMs: 3 * legacy.heartbeat + STALE_MS,
  });
}

/**
 * How far the stream is behind, by our clock alone. What is measured goes through the stream itself: a mark of ours, or, where nothing but we ourselves would move the
 * WAL, the end of it as it was looked at.
 */
export class LagMeter {
  readonly #options: LagMeterOptions;
  readonly #now: () => number;
  /** On its way, since when. */
  #under: { readonly sinceMs: number; readonly lsn: Lsn | undefined } | undefined;
  #lastMs = 0;
  #measuredAtMs: number | undefined;
  #passedUntilMs: number | undefined;
  #calmSinceMs: number | undefined;

  constructor(options: LagMeterOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /** One is on its way: the next is worth nothing before it has come. */
  get isWaiting(): boolean {
    this.#look();
    return this.#under !== undefined;
  }

  /** A mark is about to be set. */
  sets(): void {
    this.#under = { sinceMs: this.#now(), lsn: undefined };
  }

  /** It could not be set. */
  gaveUp(): void {
    this.#under = undefined;
  }

  /** The mark has come out of the stream. */
  arrived(): void {
    if (this.#under !== undefined) this.#passed(this.#under.sinceMs);
  }

  /** The WAL ended there, at this moment. */
  sawEnd(lsn: Lsn, atMs: number): void {
    const received = this.#options.received();
    if (received !== undefined && received >= lsn) this.#passed(atMs, 0);
    else this.#under = { sinceMs: atMs, lsn };
  }

  /** Everything that was committed before this moment has come, ms; undefined: not known. */
  get passedUntilMs(): number | undefined {
    this.#look();
    return this.#passedUntilMs;
  }

  /** undefined: nothing was measured for long. */
  get lagMs(): number | undefined {
    this.#look();
    const now = this.#now();
    const waits = this.#under === undefined ? 0 : now - this.#under.sinceMs;
    // Nothing has come yet: what is on its way says how far behind it is at least, once that is long.
    if (this.#measuredAtMs === undefined) return waits > this.#options.calmMs ? waits : undefined;
    if (this.#under === undefined && now - this.#measuredAtMs > this.#options.staleMs) return undefined;
    return Math.max(this.#lastMs, waits);
  }

  /** Since when it has not been more than `calmMs`, ISO 8601; undefined: it is now, or is not known. */
  get calmSince(): string | undefined {
    const lag = this.lagMs;
    if (lag === undefined || lag > this.#options.calmMs) this.#calmSinceMs = undefined;
    return this.#calmSinceMs === undefined ? undefined : new Date(this.#calmSinceMs).toISOString();
  }

  #look(): void {
    const { lsn, sinceMs } = this.#under ?? {};
    const received = this.#options.received();
    if (lsn === undefined || sinceMs === undefined || received === undefined || received < lsn) return;
    this.#passed(sinceMs);
  }

  #passed(sinceMs: number, lagMs = Math.max(0, this.#now() - sinceMs)): void {
    const { calmMs, staleMs } = this.#options;
    const now = this.#now();
    const isGap = this.#measuredAtMs === undefined || sinceMs - this.#measuredAtMs > staleMs;
    this.#under = undefined;
    this.#lastMs = lagMs;
    this.#measuredAtMs = now;
    this.#passedUntilMs = sinceMs;
    if (lagMs > calmMs) this.#calmSinceMs = undefined;
    else if (isGap || this.#calmSinceMs === undefined) this.#calmSinceMs = now;
  }
}
