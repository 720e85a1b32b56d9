import type pg from 'pg';
import type { Stage, StageChange, Verdict } from '../core/progress.ts';
import type { State } from '../state/state.ts';

export interface StageMove {
  readonly state: State;
  /** The legacy database: the state's own pool, or another where `state.url` says so. */
  readonly legacyPool: pg.Pool;
  readonly table: string;
  /** As the verdict was judged from. */
  readonly from: Stage;
  readonly to: Stage;
  readonly actor: string;
  /** Of this moment; undefined: it goes by itself. */
  readonly verdict: Verdict | undefined;
}

/**
 * Moves a table, at once for everybody: reverse sync reads the stage with every event, and the worker publishes the change where it stands in the stream. Throws `usage`
 * where somebody else was faster.
 */
export async function moveStage({
  state,
  legacyPool,
  table,
  from,
  to,
  actor,
  verdict,
}: StageMove): Promise<StageChange> {
  const { stageChanges, scope } = state;
  const change = await stageChanges.move({ table, from, to, actor, verdict }, legacyPool);
  if (legacyPool !== scope.pool) {
    // The table has moved already. What can not be announced now, the worker announces.
    await stageChanges.announce(legacyPool).catch(() => undefined);
  }
  return change;
}
