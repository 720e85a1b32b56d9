import { BanyanError, toBanyanError } from '../core/errors.ts';
import type { Event } from '../core/event.ts';
import { allEnded } from '../flow/all-ended.ts';
import { sleep } from '../flow/supervise.ts';
import { heldGroup, type ParkedLetter } from '../state/dead-letters.ts';
import { deserializeMessage, NO_ENTRY } from './parking.ts';
import { redriveTable } from './redrive-table.ts';
import {
  LETTERS_PER_READ,
  LOOK_AGAIN_MS,
  type RedriveOptions,
  type RedriveReport,
  type Tally,
} from './redrive-task.ts';

export interface RedriveSelection {
  /** Letters by id: their whole groups are redriven, since one letter can not overtake those before it. */
  readonly ids?: readonly number[];
  readonly group?: string;
  readonly table?: string;
  readonly all?: boolean;
}

/** Groups or keys redriven at a time. */
const CONCURRENCY = 8;
/**
 * Sends parked letters again, in order within their key, mapped anew by today's configuration. A key flows again only when nothing of it is
 * parked any more; until then its live events go on being stored behind.
 */
export async function redrive(selection: RedriveSelection, options: RedriveOptions): Promise<RedriveReport> {
  const tally: Tally = { sent: 0, parked: 0, withoutEvent: 0, stopped: [] };
  const groups = await selectGroups(selection, options);
  const held = groups.filter((group) => group.startsWith('table:'));
  for (const group of held) await redriveTable(group.slice('table:'.length), { options, tally });
  const waiting = groups.filter((group) => !held.includes(group));
  const done = new Set<string>();
  const underWay = new Map<string, Set<string>>();
  const failed = new AbortController();
  const ends = AbortSignal.any([options.signal, failed.signal]);
  const next = async (): Promise<void> => {
    try {
      while (waiting.length > 0) {
        const group = waiting.shift();
        if (group === undefined || done.has(group) || underWay.has(group)) continue;
        await redriveGroup(group, { options: { ...options, signal: ends }, tally, done, underWay });
      }
    } catch (error) {
      // The others end with the event that they are sending: given up on the way, it might arrive after its key was redriven again.
      failed.abort(error);
      throw failed.signal.reason;
    }
  };
  await allEnded(Array.from({ length: CONCURRENCY }, next));
  options.log.info(
    { sent: tally.sent, parked: tally.parked, withoutEvent: tally.withoutEvent, stopped: tally.stopped.length },
    'redrive ended',
  );
  return tally;
}

async function selectGroups(selection: RedriveSelection, options: RedriveOptions): Promise<string[]> {
  const { deadLetters, heldTables } = options;
  if (selection.group !== undefined) return [selection.group];
  if (selection.ids !== undefined) return deadLetters.groupsOf({ ids: selection.ids });
  const held = (await heldTables.list()).map(({ table }) => table);
  if (selection.table !== undefined) {
    const { table } = selection;
    // A table may be held with nothing set aside yet.
    const own = held.includes(table) ? [heldGroup(table)] : [];
    return [...new Set([...own, ...(await deadLetters.groupsOf({ table }))])];
  }
  if (selection.all !== true) throw new BanyanError('usage', 'say what to redrive: ids, a group, a table, or all');
  return [...new Set([...held.map(heldGroup), ...(await deadLetters.groupsOf({}))])];
}

interface GroupRun {
  readonly options: RedriveOptions;
  readonly tally: Tally;
  readonly done: Set<string>;
  /** Groups that a task redrives now, each with all that the task has: tied keys are one order, so they are one task's. */
  readonly underWay: Map<string, Set<string>>;
}

async function redriveGroup(group: string, run: GroupRun): Promise<void> {
  const tied = new Set([group]);
  run.underWay.set(group, tied);
  try {
    await redriveTied(group, tied, run);
  } finally {
    for (const name of tied) {
      // Handed over, it is another's.
      if (run.underWay.get(name) !== tied) continue;
      run.underWay.delete(name);
      run.done.add(name);
    }
  }
}

/** One key, and the keys that primary-key updates tie to it, letter by letter. */
async function redriveTied(group: string, tied: Set<string>, run: GroupRun): Promise<void> {
  const { options, tally, underWay } = run;
  const { deadLetters, parking, signal } = options;
  for (;;) {
    signal.throwIfAborted();
    const known = tied.size;
    const { mark } = parking;
    const letters = await deadLetters.nextOfGroups([...tied], LETTERS_PER_READ);
    for (const name of letters.flatMap(groupsOfLetter)) {
      const other = underWay.get(name);
      if (other !== undefined && other !== tied) {
        // Another task has come to the same tie from its other end: it sees at its next read that there is more.
        for (const own of tied) underWay.set(own, other.add(own));
        return;
      }
      underWay.set(name, tied.add(name));
    }
    // A key update ties two keys: the letters of both are one order, read again together.
    if (tied.size > known) continue;
    if (letters.length === 0) {
      // A live event of the group may be on its way into the store; whoever comes after the release is sent.
      if (parking.release(tied, mark)) return;
      await sleep(LOOK_AGAIN_MS, signal);
      continue;
    }
    for (const letter of letters) {
      signal.throwIfAborted();
      const failure = await redriveLetter(letter, { options, tally });
      if (failure === undefined) continue;
      await deadLetters.setReason(letter.id, failure);
      tally.stopped.push({ group, letter: letter.id, reason: failure.message });
      return;
    }
  }
}

/** Returns why the letter still can not be sent. */
async function redriveLetter(
  letter: ParkedLetter,
  run: { options: RedriveOptions; tally: Tally },
): Promise<BanyanError | undefined> {
  const { options, tally } = run;
  let events: readonly Event[];
  try {
    events = await remap(letter, options);
  } catch (error) {
    const failure = toBanyanError(error, `mapping letter ${letter.id} again`);
    if (failure.reaction === 'park' || failure.reaction === 'hold') return failure;
    throw failure;
  }
  for (const event of events) {
    const outcome = await options.send(event);
    if (outcome.status === 'rejected') return outcome.error;
  }
  await options.deadLetters.markRedriven([letter.id]);
  tally.sent += events.length;
  if (events.length === 0) tally.withoutEvent += 1;
  return undefined;
}

async function remap(letter: ParkedLetter, options: RedriveOptions): Promise<readonly Event[]> {
  if (letter.change === undefined)
    throw new BanyanError('mapping-failed', `letter ${letter.id} holds no change to map again`);
  // The event of a message that is about a table stands under that table.
  if (letter.entry === NO_ENTRY) {
    const event = options.mapMessage(deserializeMessage(letter.change));
    return event === undefined ? [] : [event];
  }
  const mappers = await options.mappersFor(letter.table);
  // The entry may have moved in the configuration since; then the table's first one is the best guess.
  const mapper = mappers.find(({ entry }) => entry === letter.entry) ?? mappers[0];
  if (mapper === undefined) throw new BanyanError('schema-drift', `${letter.table} is not captured any more`);
  return mapper.map(mapper.deserialize(letter.change));
}

function groupsOfLetter(letter: ParkedLetter): string[] {
  return [letter.group, letter.previousGroup].filter((group) => group !== undefined);
}
