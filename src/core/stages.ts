import type { Stage } from './progress.ts';

/** What a table is in that has never moved. */
export const FIRST_STAGE: Stage = 'mapped';

/** The actor of a move that no person asked for. */
export const BY_ITSELF = 'banyan';

/** Whose word counts: for a facade to route by. */
export function primaryOf(stage: Stage): 'legacy' | 'new' | 'nobody' {
  switch (stage) {
    case 'new-primary':
      return 'new';
    case 'retired':
      return 'nobody';
    default:
      return 'legacy';
  }
}

/** Events of the new system are applied in these; in the others they are skipped. */
export const REVERSE_STAGES: readonly Stage[] = ['dual', 'new-primary'];

export function reverseIsOn(stage: Stage): boolean {
  return REVERSE_STAGES.includes(stage);
}

/** Whose word counts where both sides have changed a row, while the policy follows the stage. */
export function stageWinner(stage: Stage): 'new-wins' | 'legacy-wins' {
  return stage === 'new-primary' ? 'new-wins' : 'legacy-wins';
}

/** What the first moves of a table depend on. */
export interface AutomaticFacts {
  readonly stage: Stage;
  /** The stream has passed where the table's changes begin to be in it. */
  readonly isCovered: boolean;
  /** open: asked for and not complete, whether it runs, waits or failed. done: every row was read, and the stream has passed the last of it. */
  readonly backfill: 'not-asked' | 'open' | 'done';
}

/** Where a table goes by itself, one step; undefined: it stays, or is a person's to move. It never goes back. */
export function automaticStage({ stage, isCovered, backfill }: AutomaticFacts): Stage | undefined {
  if (!isCovered) return undefined;
  if (stage === 'mapped') return backfill === 'not-asked' ? 'shadow' : 'backfilling';
  if (stage === 'backfilling') return backfill === 'open' ? undefined : 'shadow';
  return undefined;
}
