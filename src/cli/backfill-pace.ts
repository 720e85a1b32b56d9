import type { BackfillRun } from '../state/backfills.ts';

/** How fast a run is, on average since it began; pauses that are over count. */
export interface Pace {
  readonly rowsPerSecond: number | undefined;
  /** Until all estimated rows are sent; undefined where it does not run, or nothing is known of them. */
  readonly etaSeconds: number | undefined;
}

export function paceOf(run: BackfillRun, nowMs: number): Pace {
  // Nobody noted when a pause began.
  if (run.startedAt === undefined || run.status === 'paused')
    return { rowsPerSecond: undefined, etaSeconds: undefined };
  const endMs = run.finishedAt === undefined ? nowMs : Date.parse(run.finishedAt);
  const seconds = (endMs - Date.parse(run.startedAt)) / 1_000;
  const rowsPerSecond = run.rowsSent > 0 && seconds > 0 ? run.rowsSent / seconds : undefined;
  const left = (run.rowsEstimated ?? 0) - run.rowsSent;
  const isKnown = run.status === 'running' && rowsPerSecond !== undefined && left > 0;
  return { rowsPerSecond, etaSeconds: isKnown ? left / rowsPerSecond : undefined };
}

/** `40 s`, `12 min`, `3.5 h`: as exact as an estimate is. */
export function roughly(seconds: number): string {
  if (seconds < 100) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 6_000) return `${Math.round(seconds / 60)} min`;
  return seconds < 360_000 ? `${(seconds / 3_600).toFixed(1)} h` : `${(seconds / 86_400).toFixed(1)} days`;
}

/** `1,200 of ~2,500`: what is sent, and what the planner's statistics expect; they are never exact. */
export function progressOf({ rowsSent, rowsEstimated }: BackfillRun): string {
  const sent = rowsSent.toLocaleString('en-US');
  return rowsEstimated === undefined ? sent : `${sent} of ~${rowsEstimated.toLocaleString('en-US')}`;
}
