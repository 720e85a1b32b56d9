import { type GateCode, type Stage, STAGES, type TargetStage } from '../core/progress.ts';

/** What the configuration does with a table. */
export interface TableWays {
  readonly captured: boolean;
  /** An entry of `reverse.apply` writes it. */
  readonly reversed: boolean;
  /** Its rows of before are sent as well. */
  readonly backfill: boolean;
}

/** Where a person may move a table to, nearest first. Without a way back there is no `dual`, and what is not captured has no `shadow` to wait for. */
export function targetsOf(
  from: Stage,
  { captured, reversed }: Pick<TableWays, 'captured' | 'reversed'>,
): TargetStage[] {
  const dual: TargetStage[] = reversed ? ['dual'] : [];
  switch (from) {
    case 'mapped':
    case 'backfilling':
      return captured ? [] : [...dual, 'new-primary'];
    case 'shadow':
      return [...dual, 'new-primary'];
    case 'dual':
      return ['new-primary', 'shadow'];
    case 'new-primary':
      return ['retired', ...dual, 'shadow'];
    case 'retired':
      return ['new-primary'];
    default:
      return from satisfies never;
  }
}

export function isRollback(from: Stage, to: Stage): boolean {
  return STAGES.indexOf(to) < STAGES.indexOf(from);
}

/** The stage that comes next; undefined: none. Up to `shadow` a captured table goes by itself. */
export function nextTarget(
  stage: Stage,
  { reversed, captured = true }: { readonly reversed: boolean; readonly captured?: boolean },
): TargetStage | undefined {
  if (captured && (stage === 'mapped' || stage === 'backfilling')) return 'shadow';
  return targetsOf(stage, { captured, reversed }).find((to) => !isRollback(stage, to));
}

/** Why a person may not move a table so, whatever its gates say; undefined: they may. */
export function refusedMove(from: Stage, to: Stage, table: TableWays): string | undefined {
  if (from === to) return `it is ${to} already`;
  const targets = targetsOf(from, table);
  if (targets.some((target) => target === to)) return undefined;
  if (to === 'dual' && !table.reversed) return 'no entry of `reverse.apply` writes it, so that both sides can not';
  if (targets.length === 0) {
    return table.backfill
      ? `it is ${from}, and goes to shadow by itself when its rows are sent`
      : `it is ${from}, and goes to shadow by itself when the stream has come to it`;
  }
  return `from ${from} it can go to ${targets.join(' or ')}`;
}

/** What is to be proved before a move. A move that leaves a stage out is proved as both would be. */
export function gatesOf(from: Stage, to: TargetStage, table: TableWays): readonly GateCode[] {
  if (isRollback(from, to)) return rollbackGates(from, to, table);
  const stream: GateCode[] = table.captured ? [...(table.backfill ? (['BACKFILL_DONE'] as const) : []), 'SLOT'] : [];
  const follows: GateCode[] = table.captured ? [...stream, 'LAG', 'PARITY'] : [];
  const back: GateCode[] = table.reversed ? ['REVERSE_TEST'] : [];
  switch (to) {
    case 'shadow':
      return stream;
    case 'dual':
      return [...follows, ...back];
    case 'new-primary':
      return [
        ...follows,
        ...back,
        ...(table.reversed ? (['CONFLICTS_OPEN'] as const) : []),
        'DEAD_LETTERS',
        'LEGACY_WRITES',
      ];
    case 'retired':
      return ['LEGACY_WRITES', 'LEGACY_READS', 'DEPENDANTS'];
    default:
      return to satisfies never;
  }
}

/**
 * Whoever leaves `new-primary`, or comes back to a stage in which events are applied, relies on reverse sync: what the new system wrote must be in the legacy table.
 * From `dual` the way to `shadow` is always free: the legacy system was primary all the time.
 */
function rollbackGates(from: Stage, to: TargetStage, { reversed }: TableWays): readonly GateCode[] {
  if (from === 'dual' && to === 'shadow') return [];
  if (from !== 'new-primary') return reversed ? ['REVERSE_TEST'] : [];
  // Without a way back the legacy table has nothing of what was written since: the gate fails, and says so.
  return reversed ? ['REVERSE_TEST', 'CONFLICTS_OPEN', 'DEAD_LETTERS'] : ['REVERSE_TEST'];
}
