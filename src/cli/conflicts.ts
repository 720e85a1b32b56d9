import { BanyanError } from '../core/errors.ts';
import type { Conflict, ConflictKind, ConflictRow } from '../state/conflicts.ts';
import { type CommandContext, ExitCode, loadFor } from './context.ts';
import { count, type Output, table } from './output.ts';
import { listedName, stored } from './stored-table.ts';
import { shown } from './terminal-text.ts';
import { withState } from './with-state.ts';

export interface ConflictList {
  readonly table: string | undefined;
  readonly kind: ConflictKind | undefined;
  /** Only those that wait for a person. */
  readonly open: boolean;
  readonly limit: number;
}

/** Where both sides had changed what the other did not know, and what became of it. */
export async function listConflicts(options: ConflictList, context: CommandContext): Promise<ExitCode> {
  const { output } = context;
  const { config } = await loadFor(context);
  await withState(config, async (state) => {
    const { conflicts } = state;
    const { kind, open, limit } = options;
    const found = await conflicts.list({
      ...(await stored({ table: options.table }, { config, state })),
      ...(kind === undefined ? {} : { kind }),
      open,
      limit,
    });
    const waiting = await conflicts.countOpen();
    if (output.json) output.value({ open: waiting, conflicts: found });
    else printList(found, { waiting, output });
  });
  return ExitCode.ok;
}

function printList(
  conflicts: readonly Conflict[],
  { waiting, output }: { readonly waiting: number; readonly output: Output },
): void {
  if (conflicts.length === 0) {
    output.line(`${output.paint('green', '✓')} no conflict${waiting > 0 ? ' that was asked for' : ''}`);
  } else {
    const head = ['ID', 'MET AT (UTC)', 'TABLE', 'KEY', 'KIND', 'POLICY', 'RESOLUTION'];
    const rows = conflicts.map((conflict) => [
      `${conflict.id}`,
      conflict.detectedAt.slice(0, 19).replace('T', ' '),
      shown(listedName(conflict.table)),
      shortened(keyText(conflict.key), KEY_WIDTH),
      conflict.kind,
      conflict.policy,
      resolutionText(conflict),
    ]);
    for (const line of table([head, ...rows])) output.line(line);
  }
  if (waiting > 0) output.note(`${count(waiting, 'conflict')} to decide: banyan conflicts list --open`);
}

/** One conflict, its rows side by side as they were stored: masked, and without excluded columns. */
export async function showConflict(id: number, context: CommandContext): Promise<ExitCode> {
  const { output } = context;
  const { config } = await loadFor(context);
  const conflict = await withState(config, ({ conflicts }) => conflicts.get(id));
  if (conflict === undefined) throw unknownConflict(id, config.name);
  if (output.json) {
    output.value(conflict);
    return ExitCode.ok;
  }
  const facts = [
    ['met', conflict.detectedAt],
    ['table', shown(listedName(conflict.table))],
    ['key', keyText(conflict.key)],
    ['kind', `${conflict.kind}: ${MEANING[conflict.kind]}`],
    ['policy', conflict.policy],
    ['resolution', resolutionText(conflict)],
    ...(conflict.resolvedAt === undefined ? [] : [['resolved', conflict.resolvedAt]]),
    ...(conflict.note === undefined ? [] : [['note', shown(conflict.note)]]),
    ['event', `${shown(conflict.eventId)} of ${shown(conflict.producer)}`],
    ['target', conflict.target],
  ];
  for (const line of table(facts)) output.line(line);
  output.line();
  for (const line of sideBySide(conflict)) output.line(line);
  if (conflict.resolvedAt === undefined) {
    output.note(`\ndecide it: banyan conflicts resolve ${conflict.id} --keep current|proposed`);
  }
  return ExitCode.ok;
}

export function unknownConflict(id: number, connector: string): BanyanError {
  return new BanyanError('usage', `there is no conflict ${id} of connector ${connector}`, {
    remedy: '`banyan conflicts list` shows which there are',
  });
}

/** `new-wins`, `legacy-wins by ada`, or `open`. */
export function resolutionText({ resolution, resolvedAt, resolvedBy }: Conflict): string {
  if (resolvedAt === undefined) return 'open';
  return resolvedBy === undefined ? resolution : `${resolution} by ${shown(resolvedBy)}`;
}

const KEY_WIDTH = 48;
const VALUE_WIDTH = 40;

const MEANING: Readonly<Record<ConflictKind, string>> = {
  insert_exists: 'the event makes a row that is there already, and not from us',
  update_missing: 'the row that the event changes never came',
  update_origin_differs: 'the row was changed here since the producer last saw it',
  update_deleted: 'the row that the event changes was deleted',
  delete_missing: 'the row that the event deletes was not there',
  delete_origin_differs: 'the row that the event deletes was changed here since the producer last saw it',
  constraint_violation: 'a constraint of the table refuses the row',
  fk_missing: 'the row that it refers to never came',
  schema_mismatch: 'the table is not what the entry of reverse.apply takes it for',
  echo_diverged: 'a trigger let the write fall, so that nothing stands there of it',
};

function keyText(key: ConflictRow): string {
  return Object.entries(key)
    .map(([column, value]) => `${column}=${valueText(value)}`)
    .join(', ');
}

/** A line for each column that one of the rows has. */
function sideBySide({ expected, proposed, current }: Conflict): string[] {
  const sides = [expected, proposed, current];
  const columns = new Set(sides.flatMap((row) => Object.keys(row ?? {})));
  const titles = [
    '',
    expected === undefined ? 'EXPECTED (not said)' : 'EXPECTED',
    proposed === undefined ? 'PROPOSED (delete)' : 'PROPOSED',
    current === undefined ? 'CURRENT (no row)' : 'CURRENT',
  ];
  const rows = [...columns].map((column) => [
    column,
    ...sides.map((row) =>
      row === undefined || !(column in row) ? '-' : shortened(valueText(row[column] ?? null), VALUE_WIDTH),
    ),
  ]);
  return table([titles, ...rows]);
}

/** Text is in quotes, so that NULL, nothing and spaces are what they are, and no value can write on the terminal. */
function valueText(value: string | null): string {
  if (value === null) return 'NULL';
  return /^-?\d[\d.]{0,30}$/.test(value) ? value : shown(JSON.stringify(value));
}

function shortened(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, width - 1)}…`;
}
