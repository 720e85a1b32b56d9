import type { BackfillProgress } from '../core/status.ts';

/**
 * `backfill of shop.orders: 3,200 of ~8,000 rows (~40 %), 1,450/s, ~3 s left`. What is estimated has a `~`: the number of rows is the planner's guess, and
 * with it the share and the time that is left.
 */
export function progressLine(run: BackfillProgress): string {
  const { table, status, rowsSent, rowsEstimated, ratePerSecond, etaSeconds, reason } = run;
  const head = `backfill of ${table}:`;
  const why = reason === undefined ? '' : `, ${reason}`;
  if (status === 'completed') return `${head} completed, ${grouped(rowsSent)} rows`;
  const parts = [`${head} ${rows(rowsSent, rowsEstimated)}`];
  if (status !== 'running') return `${parts.join('')}, ${status}${why}`;
  if (ratePerSecond !== undefined) parts.push(`${grouped(Math.round(ratePerSecond))}/s`);
  if (etaSeconds !== undefined) parts.push(`~${duration(etaSeconds)} left`);
  return `${parts.join(', ')}${why}`;
}

function rows(sent: number, estimated: number | undefined): string {
  if (estimated === undefined) return `${grouped(sent)} rows`;
  const share = estimated === 0 ? '' : ` (~${Math.min(99, Math.floor((sent / estimated) * 100))} %)`;
  return `${grouped(sent)} of ~${grouped(estimated)} rows${share}`;
}

function grouped(value: number): string {
  return value.toLocaleString('en-US');
}

function duration(seconds: number): string {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
