import { type BanyanError, toBanyanError } from '../core/errors.ts';
import type { Event } from '../core/event.ts';
import { allEnded } from '../flow/all-ended.ts';
import { type LaneItem, laneLinks, Lanes } from '../flow/lanes.ts';
import { sleep } from '../flow/supervise.ts';
import type { Mapper } from '../mapping/mapper.ts';
import { heldGroup, type ParkedLetter } from '../state/dead-letters.ts';
import { type ForwardDelivery, forwardDelivery, groupsOf, type Source } from './delivery.ts';
import {
  LETTERS_PER_READ,
  LOOK_AGAIN_MS,
  type RedriveOptions,
  type RedriveReport,
  type Tally,
} from './redrive-task.ts';

type Stop = RedriveReport['stopped'][number];

/** One event to send, or one change to park, in the turn of its key. */
interface Step extends LaneItem {
  readonly act: () => Promise<void>;
}

interface TableRun {
  readonly table: string;
  readonly mappers: readonly Mapper[];
  readonly options: RedriveOptions;
  readonly tally: Tally;
}

/** Events sent at a time; keys beside each other, never two of one key. */
const WAVE = 16;

/**
 * A held table: all its raw changes in order. What can not be mapped or sent for its own fault is parked under its own key, and the table flows again when nothing
 * raw is left. No live event of the table is on the way meanwhile: those from before the hold are waited for, later ones are set aside as well.
 */
export async function redriveTable(table: string, run: { options: RedriveOptions; tally: Tally }): Promise<void> {
  const { options, tally } = run;
  const { deadLetters, holding, routes, heldTables, signal, log } = options;
  const mappers = await compiled(table, run);
  if (mappers === undefined) return;
  await options.passed(table);
  let rows = 0;
  for (;;) {
    signal.throwIfAborted();
    const before = { added: holding.addedTo(table), writing: holding.isWriting(table) };
    const letters = wholeChanges(await deadLetters.nextOfGroups([heldGroup(table)], LETTERS_PER_READ));
    if (letters.length > 0) {
      const stop = await redriveRaw(letters, { table, mappers, options, tally });
      if (stop !== undefined) {
        tally.stopped.push(stop);
        return;
      }
      rows += letters.length;
      log.info({ table, rows }, 'redriving a held table');
    } else if (before.writing || holding.addedTo(table) !== before.added) {
      await sleep(LOOK_AGAIN_MS, signal);
    } else {
      break;
    }
  }
  holding.account(table, { rows: 0, bytes: 0 });
  const unfit = routes.release(table);
  if (unfit !== undefined) {
    tally.stopped.push({ group: heldGroup(table), letter: undefined, reason: unfit.message });
    return;
  }
  await heldTables.clear(table);
  log.info({ table, rows }, 'table released: its changes flow again');
}

async function compiled(
  table: string,
  { options, tally }: { options: RedriveOptions; tally: Tally },
): Promise<readonly Mapper[] | undefined> {
  try {
    return await options.mappersFor(table);
  } catch (error) {
    const { message } = toBanyanError(error, `compiling the mapping of ${table}`);
    tally.stopped.push({ group: heldGroup(table), letter: undefined, reason: message });
    return undefined;
  }
}

/** Returns where it had to stop. Letters count as redriven only when every event of theirs was accepted or parked under its own key. */
async function redriveRaw(letters: readonly ParkedLetter[], run: TableRun): Promise<Stop | undefined> {
  const { table, options, tally } = run;
  const ready: Step[] = [];
  const lanes = new Lanes<Step>((step) => ready.push(step));
  const mapped: number[] = [];
  let stop: Stop | undefined;
  for (const change of changesOf(letters)) {
    const made: Step[][] = [];
    for (const letter of change) {
      try {
        made.push(stepsOf(letter, run));
      } catch (error) {
        const failure = toBanyanError(error, `mapping letter ${letter.id} again`);
        await options.deadLetters.setReason(letter.id, failure);
        stop = { group: heldGroup(table), letter: letter.id, reason: failure.message };
        break;
      }
    }
    // Half a change must not be sent.
    if (stop !== undefined) break;
    tally.withoutEvent += made.filter((steps) => steps.length === 0).length;
    for (const step of made.flat()) lanes.add(step);
    mapped.push(...change.map(({ id }) => id));
  }
  while (ready.length > 0) {
    await allEnded(
      ready.splice(0, WAVE).map(async (step) => {
        await step.act();
        lanes.settle(step);
      }),
    );
  }
  await options.deadLetters.markRedriven(mapped);
  return stop;
}

/** The letters of each change: one for each capture entry. */
function changesOf(letters: readonly ParkedLetter[]): ParkedLetter[][] {
  const changes: ParkedLetter[][] = [];
  for (const letter of letters) {
    const last = changes.at(-1);
    if (last?.[0]?.eventId === letter.eventId) last.push(letter);
    else changes.push([letter]);
  }
  return changes;
}

/** Throws what is wrong with more than this row: the table can not go on then. */
function stepsOf(letter: ParkedLetter, run: TableRun): Step[] {
  const { table } = run;
  const mapper = run.mappers.find(({ entry }) => entry === letter.entry);
  // An entry that is no longer configured asks for nothing any more.
  if (letter.change === undefined || mapper === undefined) return [];
  const change = mapper.deserialize(letter.change);
  const source: Source = { change, mapper, transaction: undefined, counters: undefined };
  const exclusive = change.operation === 'truncate';
  let events: readonly Event[];
  try {
    events = mapper.map(change);
  } catch (thrown) {
    const error = toBanyanError(thrown, `mapping letter ${letter.id} again`);
    if (error.reaction !== 'park') throw error;
    return [parkingStep(source, { error, run, exclusive })];
  }
  return events.map((event) => {
    const delivery = forwardDelivery(event, { source, table, exclusive });
    const { lane, previousLane, fence } = delivery;
    return { ...laneLinks, lane, previousLane, fence, exclusive, act: () => sendOrPark(delivery, run) };
  });
}

function parkingStep(source: Source, what: { error: BanyanError; run: TableRun; exclusive: boolean }): Step {
  const { error, exclusive } = what;
  const { table, options, tally } = what.run;
  const { group, previousGroup } = groupsOf(source, table);
  return {
    ...laneLinks,
    lane: group,
    previousLane: previousGroup,
    fence: table,
    exclusive,
    act: async () => {
      await options.parking.parkChange({ source, table, group, previousGroup, error });
      tally.parked += 1;
    },
  };
}

/** Leaves out the last change of a full page, of which there may be more letters on the next. */
function wholeChanges(letters: ParkedLetter[]): ParkedLetter[] {
  if (letters.length < LETTERS_PER_READ.rows) return letters;
  const whole = letters.filter((letter) => letter.eventId !== letters.at(-1)?.eventId);
  return whole.length > 0 ? whole : letters;
}

async function sendOrPark(
  delivery: ForwardDelivery,
  { options, tally }: Pick<TableRun, 'options' | 'tally'>,
): Promise<void> {
  let error: BanyanError | undefined;
  if (!isBehind(delivery.event, options)) {
    const outcome = await options.send(delivery.event);
    if (outcome.status === 'accepted') {
      tally.sent += 1;
      return;
    }
    ({ error } = outcome);
  }
  await options.parking.parkDeliveries([{ delivery, error }]);
  tally.parked += 1;
}

function isBehind(event: Event, { parking }: RedriveOptions): boolean {
  return (
    (event.group !== undefined && parking.isParked(event.group)) ||
    (event.previousGroup !== undefined && parking.isParked(event.previousGroup))
  );
}
