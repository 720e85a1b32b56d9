import type { Gate, TargetStage, Verdict, VerdictResult } from '../core/progress.ts';
import { BanyanError } from '../core/errors.ts';
import { refusedMove } from '../progress/stages.ts';
import { judge, waysOf } from '../progress/verdict.ts';
import { moment } from '../progress/words.ts';
import { type CommandContext, ExitCode, invocation, loadFor } from './context.ts';
import { factsFor, withTable } from './facts-for.ts';
import { WIDTH, widthOf, wrap } from './fit-columns.ts';
import type { Output } from './output.ts';

export interface VerdictOptions {
  readonly table: string;
  readonly to: TargetStage;
}

export const VERDICT_EXIT: Readonly<Record<VerdictResult, ExitCode>> = {
  ready: ExitCode.ok,
  'not-ready': ExitCode.notReady,
  unknown: ExitCode.unknownVerdict,
};

/** Whether a table may move, and if not why, by what is known now. Changes nothing. */
export async function verdict({ table: name, to }: VerdictOptions, context: CommandContext): Promise<ExitCode> {
  const { output, env } = context;
  const { config } = await loadFor(context);
  return withTable(config, name, async (place) => {
    const { table, display } = place.table;
    const facts = await factsFor(config, place);
    const found = facts.tables.get(table);
    const refused = found && refusedMove(found.stage, to, waysOf(found));
    if (refused !== undefined) {
      throw new BanyanError('usage', `${display} can not go to ${to}: ${refused}`, {
        remedy: '`banyan status` shows the stage of each table, and the next',
      });
    }
    const judged = judge(facts, table, to, new Date());
    if (output.json) output.value(judged);
    else for (const line of verdictLines(judged, { display, me: invocation(env), output })) output.line(line);
    return VERDICT_EXIT[judged.result];
  });
}

const HEADS: Readonly<Record<VerdictResult, string>> = { ready: 'READY', 'not-ready': 'NOT READY', unknown: 'UNKNOWN' };
const COLOURS = { ready: 'green', 'not-ready': 'red', unknown: 'yellow' } as const;

/** The verdict on a screen of 100 columns: what stands in the way first. */
export function verdictLines(
  { from, to, result, gates }: Verdict,
  { display, me, output }: { readonly display: string; readonly me: string; readonly output: Pick<Output, 'paint'> },
): string[] {
  const waived = gates.filter(({ waiver }) => waiver !== undefined);
  const asked = gates.filter(({ waiver }) => waiver === undefined);
  const of = (wanted: Gate['result']) => asked.filter((gate) => gate.result === wanted);
  const counts = [
    ['pass', of('pass').length],
    ['fail', of('fail').length],
    ['unknown', of('unknown').length],
    ['waived', waived.length],
  ] as const;
  const move = `  ${display}: ${from} → ${to}`;
  const summary = counts.filter(([, count]) => count > 0).map(([what, count]) => `${count} ${what}`);
  const proof = `   ${summary.join(' · ') || 'nothing is to be proved'}`;
  const head = output.paint(['bold', COLOURS[result]], HEADS[result]) + move;
  return [
    ...(widthOf(HEADS[result] + move + proof) <= WIDTH ? [head + proof] : [head, proof]),
    ...[...of('fail'), ...of('unknown'), ...waived, ...of('pass')].flatMap((gate) => gateLines(gate, { me, output })),
  ];
}

const CODE_WIDTH = 14;

function gateLines(gate: Gate, { me, output }: { me: string; output: Pick<Output, 'paint'> }): string[] {
  const { code, result, value, threshold, reason, next, waiver } = gate;
  const sign =
    waiver !== undefined
      ? output.paint('yellow', '~')
      : result === 'pass'
        ? output.paint('green', '✓')
        : result === 'fail'
          ? output.paint('red', '✗')
          : output.paint('yellow', '?');
  const measured = [value, result === 'pass' ? undefined : `(asked for: ${threshold})`].filter(
    (part) => part !== undefined,
  );
  const indented = ' '.repeat(CODE_WIDTH + 5);
  const said = wrap([...measured, reason].join('  '), WIDTH - indented.length);
  const lines = said.map((text, number) =>
    number === 0 ? ` ${sign} ${code.padEnd(CODE_WIDTH)}  ${text}` : indented + text,
  );
  if (waiver !== undefined) {
    const words = `waived by ${waiver.by} until ${moment(waiver.until)}: ${waiver.reason}`;
    return [...lines, ...wrap(words, WIDTH - indented.length).map((text) => indented + text)];
  }
  if (result === 'pass' || next === undefined) return lines;
  return [...lines, `${indented}→ ${isCommand(next) ? `${me} ${next}` : next}`];
}

const COMMANDS = new Set([
  'backfill',
  'check',
  'conflicts',
  'dead-letters',
  'readers',
  'recover',
  'run',
  'status',
  'writers',
]);

/** Prose begins with a word that is none, or goes on otherwise than commands do. */
function isCommand(next: string): boolean {
  const [first = '', second] = next.split(' ');
  return COMMANDS.has(first) && (second === undefined || /^(--|list$|show$|[\w']+[."])/.test(second));
}
