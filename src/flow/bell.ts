import { abortReason } from './supervise.ts';

/** One who looks whether there is something to do. */
export interface Listener {
  /** Whether it has rung since this one heard it last; hears it. */
  hears(): boolean;
  /** Resolves when it rings, or has rung unheard, with true; after that time with false. Rejects when the signal aborts. */
  waits(limitMs: number, signal: AbortSignal): Promise<boolean>;
}

/** Wakes whoever waits for something to do. What rings while one is busy is heard when it waits again. */
export class Bell {
  #rings = 0;
  readonly #waiting = new Set<() => void>();

  ring(): void {
    this.#rings += 1;
    for (const wake of this.#waiting) wake();
  }

  listener(): Listener {
    let heard = this.#rings;
    const hears = (): boolean => {
      const isNew = heard !== this.#rings;
      heard = this.#rings;
      return isNew;
    };
    return { hears, waits: (limitMs, signal) => this.#wait(hears, { limitMs, signal }) };
  }

  #wait(
    hears: () => boolean,
    { limitMs, signal }: { readonly limitMs: number; readonly signal: AbortSignal },
  ): Promise<boolean> {
    if (signal.aborted) return Promise.reject(abortReason(signal));
    if (hears()) return Promise.resolve(true);
    return new Promise((resolve, reject) => {
      const end = (): void => {
        leave();
        resolve(hears());
      };
      const timer = setTimeout(end, limitMs);
      const onAbort = (): void => {
        leave();
        reject(abortReason(signal));
      };
      const leave = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(end);
        signal.removeEventListener('abort', onAbort);
      };
      this.#waiting.add(end);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }
}
