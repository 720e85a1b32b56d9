import { BanyanError } from '../core/errors.ts';
import type { RedriveReport } from '../capture/redrive-task.ts';
import type { State } from '../state/state.ts';
import { answerOf } from './answer.ts';
import { type CommandContext, ExitCode, loadFor } from './context.ts';
import { groupForPeople } from './letter-group.ts';
import { type Direction, DIRECTIONS, findLetter, type Letter } from './letters.ts';
import { count, type Output } from './output.ts';
import { argumentsOf, chosen, directionsOf, requester, type Selection } from './selection.ts';
import { stored } from './stored-table.ts';
import { withState } from './with-state.ts';

export interface RedriveCommand extends Selection {
  /** Wait for the worker's answer. */
  readonly wait: boolean;
  readonly timeoutMs: number;
}

/** Asks the worker to send or apply parked letters again, and waits for what came of it. */
export async function redriveDeadLetters(options: RedriveCommand, context: CommandContext): Promise<ExitCode> {
  const { output } = context;
  const chosenLetters = chosen(options);
  const { config } = await loadFor(context);
  return withState(config, async (state) => {
    const { requests } = state;
    const letters = await stored(chosenLetters, { config, state });
    const directions = await directionsToAsk(options, { state, isReverse: config.reverse !== undefined });
    const asked: { direction: Direction; request: number }[] = [];
    for (const direction of directions) {
      const request = { command: 'redrive', arguments: argumentsOf(letters, direction), requestedBy: requester() };
      asked.push({ direction, request: await requests.insert(request) });
    }
    if (!options.wait) {
      if (output.json) output.value({ requests: asked, status: 'asked' });
      else {
        const numbers = asked.map(({ request }) => request).join(', ');
        output.line(`asked the worker (request ${numbers}); \`banyan dead-letters list\` shows what is left`);
      }
      return ExitCode.ok;
    }
    const reports: DirectedReport[] = [];
    for (const { direction, request } of asked) {
      const outcome = await answerOf(request, requests, { timeoutMs: options.timeoutMs, output });
      switch (outcome.status) {
        case 'finished':
          reports.push(shownReport({ direction, ...(outcome.result as RedriveReport) }, groupForPeople(config)));
          break;
        case 'failed':
          throw new BanyanError('unknown', `the redrive (${direction}) failed: ${outcome.error}`, {
            remedy: outcome.remedy ?? 'the worker’s log says more; what was not sent or applied stays parked',
          });
        default:
          if (output.json) output.value({ request, status: 'running' });
          else
            output.line(
              `the worker is still at it (request ${request}); \`banyan dead-letters list\` shows what is left`,
            );
          return ExitCode.ok;
      }
    }
    return report(reports, output);
  });
}

/** With numbers, those of their letters. Else both, where there is a way back. Refuses what no worker could do. */
async function directionsToAsk(
  options: RedriveCommand,
  { state, isReverse }: { readonly state: State; readonly isReverse: boolean },
): Promise<readonly Direction[]> {
  const found = await Promise.all(options.ids.map((id) => knownLetter(id, state)));
  const named = found.map(({ direction }) => direction);
  const wanted = options.ids.length > 0 ? named : directionsOf(options);
  const mustReverse = named.includes('reverse') || options.direction === 'reverse';
  if (mustReverse && !isReverse) {
    throw new BanyanError('usage', 'the configuration has no `reverse`: no worker applies events', {
      remedy: 'configure `reverse` again, or give the letters up with `banyan dead-letters discard`',
    });
  }
  return DIRECTIONS.filter((direction) => wanted.includes(direction) && (direction === 'forward' || isReverse));
}

async function knownLetter(id: number, state: State): Promise<Letter> {
  const letter = await findLetter(state, id);
  if (letter?.status === 'parked') return letter;
  throw new BanyanError(
    'usage',
    letter === undefined ? `there is no dead letter ${id}` : `dead letter ${id} is ${letter.status} already`,
    { remedy: '`banyan dead-letters list` shows what is parked' },
  );
}

type DirectedReport = RedriveReport & { readonly direction: Direction };

function shownReport(report: DirectedReport, groupOf: (group: string) => string): DirectedReport {
  if (report.direction === 'forward') return report;
  return { ...report, stopped: report.stopped.map((each) => ({ ...each, group: groupOf(each.group) })) };
}

function report(reports: readonly DirectedReport[], output: Output): ExitCode {
  const isComplete = reports.every(({ stopped }) => stopped.length === 0);
  const exitCode = isComplete ? ExitCode.ok : ExitCode.unexpected;
  if (output.json) {
    const [only] = reports;
    output.value(reports.length === 1 ? only : { reports });
    return exitCode;
  }
  for (const { direction, sent, parked, withoutEvent, stopped } of reports) {
    const mark = stopped.length === 0 ? output.paint('green', '✓') : output.paint('yellow', '!');
    const aside = parked === 0 ? '' : `; ${parked} of held tables parked under their own key`;
    output.line(`${mark} ${doneText(direction, sent)}${aside}${withoutText(direction, withoutEvent)}`);
    for (const { group, letter, reason } of stopped) {
      output.line(`  still parked: ${group}${letter === undefined ? '' : `, at letter ${letter}`}: ${reason}`);
    }
  }
  return exitCode;
}

function doneText(direction: Direction, number: number): string {
  return `${direction === 'forward' ? 'sent' : 'applied'} ${count(number, 'event')}`;
}

function withoutText(direction: Direction, number: number): string {
  if (number === 0) return '';
  return direction === 'forward'
    ? `; ${count(number, 'change makes', 'changes make')} no event under today’s mapping`
    : `; ${count(number, 'event is', 'events are')} taken by no entry of reverse.apply any more`;
}
