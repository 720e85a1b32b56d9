import type { BackfillReport } from '../core/progress.ts';
import type { BackfillProgress } from '../core/status.ts';
import type { BackfillRun } from '../state/backfills.ts';

/** Until it is complete nobody knows that it is: the planner may have counted too few. */
const NOT_YET = 0.99;

/** @param live the same run as a worker sees it, which alone knows how fast it is now */
export function backfillReport(run: BackfillRun, live: BackfillProgress | undefined): BackfillReport {
  const isLive = live?.run === run.id;
  // The worker looks seldom: what state says is never older.
  const moves = isLive && run.status === 'running' ? live : undefined;
  return {
    status: run.status,
    rowsSent: run.rowsSent,
    rowsEstimated: run.rowsEstimated,
    share: shareOf(run),
    ratePerSecond: moves?.ratePerSecond,
    etaSeconds: moves?.etaSeconds,
    reason: run.reason,
    finishedAt: run.finishedAt,
  };
}

function shareOf({ status, rowsSent, rowsEstimated }: BackfillRun): number | undefined {
  if (status === 'completed') return 1;
  if (rowsEstimated === undefined || rowsEstimated <= 0) return undefined;
  return Math.min(NOT_YET, rowsSent / rowsEstimated);
}
