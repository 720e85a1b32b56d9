import type { Config } from '../config/schema.ts';
import { BanyanError } from '../core/errors.ts';
import type { State } from '../state/state.ts';
import { type CommandContext, ExitCode, loadFor } from './context.ts';
import { groupForPeople } from './letter-group.ts';
import {
  countLetters,
  type Direction,
  findLetter,
  type Letter,
  type LetterCounts,
  type ListedLetter,
  listLetters,
} from './letters.ts';
import { count, indent, type Output, table } from './output.ts';
import {
  argumentsOf,
  type ChosenLetters,
  chosen,
  directionsOf,
  filterOf,
  requester,
  type Selection,
} from './selection.ts';
import { listedName, stored } from './stored-table.ts';
import { shown } from './terminal-text.ts';
import { withState } from './with-state.ts';

export interface ListOptions extends Selection {
  readonly limit: number;
}

/** What is parked and why; `all` shows the settled ones too. */
export async function listDeadLetters(options: ListOptions, context: CommandContext): Promise<ExitCode> {
  const { output } = context;
  const { config } = await loadFor(context);
  const directions = directionsOf(options);
  await withState(config, async (state) => {
    const { group, all, limit } = options;
    const listing = {
      ...(await stored({ table: options.table }, { config, state })),
      ...(group === undefined ? {} : { group }),
      ...(all ? {} : { status: 'parked' as const }),
      limit,
    };
    const letters = (await listLetters(state, listing, directions)).map(shownTo(config));
    const counts = await countLetters(state, directions);
    if (output.json) output.value({ ...counts, letters });
    else printList(letters, { counts, output, withStatus: all });
  });
  return ExitCode.ok;
}

/** Letters of the way back without what the key of their group must not show. */
function shownTo(config: Config): <L extends ListedLetter>(letter: L) => L {
  const groupOf = groupForPeople(config);
  return (letter) =>
    letter.direction === 'forward' || letter.group === undefined ? letter : { ...letter, group: groupOf(letter.group) };
}

function printList(
  letters: readonly ListedLetter[],
  about: { readonly counts: LetterCounts; readonly output: Output; readonly withStatus: boolean },
): void {
  const { counts, output, withStatus } = about;
  const { parked, groups, waiting } = counts;
  if (letters.length === 0) {
    const isFiltered = parked + waiting > 0;
    output.line(`${output.paint('green', '✓')} nothing is parked${isFiltered ? ' that was asked for' : ''}`);
  } else {
    const rows = letters.map((letter) => [
      `${letter.id}`,
      minutes(letter.parkedAt),
      letter.direction,
      ...(withStatus ? [letter.status] : []),
      listedName(letter.table),
      letter.group ?? '-',
      letter.behind ? 'waits behind' : letter.kind,
      letter.behind ? '' : [...waits(letter), letter.message].join(': '),
    ]);
    const status = withStatus ? ['STATUS'] : [];
    const head = ['ID', 'PARKED AT (UTC)', 'DIRECTION', ...status, 'TABLE', 'GROUP', 'WHY', ''];
    for (const line of table([head, ...rows.map(cells)])) output.line(line);
  }
  if (parked > 0) output.note(`${count(parked, 'letter')} parked in ${count(groups, 'group')}`);
  if (waiting > 0) {
    output.note(
      `${count(waiting, 'event waits', 'events wait')} for something to come, and ${waiting === 1 ? 'is' : 'are'} tried again by the worker`,
    );
  }
}

/** Ids and messages hold what came from outside. */
function cells(row: readonly string[]): string[] {
  return row.map(shown);
}

/** Empty: it waits for a person, or for nothing any more. */
function waits({ status, waitsUntil }: ListedLetter): string[] {
  return status === 'parked' && waitsUntil !== undefined ? [`waits until ${minutes(waitsUntil)}`] : [];
}

function minutes(time: string): string {
  return time.slice(0, 19).replace('T', ' ');
}

/** One letter, with what it holds. Masks and exclusions were applied before a change was stored; an event of the new system is kept as it came. */
export async function showDeadLetter(id: number, context: CommandContext): Promise<ExitCode> {
  const { output } = context;
  const { config } = await loadFor(context);
  const found = await withState(config, (state) => findLetter(state, id));
  const letter = found && shownTo(config)(found);
  if (letter === undefined) {
    throw new BanyanError('usage', `there is no dead letter ${id} of connector ${config.name}`, {
      remedy: '`banyan dead-letters list --all` shows which there are',
    });
  }
  if (output.json) {
    output.value({ ...letter, event: parsed(letter.event), change: parsed(letter.change) });
    return ExitCode.ok;
  }
  for (const line of table(factsOf(letter).map(cells))) output.line(line);
  for (const [title, text] of [
    ['event', letter.event],
    ['change', letter.change],
  ] as const) {
    if (text === undefined) continue;
    output.line();
    output.line(output.paint('bold', title));
    const lines = JSON.stringify(parsed(text), undefined, 2).split('\n').map(shown);
    output.line(indent(lines.join('\n'), 2));
  }
  if (letter.status === 'parked') output.note(`\nredrive it: banyan dead-letters redrive ${letter.id}`);
  return ExitCode.ok;
}

function factsOf(letter: Letter): string[][] {
  const entries = letter.direction === 'forward' ? 'capture' : 'reverse.apply';
  const previous = letter.previousGroup === undefined ? [] : [`(was ${letter.previousGroup})`];
  const reason = [letter.kind, letter.code].filter((part) => part !== undefined).join(' ');
  return [
    ['direction', letter.direction],
    ['status', letter.settledAt === undefined ? letter.status : `${letter.status} at ${letter.settledAt}`],
    ...waits(letter).map((text) => ['', `${text} (UTC), tried again until then`]),
    ['parked', letter.parkedAt],
    ['table', listedName(letter.table)],
    ['group', [letter.group ?? '-', ...previous].join(' ')],
    ['entry', letter.entry < 0 ? '-' : `${entries}[${letter.entry}]`],
    ['event', letter.eventId],
    ['sequence', letter.sequence],
    ['why', letter.behind ? 'waits behind an earlier one of its group' : reason],
    ...(letter.behind ? [] : [['', letter.message]]),
  ];
}

/** A body of the queue need not be JSON: then its text. */
function parsed(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** How long a running worker may take to see the request: it looks once a second. */
const WORKER_TAKES_MS = 4_000;
/** More than this are not counted one by one. */
const COUNTED = 100_000;

/** Gives letters up. The worker does it where one runs, since it knows which keys wait; else it is done here. */
export async function discardDeadLetters(
  options: Selection & { readonly yes: boolean },
  context: CommandContext,
): Promise<ExitCode> {
  const { output } = context;
  const asked = chosen(options);
  const { config } = await loadFor(context);
  return withState(config, async (state) => {
    const letters = await stored(asked, { config, state });
    const listing = { ...filterOf(letters), status: 'parked' as const, limit: COUNTED };
    const found = await listLetters(state, listing, directionsOf(options));
    if (found.length === 0) {
      if (output.json) output.value({ discarded: 0 });
      else output.line('nothing of that is parked');
      return ExitCode.ok;
    }
    if (!options.yes)
      throw new BanyanError('usage', loss(found), {
        remedy: 'add --yes to do it; to send or apply them again instead: `banyan dead-letters redrive`',
      });
    let discarded = 0;
    for (const direction of new Set(found.map((letter) => letter.direction))) {
      discarded += await discard(letters, {
        state,
        direction,
        hasWorker: direction === 'forward' || config.reverse !== undefined,
      });
    }
    if (output.json) output.value({ discarded });
    else output.line(`${output.paint('green', '✓')} discarded ${count(discarded, 'letter')}`);
    if (letters.ids !== undefined) {
      for (const [way, fate] of fates(config)) if (found.some(({ direction }) => direction === way)) output.note(fate);
    }
    return ExitCode.ok;
  });
}

/** What becomes of what waits behind letters that were given up. */
function fates({ reverse }: Pick<Config, 'reverse'>): ReadonlyMap<Direction, string> {
  return new Map([
    ['forward', stays('changes')],
    [
      'reverse',
      reverse === undefined ? stays('events') : 'the worker tries events that wait behind them within a minute',
    ],
  ]);
}

function stays(what: string): string {
  return `${what} that wait behind them stay parked until they are redriven`;
}

function loss(letters: readonly ListedLetter[]): string {
  const tables = [...Map.groupBy(letters, (letter) => letter.table)];
  const parts = tables
    .map(([name, of]) => `${of.length.toLocaleString('en-US')} of ${shown(listedName(name))}`)
    .join(', ');
  const back = letters.filter(({ direction }) => direction === 'reverse').length;
  const what = back === 0 ? 'parked change' : back === letters.length ? 'parked event' : 'parked letter';
  const whom = back === letters.length ? 'the legacy tables never get them' : 'no consumer ever learns of them';
  const more = letters.length === COUNTED ? 'at least ' : '';
  return `${more}${count(letters.length, what)} would be lost for good (${parts}): ${whom}`;
}

async function discard(
  letters: ChosenLetters,
  about: { readonly state: State; readonly direction: Direction; readonly hasWorker: boolean },
): Promise<number> {
  const { state, direction, hasWorker } = about;
  const { requests } = state;
  const byHand = () => (direction === 'forward' ? state.deadLetters : state.reverseLetters).discard(filterOf(letters));
  // Without `reverse` no worker knows of these any more.
  if (!hasWorker) return byHand();
  const id = await requests.insert({
    command: 'discard',
    arguments: argumentsOf(letters, direction),
    requestedBy: requester(),
  });
  const outcome = await requests.await(id, { timeoutMs: WORKER_TAKES_MS, signal: new AbortController().signal });
  switch (outcome.status) {
    case 'finished':
      return (outcome.result as { readonly discarded: number }).discarded;
    case 'unclaimed':
      return byHand();
    case 'failed':
      throw new BanyanError('unknown', `the worker could not discard: ${outcome.error}`, {
        remedy: outcome.remedy ?? 'the worker’s log says more; nothing was discarded',
      });
    default:
      throw new BanyanError('unknown', `the worker is still at request ${id}`, {
        remedy: 'look again with `banyan dead-letters list`',
      });
  }
}
