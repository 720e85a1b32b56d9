import type { LiveSession } from '../upkeep.ts';

/** Past these a backfill waits: live changes go first, and the legacy database must not fill up. */
const MAX_LAG_BYTES = 64_000_000;
/** From then on it says that it waits. */
const MAX_LAG_SECONDS = 5;
/** Share of `legacy.walBudget` that the slot may hold. */
const WAL_SHARE = 0.5;

/** Why a backfill must not read the next chunk now; undefined: it may. */
export function throttleReason(session: LiveSession, table: string): string | undefined {
  const { slot, config, dispatcher, routes } = session;
  if (routes.heldReason(table) !== undefined) return `waiting: ${table} is held (see banyan dead-letters)`;
  const { state } = dispatcher.status;
  if (state !== 'sending') return 'waiting: the bus takes nothing at the moment';
  const observed = slot?.observed;
  if (observed === undefined) return undefined;
  if (observed.heldBytes > config.legacy.walBudget * WAL_SHARE) {
    return `waiting: the slot holds ${mb(observed.heldBytes)} MB of WAL, more than half of legacy.walBudget`;
  }
  if (observed.lagBytes > MAX_LAG_BYTES) {
    return `waiting: live changes lag by ${mb(observed.lagBytes)} MB of WAL (limit ${mb(MAX_LAG_BYTES)} MB)`;
  }
  return undefined;
}

/**
 * Why the chunk that is being read does not come to its end. Its marks go through the stream behind the live changes, and nothing of it is sent before
 * they have arrived: so it waits by itself, and two clocks need not be compared.
 */
export function lagReason({ marks }: LiveSession): string | undefined {
  const seconds = marks.waitingMs / 1_000;
  return seconds > MAX_LAG_SECONDS ? `waiting: live changes lag by ${Math.floor(seconds)} s` : undefined;
}

function mb(bytes: number): number {
  return Math.round(bytes / 1_000_000);
}
