const WINDOW_MS = 60_000;

/**
 * Tells when more than `max` events were parked for their own fault within a sliding minute: then it is one mistake in the mapping
 * rather than single bad rows, and parking on would copy all traffic into the legacy database.
 */
export class ParkingMeter {
  /** When the last `max` events were parked, as a ring. */
  readonly #times: Float64Array;
  readonly #now: () => number;
  #count = 0;

  /** @param now milliseconds that never go back */
  constructor(max: number, now: () => number = () => performance.now()) {
    this.#times = new Float64Array(max);
    this.#now = now;
  }

  /** Counts one event; true: it is one too many. */
  isFlood(): boolean {
    const now = this.#now();
    const slot = this.#count % this.#times.length;
    const oldest = this.#times[slot] ?? 0;
    const full = this.#count >= this.#times.length;
    this.#times[slot] = now;
    this.#count += 1;
    return full && now - oldest < WINDOW_MS;
  }
}
