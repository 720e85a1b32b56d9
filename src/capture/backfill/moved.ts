import { Condition } from '../../flow/condition.ts';

interface MovedRow {
  readonly key: readonly string[];
  /** Lets the stream's position pass the change: not before the row was sent. */
  readonly settle: () => void;
}

/** Keys read again at a time. */
const KEYS_PER_READ = 500;

/**
 * Rows that got another key while their table is being read, by a change that made no whole event: under the new key they may stand where the backfill
 * has been already. The stream is not confirmed past such a change before the row was read and sent, so a crash forgets none.
 */
export class MovedRows {
  readonly #changed = new Condition();
  #rows: MovedRow[] = [];
  #sending = 0;
  #isOver = false;

  add(key: readonly string[], settle: () => void): void {
    if (this.#isOver) {
      settle();
      return;
    }
    this.#rows.push({ key, settle });
    this.#changed.changed();
  }

  /** Nothing is left to be sent. */
  drained(signal: AbortSignal): Promise<void> {
    return this.#changed.wait(() => this.#rows.length === 0 && this.#sending === 0, signal);
  }

  /** Nobody will send them: the run is given up. */
  giveUp(): void {
    this.#isOver = true;
    for (const { settle } of this.#rows) settle();
    this.#rows = [];
  }

  /** Sends what comes, until the signal aborts. Rejects with what went wrong; what was not sent then is the next call's. */
  async serve(send: (keys: readonly (readonly string[])[]) => Promise<unknown>, signal: AbortSignal): Promise<never> {
    for (;;) {
      await this.#changed.wait(() => this.#rows.length > 0, signal);
      const batch = this.#rows.slice(0, KEYS_PER_READ);
      this.#sending = batch.length;
      try {
        await send(batch.map(({ key }) => key));
        this.#rows = this.#rows.slice(batch.length);
        for (const { settle } of batch) settle();
      } finally {
        this.#sending = 0;
        this.#changed.changed();
      }
    }
  }
}
