import { abortReason } from '../../flow/supervise.ts';

/** Events of one chunk that are not settled. */
export class ChunkAccount {
  #open = 0;
  #wake: (() => void) | undefined;

  open(): void {
    this.#open += 1;
  }

  settle(): void {
    this.#open -= 1;
    if (this.#open === 0) this.#wake?.();
  }

  /** Resolves when nothing is open; rejects when the signal aborts. Once, after the last `open`. */
  settled(signal: AbortSignal): Promise<void> {
    if (this.#open === 0) return Promise.resolve();
    if (signal.aborted) return Promise.reject(abortReason(signal));
    return new Promise((resolve, reject) => {
      const onAbort = (): void => reject(abortReason(signal));
      signal.addEventListener('abort', onAbort, { once: true });
      this.#wake = () => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      };
    });
  }
}
