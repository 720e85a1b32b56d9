import { setTimeout as pause } from 'node:timers/promises';

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
