import type { ApplyOutcome } from './intent.ts';

/** What became of messages and events since the worker started. An event counts once for each entry that took it. */
export interface ReverseProgress {
  /** Messages, repeats included. */
  received: number;
  /** Messages that no entry took. */
  unmatched: number;
  /** Messages that no event could be read from. */
  invalid: number;
  readonly applied: Record<'echo' | 'correction' | 'unchanged', number>;
  duplicate: number;
  stale: number;
  skipped: number;
  refused: number;
  /** Conflicts, whoever won. */
  conflicts: number;
  /** Events set aside for a person, those behind them included. */
  parked: number;
  /** Events set aside until what they need has come. */
  waited: number;
  /** Events that were tried again: deadlocks, lost connections. */
  retried: number;
  /** How old the event that was applied last was then, by its own time; undefined: none was, or it names no time. */
  lagSeconds: number | undefined;
}

export function noReverseProgress(): ReverseProgress {
  return {
    received: 0,
    unmatched: 0,
    invalid: 0,
    applied: { echo: 0, correction: 0, unchanged: 0 },
    duplicate: 0,
    stale: 0,
    skipped: 0,
    refused: 0,
    conflicts: 0,
    parked: 0,
    waited: 0,
    retried: 0,
    lagSeconds: undefined,
  };
}

/**
 * Counts what is done. What failed is counted where it is known what becomes of it.
 *
 * @param eventTime of an event that comes from the queue: one that was set aside waited for something else
 */
export function countOutcome(progress: ReverseProgress, outcome: ApplyOutcome, eventTime?: string): void {
  switch (outcome.status) {
    case 'applied':
      if (eventTime !== undefined) progress.lagSeconds = Math.max(0, Date.now() - Date.parse(eventTime)) / 1_000;
      progress.applied[outcome.verdict] += 1;
      if (outcome.conflict !== undefined) progress.conflicts += 1;
      return;
    case 'refused':
      progress.refused += 1;
      progress.conflicts += 1;
      return;
    case 'duplicate':
    case 'stale':
    case 'skipped':
      progress[outcome.status] += 1;
      return;
    case 'failed':
  }
}
