import { BanyanError } from '../core/errors.ts';
import type { RedriveReport } from '../capture/redrive-task.ts';
import type { DeadLetterStore } from '../state/dead-letters.ts';
import { answerOf } from './answer.ts';
import { type CommandContext, ExitCode, loadFor } from './context.ts';
import { count, type Output } from './output.ts';
import { chosen, requester, type Selection } from './selection.ts';
import { withState } from './with-state.ts';

export interface RedriveCommand extends Selection {
  /** Wait for the worker's answer. */
  readonly wait: boolean;
  readonly timeoutMs: number;
}

/** Asks the worker to send parked letters again, and waits for what came of it. */
export async function redriveDeadLetters(options: RedriveCommand, context: CommandContext): Promise<ExitCode> {
  const { output } = context;
  const letters = chosen(options);
  const { config } = await loadFor(context);
  return withState(config, async ({ requests, deadLetters }) => {
    if (letters.ids !== undefined) await refuseUnknown(letters.ids, deadLetters);
    const id = await requests.insert({ command: 'redrive', arguments: { ...letters }, requestedBy: requester() });
    if (!options.wait) {
      if (output.json) output.value({ request: id, status: 'asked' });
      else output.line(`asked the worker (request ${id}); \`banyan dead-letters list\` shows what is left`);
      return ExitCode.ok;
    }
    const outcome = await answerOf(id, requests, { timeoutMs: options.timeoutMs, output });
    switch (outcome.status) {
      case 'finished':
        return report(outcome.result as RedriveReport, output);
      case 'failed':
        throw new BanyanError('unknown', `the redrive failed: ${outcome.error}`, {
          remedy: 'the worker’s log says more; what was not sent stays parked',
        });
      default:
        if (output.json) output.value({ request: id, status: 'running' });
        else output.line(`the worker is still at it (request ${id}); \`banyan dead-letters list\` shows what is left`);
        return ExitCode.ok;
    }
  });
}

async function refuseUnknown(ids: readonly number[], deadLetters: Pick<DeadLetterStore, 'get'>): Promise<void> {
  for (const id of ids) {
    const letter = await deadLetters.get(id);
    if (letter?.status === 'parked') continue;
    throw new BanyanError(
      'usage',
      letter === undefined ? `there is no dead letter ${id}` : `dead letter ${id} is ${letter.status} already`,
      {
        remedy: '`banyan dead-letters list` shows what is parked',
      },
    );
  }
}

function report(result: RedriveReport, output: Output): ExitCode {
  const { sent, parked, withoutEvent, stopped } = result;
  const exitCode = stopped.length === 0 ? ExitCode.ok : ExitCode.unexpected;
  if (output.json) {
    output.value(result);
    return exitCode;
  }
  const mark = stopped.length === 0 ? output.paint('green', '✓') : output.paint('yellow', '!');
  const without =
    withoutEvent === 0 ? '' : `; ${count(withoutEvent, 'change makes', 'changes make')} no event under today’s mapping`;
  const aside = parked === 0 ? '' : `; ${parked} of held tables parked under their own key`;
  output.line(`${mark} sent ${count(sent, 'event')}${aside}${without}`);
  for (const { group, letter, reason } of stopped) {
    output.line(`  still parked: ${group}${letter === undefined ? '' : `, at letter ${letter}`}: ${reason}`);
  }
  return exitCode;
}
