import { BanyanError } from '../core/errors.ts';
import type { Stage, StageChange, TargetStage, Verdict } from '../core/progress.ts';
import { primaryOf, reverseIsOn } from '../core/stages.ts';
import type { TableFacts } from '../progress/facts.ts';
import { moveStage } from '../progress/move.ts';
import { isRollback, refusedMove, targetsOf } from '../progress/stages.ts';
import { judge, waysOf } from '../progress/verdict.ts';
import { moment, shellWord } from '../progress/words.ts';
import { type CommandContext, ExitCode, invocation, loadFor } from './context.ts';
import { factsFor, type TablePlace, withTable } from './facts-for.ts';
import { WIDTH, wrap } from './fit-columns.ts';
import { count, type Output, table as columns } from './output.ts';
import { requester } from './selection.ts';
import { VERDICT_EXIT, verdictLines } from './verdict.ts';

export interface StageOptions {
  readonly table: string;
  /** undefined: only show where it is, and where it was. */
  readonly to: TargetStage | undefined;
  readonly dryRun: boolean;
  /** Without it nothing is moved. */
  readonly yes: boolean;
  /** undefined: the user of the operating system. */
  readonly by: string | undefined;
}

const HISTORY = 20;

/** Moves a table to another stage, if the verdict of this moment allows; the move, its actor and that verdict are stored and published. */
export async function stage(options: StageOptions, context: CommandContext): Promise<ExitCode> {
  const { output, env } = context;
  const { config } = await loadFor(context);
  return withTable(config, options.table, async (place) => {
    const { table, display } = place.table;
    if (options.to === undefined) return await show(place, output);
    const { to } = options;
    const facts = await factsFor(config, place);
    const found = facts.tables.get(table);
    if (found === undefined) throw new BanyanError('usage', `nothing is known of ${display}`);
    refuse(found, { to, display });
    const verdict = judge(facts, table, to, new Date());
    const skipped = reverseIsOn(to) && !reverseIsOn(found.stage) ? await place.state.inbox.countSkipped(table) : 0;
    if (!output.json)
      for (const line of verdictLines(verdict, { display, me: invocation(env), output })) output.line(line);
    if (verdict.result !== 'ready' || options.dryRun || !options.yes) {
      if (output.json) output.value({ moved: false, verdict, skipped });
      else sayWhyNot(verdict, { options, display, skipped, context });
      return VERDICT_EXIT[verdict.result];
    }
    const actor = (options.by ?? requester()).trim();
    const { state, pool } = place;
    const change = await moveStage({ state, legacyPool: pool, table, from: found.stage, to, actor, verdict });
    if (output.json) output.value({ moved: true, change, skipped, primary: primaryOf(to) });
    else sayMoved(change, { display, skipped, output });
    return ExitCode.ok;
  });
}

function refuse(found: TableFacts, { to, display }: { to: TargetStage; display: string }): void {
  const refused = refusedMove(found.stage, to, waysOf(found));
  if (refused === undefined) return;
  const targets = targetsOf(found.stage, waysOf(found));
  throw new BanyanError('usage', `${display} can not go to ${to}: ${refused}`, {
    remedy: targets.length === 0 ? '`banyan status` shows how far it is' : `it can go to ${targets.join(' or ')}`,
  });
}

function sayWhyNot(
  { result, from, to }: Verdict,
  about: { options: StageOptions; display: string; skipped: number; context: CommandContext },
): void {
  const { options, display, skipped, context } = about;
  const { output, env } = context;
  if (result !== 'ready') {
    output.line(`not moved: ${display} stays ${from}`);
    return;
  }
  const what = options.dryRun ? 'it would go' : 'nothing was moved; it can go';
  const texts = [
    ...(skipped > 0 ? [skippedText(skipped)] : []),
    `${what} from ${from} to ${to}: ${effectOf(from, to)}`,
  ];
  for (const line of texts.flatMap((text) => wrap(text, WIDTH))) output.line(line);
  if (!options.dryRun) output.line(`  ${invocation(env)} stage ${shellWord(display)} --to ${to} --yes`);
}

function sayMoved(
  { from, to }: StageChange,
  { display, skipped, output }: { display: string; skipped: number; output: Output },
): void {
  output.line(`${output.paint('green', '✓')} ${display}: ${from} → ${to}; ${effectOf(from, to)}`);
  if (skipped > 0) for (const line of wrap(skippedText(skipped), WIDTH - 2)) output.line(`  ${line}`);
  output.note('TableStageChanged is on its way to the bus');
}

function skippedText(skipped: number): string {
  return `${count(skipped, 'event')} of the new system ${skipped === 1 ? 'was' : 'were'} skipped while reverse sync was off for it: replay them from the bus’s archive, with \`replay: allow\` in the entry`;
}

const PRIMARY = {
  legacy: 'the legacy system is primary',
  new: 'the new system is primary',
  nobody: 'nobody writes it any more',
};

function effectOf(from: Stage, to: Stage): string {
  const reverse = reverseIsOn(to) ? 'events of the new system are applied' : 'events of the new system are skipped';
  return `${PRIMARY[primaryOf(to)]}, ${reverse}${isRollback(from, to) ? ' (a way back)' : ''}`;
}

async function show({ state, table: { table, display } }: TablePlace, output: Output): Promise<ExitCode> {
  const [now, changes] = await Promise.all([
    state.stages.get(table),
    state.stageChanges.list({ table, limit: HISTORY }),
  ]);
  if (output.json) {
    output.value({ table, stage: now, primary: primaryOf(now), changes });
    return ExitCode.ok;
  }
  output.line(`${display} is ${output.paint('bold', now)}: ${PRIMARY[primaryOf(now)]}`);
  const rows = changes.map(({ at, from, to, actor, verdict }) => [
    moment(at),
    `${from} → ${to}`,
    actor,
    verdict === undefined ? 'by itself' : waivedOf(verdict),
  ]);
  for (const line of columns(rows)) output.line(`  ${line}`);
  return ExitCode.ok;
}

function waivedOf({ result, gates }: Verdict): string {
  const waived = gates.filter(({ waiver }) => waiver !== undefined).map(({ code }) => code);
  return waived.length === 0 ? result : `${result}, waived: ${waived.join(', ')}`;
}
