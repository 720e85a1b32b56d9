import type { Logger } from 'pino';
import { toBanyanError } from '../core/errors.ts';
import { sleep } from '../flow/supervise.ts';
import type { State } from '../state/state.ts';
import type { RunningSync } from './sync.ts';

/** What waits for something to come. */
const ROUND_MS = 1_000;
const COUNT_MS = 5_000;
const HELD_MS = 10_000;
const MINUTE_MS = 60_000;
/** Rows of the inbox forgotten in a statement, and statements in a minute: a day's worth may not lock the table for long. */
const PURGE_ROWS = 1_000;
const PURGES = 100;

export interface HousekeepingOptions {
  readonly state: Pick<State, 'inbox' | 'reverseLetters'>;
  /** `reverse.horizon` */
  readonly horizonMs: number;
  readonly stop: AbortSignal;
  readonly log: Logger;
}

/** What is done beside the queue, now and then. Resolves when it is stopped; what fails is tried the next time. */
export async function keepHouse(running: RunningSync, options: HousekeepingOptions): Promise<void> {
  const { state, horizonMs, stop, log } = options;
  const attempt = async (task: () => unknown): Promise<void> => {
    try {
      await task();
    } catch (error) {
      if (stop.aborted) return;
      const { kind, code, message } = toBanyanError(error, 'housekeeping of reverse sync');
      log.info({ kind, code }, message);
    }
  };
  const every = async (intervalMs: number, task: () => unknown): Promise<void> => {
    for (;;) {
      try {
        await sleep(intervalMs, stop);
      } catch {
        return;
      }
      await attempt(task);
    }
  };
  const purge = (): Promise<void> => purgeInbox(state.inbox, { horizonMs, stop });
  const retryBehind = (): Promise<void> => running.letters.retryBehind();
  await Promise.all([
    every(ROUND_MS, () => running.waiting.round()),
    every(COUNT_MS, async () => {
      running.counts = await state.reverseLetters.counts();
    }),
    every(HELD_MS, () => running.letters.retryHeld()),
    // At once too: the worker before this one may have been killed in the middle.
    attempt(retryBehind).then(() => every(MINUTE_MS, retryBehind)),
    // The same: a worker that never runs for a minute would never forget anything.
    attempt(purge).then(() => every(MINUTE_MS, purge)),
  ]);
}

async function purgeInbox(
  inbox: State['inbox'],
  { horizonMs, stop }: { horizonMs: number; stop: AbortSignal },
): Promise<void> {
  for (let batch = 0; batch < PURGES && !stop.aborted; batch += 1) {
    if ((await inbox.purge(horizonMs / 1_000, PURGE_ROWS)) < PURGE_ROWS) return;
  }
}
