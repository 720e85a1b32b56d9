import type { TableReport } from '../core/progress.ts';
import { shellWord } from './words.ts';

export type StepFacts = Pick<TableReport, 'stage' | 'target' | 'verdict' | 'gates' | 'backfill' | 'open'> & {
  /** As commands take it. */
  readonly display: string;
  /** Whether a worker answers. */
  readonly isRunning: boolean;
  /** An open gap of the slot or the table: nothing of it is sent until a person has dealt with that. */
  readonly isInGap: boolean;
};

/**
 * The most useful thing to do for a table: a command line without the program's name, or why it waits. What stands in the way of everything comes first, then what
 * a person has to decide, then the next move.
 */
export function nextStep(facts: StepFacts): string | undefined {
  const { open, backfill, stage, target } = facts;
  const name = shellWord(facts.display);
  if (facts.isInGap) return 'recover';
  if (open.held !== undefined) return `dead-letters list --table ${name}`;
  if (open.conflicts > 0) return `conflicts list --open --table ${name}`;
  if (open.deadLetters > 0) return `dead-letters list --table ${name}`;
  // A failed run was not watched since: it can not be gone on with.
  if (backfill?.status === 'failed') return `backfill ${name} --restart`;
  if (backfill?.status === 'paused') return `backfill ${name} --resume`;
  if (stage === 'mapped' || stage === 'backfilling') {
    if (!facts.isRunning) return 'run';
    if (backfill?.reason !== undefined) return `waiting: ${backfill.reason}`;
    if (backfill?.status === 'waiting') return 'waiting: its backfill has not begun';
    if (backfill?.status === 'running') return 'waiting: its rows are on their way';
  }
  if (target === undefined) return undefined;
  return moveStep(facts, target);
}

function moveStep({ display, verdict, gates }: StepFacts, target: string): string {
  const name = shellWord(display);
  if (verdict === 'ready') return `stage ${name} --to ${target}`;
  const inTheWay = gates.filter(({ result, waiver }) => result !== 'pass' && waiver === undefined);
  const [only] = inTheWay;
  if (inTheWay.length === 1 && only?.next !== undefined) return only.next;
  return `verdict ${name} --to ${target}`;
}
