import { abortReason } from './supervise.ts';

interface Waiter {
  readonly holds: () => boolean;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** Lets callers wait until something holds of a changing object; its owner says when to look again. */
export class Condition {
  readonly #waiters = new Set<Waiter>();

  /** Resolves once `holds` is true; rejects with the signal's reason when it aborts first, or with the error of `fail`. */
  wait(holds: () => boolean, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.reject(abortReason(signal));
    if (holds()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        holds,
        resolve: () => {
          leave();
          resolve();
        },
        reject: (error) => {
          leave();
          reject(error);
        },
      };
      const onAbort = (): void => waiter.reject(abortReason(signal));
      const leave = (): void => {
        this.#waiters.delete(waiter);
        signal.removeEventListener('abort', onAbort);
      };
      this.#waiters.add(waiter);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** The object has changed. Costs nothing while nobody waits. */
  changed(): void {
    if (this.#waiters.size === 0) return;
    for (const waiter of this.#waiters) if (waiter.holds()) waiter.resolve();
  }

  /** Nobody who waits now will see it hold. */
  fail(error: Error): void {
    for (const waiter of this.#waiters) waiter.reject(error);
  }
}
