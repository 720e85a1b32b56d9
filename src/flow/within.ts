import { setTimeout as pause } from 'node:timers/promises';
import { abortReason } from './supervise.ts';

/** Waits for `promise`, but not longer; its failure counts as its end. For what is to be tidied up and may never answer. */
export async function within(limitMs: number, promise: Promise<unknown>): Promise<void> {
  const limit = new AbortController();
  try {
    await Promise.race([
      promise.catch(() => undefined),
      pause(limitMs, undefined, { signal: limit.signal }).catch(() => undefined),
    ]);
  } finally {
    limit.abort();
  }
}

/** Whether `promise` resolves in time; rejects as it does. It goes on for others. */
export async function resolvesWithin(limitMs: number, promise: Promise<unknown>): Promise<boolean> {
  const limit = new AbortController();
  try {
    return await Promise.race([
      promise.then(() => true),
      pause(limitMs, false, { signal: limit.signal }).catch(() => false),
    ]);
  } finally {
    limit.abort();
  }
}

/** Waits for `promise` until the signal aborts, then rejects with its reason; the promise goes on for others. */
export async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  // Also where nobody waits for it any more: its failure must not end the process.
  promise.catch(() => undefined);
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(abortReason(signal));
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
