import { BanyanError } from '../core/errors.ts';
import type { DeadLetter } from '../state/dead-letters.ts';
import type { State } from '../state/state.ts';
import { type CommandContext, ExitCode, loadFor } from './context.ts';
import { count, indent, type Output, table } from './output.ts';
import { type ChosenLetters, chosen, filterOf, requester, type Selection } from './selection.ts';
import { withState } from './with-state.ts';

export interface ListOptions extends Selection {
  readonly limit: number;
}

/** What is parked and why; `all` shows the settled ones too. */
export async function listDeadLetters(options: ListOptions, context: CommandContext): Promise<ExitCode> {
  const { output } = context;
  const { config } = await loadFor(context);
  await withState(config, async ({ deadLetters }) => {
    const letters = await deadLetters.list({
      ...(options.table === undefined ? {} : { table: options.table }),
      ...(options.group === undefined ? {} : { group: options.group }),
      ...(options.all ? {} : { status: 'parked' as const }),
      limit: options.limit,
    });
    const counts = await deadLetters.counts();
    if (output.json) output.value({ ...counts, letters });
    else printList(letters, { counts, output, withStatus: options.all });
  });
  return ExitCode.ok;
}

function printList(
  letters: readonly Omit<DeadLetter, 'event' | 'change'>[],
  about: { counts: { readonly parked: number; readonly groups: number }; output: Output; withStatus: boolean },
): void {
  const { counts, output, withStatus } = about;
  if (letters.length === 0) {
    output.line(`${output.paint('green', '✓')} nothing is parked${counts.parked > 0 ? ' that was asked for' : ''}`);
  } else {
    const rows = letters.map((letter) => [
      `${letter.id}`,
      letter.parkedAt.slice(0, 19).replace('T', ' '),
      ...(withStatus ? [letter.status] : []),
      letter.table,
      letter.group ?? '-',
      letter.behind ? 'waits behind' : letter.kind,
      letter.behind ? '' : letter.message,
    ]);
    const head = ['ID', 'PARKED AT (UTC)', ...(withStatus ? ['STATUS'] : []), 'TABLE', 'GROUP', 'WHY', ''];
    for (const line of table([head, ...rows])) output.line(line);
  }
  if (counts.parked > 0) {
    output.note(`${count(counts.parked, 'letter')} parked in ${count(counts.groups, 'group')}`);
  }
}

/** One letter, with what it holds. Masks and exclusions were applied before it was stored. */
export async function showDeadLetter(id: number, context: CommandContext): Promise<ExitCode> {
  const { output } = context;
  const { config } = await loadFor(context);
  const letter = await withState(config, ({ deadLetters }) => deadLetters.get(id));
  if (letter === undefined) {
    throw new BanyanError('usage', `there is no dead letter ${id} of connector ${config.name}`, {
      remedy: '`banyan dead-letters list --all` shows which there are',
    });
  }
  if (output.json) {
    output.value({ ...letter, event: parsed(letter.event), change: parsed(letter.change) });
    return ExitCode.ok;
  }
  const facts = [
    ['status', letter.settledAt === undefined ? letter.status : `${letter.status} at ${letter.settledAt}`],
    ['parked', letter.parkedAt],
    ['table', letter.table],
    [
      'group',
      [letter.group ?? '-', ...(letter.previousGroup === undefined ? [] : [`(was ${letter.previousGroup})`])].join(' '),
    ],
    ['entry', letter.entry < 0 ? '-' : `capture[${letter.entry}]`],
    ['event', letter.eventId],
    ['sequence', letter.sequence],
    [
      'why',
      letter.behind
        ? 'waits behind an earlier one of its group'
        : [letter.kind, letter.code].filter((part) => part !== undefined).join(' '),
    ],
    ...(letter.behind ? [] : [['', letter.message]]),
  ];
  for (const line of table(facts)) output.line(line);
  for (const [title, text] of [
    ['event', letter.event],
    ['change', letter.change],
  ] as const) {
    if (text === undefined) continue;
    output.line();
    output.line(output.paint('bold', title));
    output.line(indent(JSON.stringify(parsed(text), undefined, 2), 2));
  }
  if (letter.status === 'parked') output.note(`\nredrive it: banyan dead-letters redrive ${letter.id}`);
  return ExitCode.ok;
}

function parsed(text: string | undefined): unknown {
  return text === undefined ? undefined : JSON.parse(text);
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
  const letters = chosen(options);
  const { config } = await loadFor(context);
  return withState(config, async (state) => {
    const found = await state.deadLetters.list({ ...filterOf(letters), status: 'parked', limit: COUNTED });
    if (found.length === 0) {
      if (output.json) output.value({ discarded: 0 });
      else output.line('nothing of that is parked');
      return ExitCode.ok;
    }
    if (!options.yes)
      throw new BanyanError('usage', loss(found), {
        remedy: 'add --yes to do it; to send them again instead: `banyan dead-letters redrive`',
      });
    const discarded = await discard(letters, state);
    if (output.json) output.value({ discarded });
    else output.line(`${output.paint('green', '✓')} discarded ${count(discarded, 'letter')}`);
    if (letters.ids !== undefined) output.note('what waits behind them stays parked until it is redriven');
    return ExitCode.ok;
  });
}

function loss(letters: readonly Omit<DeadLetter, 'event' | 'change'>[]): string {
  const tables = Map.groupBy(letters, (letter) => letter.table);
  const parts = [...tables].map(([name, of]) => `${of.length.toLocaleString('en-US')} of ${name}`);
  const more = letters.length === COUNTED ? 'at least ' : '';
  return `${more}${count(letters.length, 'parked change')} would be lost for good (${parts.join(', ')}): no consumer ever learns of them`;
}

async function discard(letters: ChosenLetters, state: State): Promise<number> {
  const { requests, deadLetters } = state;
  const id = await requests.insert({ command: 'discard', arguments: { ...letters }, requestedBy: requester() });
  const outcome = await requests.await(id, { timeoutMs: WORKER_TAKES_MS, signal: new AbortController().signal });
  switch (outcome.status) {
    case 'finished':
      return (outcome.result as { readonly discarded: number }).discarded;
    case 'unclaimed':
      return deadLetters.discard(filterOf(letters));
    case 'failed':
      throw new BanyanError('unknown', `the worker could not discard: ${outcome.error}`);
    default:
      throw new BanyanError('unknown', `the worker is still at request ${id}`, {
        remedy: 'look again with `banyan dead-letters list`',
      });
  }
}
