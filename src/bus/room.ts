import { Condition } from '../flow/condition.ts';

export interface HighWater {
  readonly items: number;
  readonly bytes: number;
}

/**
 * How much is on its way, and whether more should be taken in. Full at the high water mark; there is room again at half of it, so that the
 * source is not stopped and started for every batch.
 */
export class Room {
  readonly #high: HighWater;
  readonly #condition = new Condition();
  #items = 0;
  #bytes = 0;
  #full = false;

  constructor(high: HighWater) {
    this.#high = high;
  }

  get hasRoom(): boolean {
    return !this.#full;
  }

  get items(): number {
    return this.#items;
  }

  enter(bytes: number): void {
    this.#items += 1;
    this.#bytes += bytes;
    if (this.#items >= this.#high.items || this.#bytes >= this.#high.bytes) this.#full = true;
  }

  leave(items: number, bytes: number): void {
    this.#items -= items;
    this.#bytes -= bytes;
    if (!this.#full || this.#items > this.#high.items / 2 || this.#bytes > this.#high.bytes / 2) return;
    this.#full = false;
    this.#condition.changed();
  }

  /** Resolves when there is room; rejects with the signal's reason. */
  wait(signal: AbortSignal): Promise<void> {
    return this.#condition.wait(() => !this.#full, signal);
  }

  close(error: Error): void {
    this.#condition.fail(error);
  }
}
