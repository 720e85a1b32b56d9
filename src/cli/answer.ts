import { BanyanError } from '../core/errors.ts';
import type { RequestOutcome, RequestStore } from '../state/requests.ts';
import type { Output } from './output.ts';
import { shutdownOnSignal } from './signals.ts';

/** Waits for what the worker answers to a request. Throws `slot-in-use` where none took it; then none ever will. */
export async function answerOf(
  id: number,
  requests: RequestStore,
  { timeoutMs, output }: { readonly timeoutMs: number; readonly output: Output },
): Promise<Exclude<RequestOutcome, { readonly status: 'unclaimed' }>> {
  using shutdown = shutdownOnSignal();
  const progress = showProgress(output);
  try {
    const outcome = await requests.await(id, { timeoutMs, signal: shutdown.signal });
    if (outcome.status !== 'unclaimed') return outcome;
    throw new BanyanError('slot-in-use', `no worker took the request within ${timeoutMs / 1_000} s; it is withdrawn`, {
      remedy: 'is `banyan run` up, and neither halted nor standing by? its /readyz says so',
    });
  } finally {
    progress.end();
  }
}

/** A line that grows while a person waits; nothing where nobody looks. */
function showProgress(output: Output): { end(): void } {
  if (output.json || !process.stderr.isTTY) return { end: () => undefined };
  process.stderr.write('waiting for the worker ');
  const timer = setInterval(() => process.stderr.write('.'), 1_000);
  let ended = false;
  return {
    end() {
      clearInterval(timer);
      if (!ended) process.stderr.write('\r\u001B[K');
      ended = true;
    },
  };
}
