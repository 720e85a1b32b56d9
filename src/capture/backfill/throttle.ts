import type { LiveSession } from '../upkeep.ts';

/** Past these a backfill waits: live changes go first, and the legacy database must not fill up. */
const MAX_LAG_BYTES = 64_000_000;
const MAX_LAG_SECONDS = 5;
/** Share of `legacy.walBudget` that the slot may hold. */
const WAL_SHARE = 0.5;

/** Why a backfill must not read the next chunk now; undefined: it may. */
export function throttleReason(session: LiveSession, table: string): string | undefined {
  const { slot, config, dispatcher, routes, progress } = session;
  if (routes.heldReason(table) !== undefined) return `waiting: ${table} is held (see banyan dead-letters)`;
  const { state } = dispatcher.status;
  if (state !== 'sending') return 'waiting: the bus takes nothing at the moment';
  const observed = slot?.observed;
  if (observed !== undefined) {
    if (observed.heldBytes > config.legacy.walBudget * WAL_SHARE) {
      return `waiting: the slot holds ${mb(observed.heldBytes)} MB of WAL, more than half of legacy.walBudget`;
    }
    if (observed.lagBytes > MAX_LAG_BYTES) {
      return `waiting: live changes lag by ${mb(observed.lagBytes)} MB of WAL (limit ${mb(MAX_LAG_BYTES)} MB)`;
    }
  }
  const lagSeconds = behindSeconds(progress);
  if (lagSeconds > MAX_LAG_SECONDS)
    return `waiting: live changes lag by ${lagSeconds.toFixed(1)} s (limit ${MAX_LAG_SECONDS} s)`;
  return undefined;
}

/** Of what arrives now: a late transaction that was the last one says nothing any more, and waiting for a newer one would be for ever. */
function behindSeconds({ lastArrivalMs, lastCommitMicros, idleAtMs }: LiveSession['progress']): number {
  if (lastArrivalMs === undefined || lastCommitMicros === undefined) return 0;
  const isOver = (idleAtMs ?? 0) >= lastArrivalMs || Date.now() - lastArrivalMs > MAX_LAG_SECONDS * 1_000;
  if (isOver) return 0;
  return Math.max(0, lastArrivalMs - Number(lastCommitMicros / 1_000n)) / 1_000;
}

function mb(bytes: number): number {
  return Math.round(bytes / 1_000_000);
}
