import { Condition } from '../../flow/condition.ts';

interface MovedRow {
  readonly key: readonly string[];
  /** Lets the stream's position pass the change: not before the row was sent. */
  readonly settle: () => void;
}

/** Keys read again at a time: whatever is in their rows is in memory together. */
const KEYS_PER_READ = 100;
/** Above that the table is read from its beginning again, so that an UPDATE of all keys costs no memory. */
const MAX_ROWS = 50_000;

/** What was read can not be gone on with: the run's parts must begin anew, then `forget` lets the stream go on. */
export class BeginAgain extends Error {}

/**
 * Rows that got another key while their table is being read, by a change that made no whole event: under the new key they may stand where the backfill
 * has been already. The stream is not confirmed past such a change before the row was read and sent, so a crash forgets none.
 */
export class MovedRows {
  readonly #changed = new Condition();
  #rows: MovedRow[] = [];
  #sending = 0;
  /** Not every row is known any more. The stream stays before the first that is, and with it before all that are not. */
  #isLost = false;
  #isOver = false;

  add(key: readonly string[], settle: () => void): void {
    if (this.#isOver || this.#isLost) {
      settle();
      return;
    }
    this.#isLost = this.#rows.length >= MAX_ROWS;
    this.#rows.push({ key, settle });
    this.#changed.changed();
  }

  /** A change that can not be judged, such as one of a table that is held. */
  lose(settle: () => void): void {
    this.add([], settle);
    this.#isLost ||= !this.#isOver;
  }

  /** Nothing is left to be sent. */
  drained(signal: AbortSignal): Promise<void> {
    return this.#changed.wait(() => this.#rows.length === 0 && this.#sending === 0, signal);
  }

  /** The parts begin anew: what they read will be newer than all of these. */
  forget(): void {
    const rows = this.#rows;
    this.#rows = [];
    this.#isLost = false;
    for (const { settle } of rows) settle();
    this.#changed.changed();
  }

  /** Nobody will send them: the run is over, or given up. */
  giveUp(): void {
    this.#isOver = true;
    this.forget();
  }

  /**
   * Sends what comes, until the signal aborts. Rejects with what went wrong; what was not sent then is the next call's. One call at a time.
   */
  async serve(send: (keys: readonly (readonly string[])[]) => Promise<unknown>, signal: AbortSignal): Promise<never> {
    for (;;) {
      await this.#changed.wait(() => this.#rows.length > 0, signal);
      if (this.#isLost) throw new BeginAgain('its rows changed in a way that can not be followed one by one');
      const batch = this.#rows.slice(0, KEYS_PER_READ);
      this.#sending = batch.length;
      try {
        await send(batch.map(({ key }) => key));
        // Given up meanwhile, they are settled.
        if (this.#rows[0] === batch[0]) {
          this.#rows = this.#rows.slice(batch.length);
          for (const { settle } of batch) settle();
        }
      } finally {
        this.#sending = 0;
        this.#changed.changed();
      }
    }
  }
}
