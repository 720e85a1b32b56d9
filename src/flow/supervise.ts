export interface Backoff {
  /** Longest wait before the second attempt. */
  readonly baseMs: number;
  /** Longest wait at all. */
  readonly maxMs: number;
  /** 0 to 1, exclusive. Default: `Math.random`. */
  readonly random?: () => number;
}

/**
 * How long to wait after failed attempt number `attempt` (from 0): anything between 0 and a limit that doubles each time ("full
 * jitter"), so that many that failed together do not come back together.
 */
export function backoffMs(attempt: number, { baseMs, maxMs, random = Math.random }: Backoff): number {
  return random() * Math.min(maxMs, baseMs * 2 ** attempt);
}

/** Resolves after `ms`; rejects with the signal's reason as soon as it aborts. */
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(abortReason(signal));
      return;
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal.addEventListener('abort', onAbort, { once: true });
    function onAbort(): void {
      clearTimeout(timer);
      reject(abortReason(signal));
    }
  });
}

export interface RetryOptions extends Backoff {
  readonly signal: AbortSignal;
  /** Whether the same again may help. False: the error is thrown to the caller. */
  readonly isRetriable: (error: unknown) => boolean;
  /** Before each wait, for log and status; `attempt` counts from 0. */
  readonly onRetry?: (error: unknown, attempt: number, waitMs: number) => void;
}

/** Runs the task until it succeeds, an error is not worth another attempt, or the signal aborts. */
export async function retry<T>(task: (signal: AbortSignal) => Promise<T>, options: RetryOptions): Promise<T> {
  const { signal, isRetriable, onRetry } = options;
  for (let attempt = 0; ; attempt += 1) {
    signal.throwIfAborted();
    try {
      return await task(signal);
    } catch (error) {
      if (signal.aborted || !isRetriable(error)) throw error;
      const waitMs = backoffMs(attempt, options);
      onRetry?.(error, attempt, waitMs);
      await sleep(waitMs, signal);
    }
  }
}

export interface ShutdownSteps {
  /** Lets work in flight end by itself; its signal aborts at the deadline. */
  readonly drain: (signal: AbortSignal) => Promise<void>;
  /** Ends what is left and releases everything. Runs in any case, after the drain. */
  readonly abort: () => Promise<void>;
  readonly deadlineMs: number;
}

/** A stop in two steps: drain, and at the deadline abort. An error of the drain itself is thrown after the abort. */
export async function shutDown({ drain, abort, deadlineMs }: ShutdownSteps): Promise<'drained' | 'aborted'> {
  const deadline = new AbortController();
  const timer = setTimeout(() => deadline.abort(new Error('the shutdown deadline has passed')), deadlineMs);
  try {
    await drain(deadline.signal);
    return 'drained';
  } catch (error) {
    if (!deadline.signal.aborted) throw error;
    return 'aborted';
  } finally {
    clearTimeout(timer);
    await abort();
  }
}

/** What an aborted signal rejects with, as an Error in any case: a reason may be any value. */
export function abortReason(signal: AbortSignal): Error {
  const reason: unknown = signal.reason;
  return reason instanceof Error ? reason : new DOMException('aborted', 'AbortError');
}
