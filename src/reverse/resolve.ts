import type pg from 'pg';
import { BanyanError } from '../core/errors.ts';
import type { Conflict, ConflictStore } from '../state/conflicts.ts';
import type { InboxRecord, InboxStore } from '../state/inbox.ts';
import type { ReverseLetter } from '../state/reverse-letters.ts';
import type { ApplyOutcome, Intent } from './intent.ts';
import type { ReverseLetters } from './letters.ts';
import { type ReverseParking, targetOf } from './parking.ts';
import type { Apply, ReversePipeline } from './pipeline.ts';
import { refuseSkipped } from './stage-off.ts';

export interface Resolution {
  readonly conflict: number;
  /** Which row is to stand. */
  readonly keep: 'current' | 'proposed';
  readonly by: string;
  readonly note: string | undefined;
}

export interface ResolveOptions {
  readonly conflicts: Pick<ConflictStore, 'get' | 'resolve' | 'settleIn' | 'openOf'>;
  readonly inbox: Pick<InboxStore, 'get'>;
  readonly parking: ReverseParking;
  readonly pipeline: Pick<ReversePipeline, 'alone'>;
  readonly letters: Pick<ReverseLetters, 'intentOf' | 'redriveBehind' | 'tryBehind'>;
  readonly apply: Apply;
}

/** What `banyan conflicts resolve` reports. …-before: the event was done already, so that nothing was left to decide. */
export type ResolveOutcome = 'applied' | 'refused' | 'stale' | 'recorded' | 'applied-before' | 'refused-before';

export interface Resolved {
  readonly outcome: ResolveOutcome;
  /** Why something still stands behind the event; absent: nothing does. */
  readonly behind?: string;
}

/** Applies the parked event of a conflict with the side that a person has chosen, and then what waits behind it. Rejects only where the conflict is not decided, or nobody knows. */
export async function resolveConflict(resolution: Resolution, options: ResolveOptions): Promise<Resolved> {
  const { conflicts, parking, pipeline, letters } = options;
  const { conflict: id, by } = resolution;
  const conflict = await conflicts.get(id);
  if (conflict === undefined) throw new BanyanError('usage', `there is no conflict ${id}`);
  if (conflict.resolvedAt !== undefined) throw resolvedAlready(id);
  const letter = await parking.store.ofEvent(letterIdOf(conflict));
  if (letter === undefined) return { outcome: await recordOnly(conflict, resolution, options) };
  const lane = laneOf(letter);
  const outcome = await pipeline.alone({ lane }, async () => {
    try {
      const first = await letters.tryBehind(lane, { last: letter.id });
      if (first !== undefined && first.id !== letter.id) throw await standsBefore(first, options);
      return await decide(letter, { ...options, conflict, resolution });
    } finally {
      // The redrive does it once more; what it says is less than what was decided.
      await parking.reconcile(lane).catch(() => undefined);
    }
  });
  const behind = parking.isDead(lane) ? await letters.redriveBehind(lane, { by }) : undefined;
  return { outcome, ...(behind === undefined ? {} : { behind }) };
}

/** The event, its letter and the record end in one transaction: a worker that is killed leaves all or nothing. */
async function decide(
  letter: ReverseLetter,
  options: ResolveOptions & { readonly conflict: Conflict; readonly resolution: Resolution },
): Promise<ResolveOutcome> {
  const { conflicts, inbox, parking, letters, apply, conflict } = options;
  const { keep, by, note } = options.resolution;
  const intent = letters.intentOf(letter);
  if (intent === undefined) throw new BanyanError('usage', 'no entry of reverse.apply takes the event any more');
  const { id: appliedTo } = intent.target;
  const decided: Intent = { ...intent, decided: keep === 'proposed' ? 'event' : 'current' };
  const onEnded = async (client: pg.ClientBase, outcome: ApplyOutcome): Promise<void> => {
    refuseSkipped(outcome, letter.table);
    const { status } = outcome;
    // What was done before, or what a trigger let fall, is not as the person decided.
    const isAsDecided = status === 'applied' || status === 'stale';
    const side = isAsDecided ? SIDE[keep] : undefined;
    await conflicts.settleIn(client, conflict, { resolution: side, appliedTo, by, note });
    await parking.store.markRedrivenIn(client, letter.id);
  };
  const [outcome] = await apply([decided], { byOperator: true, onEnded });
  switch (outcome?.status) {
    case 'applied':
      // The row that was to stay is what the event wanted: there was nothing to write.
      return keep === 'current' ? 'recorded' : 'applied';
    case 'duplicate':
      return doneBefore(await inbox.get({ ...conflict, target: appliedTo }), keep);
    case 'refused':
    case 'stale':
      return outcome.status;
    case 'failed':
      throw outcome.error;
    default:
      throw new TypeError('an event came back without an outcome');
  }
}

const SIDE = { proposed: 'new-wins', current: 'legacy-wins' } as const;

/** Nothing is parked of it: what the inbox says has become of the event is what the conflict has come to. */
async function recordOnly(
  conflict: Conflict,
  { keep, by, note }: Resolution,
  { conflicts, inbox }: ResolveOptions,
): Promise<ResolveOutcome> {
  const { id } = conflict;
  const known = await inbox.get(conflict);
  if (known === undefined && keep === 'proposed')
    throw new BanyanError('usage', `the event of conflict ${id} is not parked any more: there is nothing to apply`, {
      remedy: `\`banyan conflicts resolve ${id} --keep current\` closes it as the row stands`,
    });
  const resolution = known?.outcome === 'applied' ? 'new-wins' : 'legacy-wins';
  if (!(await conflicts.resolve(id, { resolution, by, note }))) throw resolvedAlready(id);
  return doneBefore(known, keep);
}

function doneBefore(known: InboxRecord | undefined, keep: Resolution['keep']): ResolveOutcome {
  switch (known?.outcome) {
    case 'applied':
      return keep === 'proposed' ? 'applied' : 'applied-before';
    case 'refused':
      return 'refused-before';
    case 'stale':
      return 'stale';
    default:
      return 'recorded';
  }
}

/** An event of the row that is older, and not merely behind another. */
async function standsBefore(
  letter: ReverseLetter,
  { conflicts, letters }: Pick<ResolveOptions, 'conflicts' | 'letters'>,
): Promise<BanyanError> {
  const { id } = letter;
  const own = await openConflictOf(letter, { conflicts, letters });
  if (own !== undefined)
    return new BanyanError(
      'usage',
      `dead letter ${id} stands before it, an earlier event of the row: conflict ${own}`,
      {
        remedy: `decide that one first: \`banyan conflicts show ${own}\`, then \`banyan conflicts resolve ${own} --keep current|proposed\``,
      },
    );
  return new BanyanError(
    'usage',
    `dead letter ${id} stands before it: an event of the row can not overtake an earlier one`,
    {
      remedy: `look at it with \`banyan dead-letters show ${id}\`, then redrive or discard it, and ask again`,
    },
  );
}

async function openConflictOf(
  letter: ReverseLetter,
  { conflicts, letters }: Pick<ResolveOptions, 'conflicts' | 'letters'>,
): Promise<number | undefined> {
  let intent: Intent | undefined;
  try {
    intent = letters.intentOf(letter);
  } catch {
    // Today it can not be read: `dead-letters show` says why.
    return undefined;
  }
  if (intent === undefined) return undefined;
  const { producer, eventId } = intent;
  return await conflicts.openOf({ producer, eventId, target: targetOf(letter, intent) });
}

function resolvedAlready(id: number): BanyanError {
  return new BanyanError('usage', `conflict ${id} is resolved already`);
}

function letterIdOf({ producer, eventId, target }: Conflict): string {
  return `${producer} ${eventId} ${target}`;
}

function laneOf({ group, table }: ReverseLetter): string {
  if (group !== undefined && !group.startsWith('table:')) return group;
  throw new BanyanError('usage', `${table} is held for reverse sync: its events are applied when it is mended`);
}
