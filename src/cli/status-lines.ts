import type { ProgressReport, TableReport } from '../core/progress.ts';
import { displayIdentifier, parseTableName } from '../postgres/identifier.ts';
import { moment, shellWord, span } from '../progress/words.ts';
import { roughly } from './backfill-pace.ts';
import { type Cut, cutEnd, cutMiddle, fitRows, visible, WIDTH, widthOf, wrap } from './fit-columns.ts';
import type { Output } from './output.ts';
import { backfillText, bytes, gatesText, openText, parityText, writesText } from './status-words.ts';

const HEAD_SEPARATOR = '  ';
const REMEDY = '  → ';
const CUTS: readonly Cut[] = [cutMiddle, cutEnd, cutEnd, cutEnd, cutEnd, cutEnd, cutEnd, cutEnd];
const [TABLE, BACKFILL, PARITY, WRITES, OPEN, NEXT] = [0, 3, 4, 5, 6, 7];
/** First what is said twice or is seldom needed, last what nothing else says. */
const GIVE = [
  { column: TABLE, least: 30 },
  { column: BACKFILL, least: 11 },
  // `verdict … --to new-primary`
  { column: NEXT, least: 26 },
  { column: TABLE, least: 16 },
  { column: PARITY, least: 4 },
  { column: BACKFILL, least: 8 },
  { column: NEXT, least: 13 },
  { column: BACKFILL, least: 5 },
  { column: WRITES, least: 11 },
  { column: OPEN, least: 4 },
];

export interface StatusView {
  readonly report: ProgressReport;
  /** Why no worker could be asked. */
  readonly noWorker: string | undefined;
  readonly output: Pick<Output, 'paint'>;
}

/** The report for people, in lines of at most 100 columns. */
export function statusLines(view: StatusView): string[] {
  const { report } = view;
  const lines = [...headLines(report), ...troubleLines(view)];
  if (report.tables.length === 0)
    return [...lines, 'no table is captured or written: see `banyan check`'].map((line) => cutEnd(line, WIDTH));
  return [...lines.map((line) => cutEnd(line, WIDTH)), ...tableLines(view), ...footLines(report)];
}

function headLines({ name, database, slot, worker }: ProgressReport): string[] {
  const { wal } = slot;
  const lag = [
    slot.lagSeconds === undefined ? undefined : span(slot.lagSeconds * 1_000),
    slot.lagBytes === undefined ? undefined : bytes(slot.lagBytes),
  ].filter((each) => each !== undefined);
  const holds =
    wal.heldBytes === undefined
      ? `WAL held not known, budget ${bytes(wal.budgetBytes)}`
      : `WAL held ${bytes(wal.heldBytes)} of ${bytes(wal.budgetBytes)}`;
  const facts = [
    `slot ${slot.name} ${slotText(slot)}`,
    `lag ${lag.length === 0 ? 'not known' : lag.join(' / ')}`,
    holds,
    ...(worker === undefined || worker.state === 'streaming' ? [] : [`worker ${worker.state}`]),
  ].join(' · ');
  const place = [visible(name), visible(database)].join(HEAD_SEPARATOR);
  const whole = `${place}${HEAD_SEPARATOR}${facts}`;
  return widthOf(whole) <= WIDTH ? [whole] : [cutMiddle(place, WIDTH), facts];
}

function slotText({ active, walStatus }: ProgressReport['slot']): string {
  if (active === undefined) return 'missing';
  if (walStatus === 'lost') return 'lost';
  return active ? 'active' : 'not read by anybody';
}

function troubleLines({ report, noWorker, output }: StatusView): string[] {
  const { worker, slot, stale, reverse, gaps } = report;
  const lines: string[] = [];
  const tell = (style: 'red' | 'yellow' | undefined, text: string, indent = ''): void => {
    // What to do stands at the end.
    for (const [index, line] of wrap(visible(text), WIDTH - indent.length).entries()) {
      const begin = index === 0 ? indent : ' '.repeat(indent.length);
      const fitted = cutEnd(begin + line, WIDTH);
      lines.push(style === undefined ? fitted : output.paint(style, fitted));
    }
  };
  if (worker === undefined) {
    const counted = newest(report.tables);
    const until =
      counted === undefined ? 'up to when writes are counted is not' : `writes are counted up to ${moment(counted)}`;
    tell('yellow', noWorker ?? 'no worker was asked');
    tell('yellow', `its lag in time and its pace are not known; ${until}`, '  ');
  }
  if (stale !== undefined) tell('red', `as it was at ${moment(report.at)}: ${stale.message}`);
  for (const [what, problem] of [
    ['worker', worker?.problem],
    ['reverse sync', reverse?.problem],
  ] as const) {
    if (problem === undefined) continue;
    // Standing by is no trouble: the line says for whom.
    if (problem.kind === 'slot-in-use') {
      tell(undefined, `${what} stands by: ${problem.message}`);
      continue;
    }
    tell('red', `${what}: ${problem.message}`);
    tell('red', problem.remedy, REMEDY);
  }
  // A worker that halted for it says so itself.
  for (const { kind, subject, detectedAt } of worker?.problem?.kind === 'gap' ? [] : gaps) {
    tell('red', `a gap since ${moment(detectedAt)} (${kind}, ${subject}): changes may be missing`);
    tell('red', '`banyan recover` shows it', REMEDY);
  }
  const { exhaustedInSeconds, growthPerSecond, action } = slot.wal;
  if (exhaustedInSeconds !== undefined) {
    const pace = growthPerSecond === undefined ? '' : ` at ${bytes(growthPerSecond)}/s`;
    const then = action === 'drop-slot' ? '; then a slot that does not drain is dropped' : '';
    tell('yellow', `the WAL budget is used up in ~${roughly(exhaustedInSeconds)}${pace}${then}`);
  }
  return lines;
}

function newest(tables: readonly TableReport[]): string | undefined {
  return tables
    .flatMap(({ writes }) => writes.countedUntil ?? [])
    .toSorted()
    .at(-1);
}

function tableLines({ report, output }: StatusView): string[] {
  const { tables } = report;
  const windowMs = (tables[0]?.writes.windowSeconds ?? 0) * 1_000;
  const heads = ['TABLE', 'STAGE', 'GATES', 'BACKFILL', 'PARITY', `OLD/NEW ${span(windowMs)}`, 'OPEN', 'NEXT'];
  const names = shortNames(tables.map(({ display }) => display));
  const rows = tables.map((table, index) => [
    visible(names[index] ?? ''),
    table.stage,
    gatesText(table),
    backfillText(table),
    parityText(table),
    writesText(table),
    openText(table),
    visible(table.next ?? '-'),
  ]);
  const layout = { columns: CUTS, width: WIDTH, give: GIVE };
  // The name stands in the row: where not all fits, it need not stand in commands again, and nothing else of them is cut for it.
  const isTight = fitRows([heads, ...rows], { ...layout, width: Number.MAX_SAFE_INTEGER }).some(
    (line) => widthOf(line) > WIDTH,
  );
  if (isTight) tables.forEach((table, index) => (rows[index] as string[]).splice(NEXT, 1, withoutName(table)));
  const [head = '', ...lines] = fitRows([heads, ...rows], layout);
  return [output.paint('dim', head), ...lines.map((line, index) => painted(line, { table: tables[index], output }))];
}

function painted(
  line: string,
  { table, output }: { readonly table: TableReport | undefined; readonly output: Pick<Output, 'paint'> },
): string {
  if (table === undefined) return line;
  const { held, conflicts, deadLetters } = table.open;
  if (held !== undefined || conflicts + deadLetters > 0) return output.paint('yellow', line);
  return table.verdict === 'ready' ? output.paint('green', line) : line;
}

/** As commands take them: without the schema, where it is the same everywhere. */
function shortNames(names: readonly string[]): readonly string[] {
  const parsed = names.map(parseTableName);
  const schemas = new Set(parsed.map(({ schema }) => schema.text));
  return schemas.size > 1 ? names : parsed.map(({ name }) => displayIdentifier(name.text));
}

/** `verdict … --to dual`; a name stands there in quotes of the shell where it needs them. */
function withoutName({ next, display }: TableReport): string {
  return next === undefined ? '-' : visible(next.replace(shellWord(display), () => '…'));
}

function footLines({ tables }: ProgressReport): string[] {
  const isWaived = tables.some((table) => gatesText(table).endsWith('*'));
  const isPart = tables.some(({ writes }) => writes.covered === 'part');
  return [
    ...(isWaived ? ['* with waivers: `verdict` names them, and who gave them until when'] : []),
    ...(isPart ? ['~ writes: not all of that time was counted'] : []),
  ];
}
