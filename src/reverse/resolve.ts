import { BanyanError } from '../core/errors.ts';
import type { Conflict, ConflictStore } from '../state/conflicts.ts';
import type { ReverseLetter } from '../state/reverse-letters.ts';
import type { Intent } from './intent.ts';
import type { ReverseLetters } from './letters.ts';
import type { ReverseParking } from './parking.ts';
import type { Apply, ReversePipeline } from './pipeline.ts';

export interface Resolution {
  readonly conflict: number;
  /** Which row is to stand. */
  readonly keep: 'current' | 'proposed';
  readonly by: string;
  readonly note: string | undefined;
}

export interface ResolveOptions {
  readonly conflicts: Pick<ConflictStore, 'get' | 'resolve'>;
  readonly parking: ReverseParking;
  readonly pipeline: Pick<ReversePipeline, 'alone'>;
  readonly letters: Pick<ReverseLetters, 'intentOf' | 'redrive'>;
  readonly apply: Apply;
}

/** What `banyan conflicts resolve` reports. */
export type ResolveOutcome = 'applied' | 'refused' | 'stale' | 'recorded';

/** Applies the parked event of a conflict with the side that a person has chosen, and then what waits behind it. */
export async function resolveConflict(resolution: Resolution, options: ResolveOptions): Promise<ResolveOutcome> {
  const { conflicts, parking, pipeline, letters } = options;
  const { conflict: id, keep, by, note } = resolution;
  const conflict = await conflicts.get(id);
  if (conflict === undefined) throw new BanyanError('usage', `there is no conflict ${id}`);
  if (conflict.resolvedAt !== undefined) throw new BanyanError('usage', `conflict ${id} is resolved already`);
  const decided = { resolution: keep === 'proposed' ? 'new-wins' : 'legacy-wins', by, note } as const;
  const letter = await parking.store.ofEvent(letterIdOf(conflict));
  if (letter === undefined) {
    if (keep === 'proposed')
      throw new BanyanError('usage', `the event of conflict ${id} is not parked any more: there is nothing to apply`);
    await conflicts.resolve(id, decided);
    return 'recorded';
  }
  const lane = laneOf(letter);
  const outcome = await pipeline.alone({ lane }, async () => {
    const done = await applyFirst(letter, { ...options, lane, keep });
    await parking.store.markRedriven([letter.id]);
    await conflicts.resolve(id, decided);
    await parking.reconcile(lane);
    return done;
  });
  if (parking.isDead(lane)) await letters.redrive({ group: lane });
  return outcome;
}

async function applyFirst(
  letter: ReverseLetter,
  options: ResolveOptions & { readonly lane: string; readonly keep: Resolution['keep'] },
): Promise<ResolveOutcome> {
  const { parking, letters, apply, lane, keep } = options;
  const [first] = await parking.store.next(lane, { rows: 1, bytes: 1 });
  if (first !== undefined && first.id !== letter.id) {
    throw new BanyanError(
      'usage',
      `dead letter ${first.id} stands before it: an event of the row can not overtake an earlier one`,
      {
        remedy: `look at it with \`banyan dead-letters show ${first.id}\`, then redrive or discard it`,
      },
    );
  }
  const intent = letters.intentOf(letter);
  if (intent === undefined) throw new BanyanError('usage', 'no entry of reverse.apply takes the event any more');
  const decided: Intent = { ...intent, decided: keep === 'proposed' ? 'event' : 'current' };
  const [outcome] = await apply([decided], { byOperator: true });
  switch (outcome?.status) {
    case 'applied':
      // The row that was to stay is what the event wanted: there was nothing to write.
      return keep === 'current' ? 'recorded' : 'applied';
    case 'duplicate':
      return 'applied';
    case 'refused':
    case 'stale':
      return outcome.status;
    case 'skipped':
      throw new BanyanError('usage', 'the stage of the table takes no events of the new system');
    case 'failed':
      throw outcome.error;
    default:
      throw new TypeError('an event came back without an outcome');
  }
}

function letterIdOf({ producer, eventId, target }: Conflict): string {
  return `${producer} ${eventId} ${target}`;
}

function laneOf({ group, table }: ReverseLetter): string {
  if (group !== undefined && !group.startsWith('table:')) return group;
  throw new BanyanError('usage', `${table} is held for reverse sync: its events are applied when it is mended`);
}
