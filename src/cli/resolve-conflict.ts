import { BanyanError } from '../core/errors.ts';
import type { Conflict } from '../state/conflicts.ts';
import { answerOf } from './answer.ts';
import { resolutionText, unknownConflict } from './conflicts.ts';
import { type CommandContext, ExitCode, loadFor } from './context.ts';
import type { Output } from './output.ts';
import { requester } from './selection.ts';
import { withState } from './with-state.ts';

export interface ConflictDecision {
  readonly id: number;
  readonly keep: 'current' | 'proposed';
  readonly note: string | undefined;
  /** undefined: the user of the operating system. */
  readonly by: string | undefined;
  readonly timeoutMs: number;
}

/** What the worker answers. */
export interface ConflictResolved {
  /** stale: a newer event of the row has come meanwhile, so that nothing was left to write. …-before: so it was done already, whatever is said now. */
  readonly outcome: 'applied' | 'refused' | 'stale' | 'recorded' | 'applied-before' | 'refused-before';
  /** Why something still stands behind the event. */
  readonly behind?: string;
}

/** Has the worker apply the parked event once more, with the side that wins now. Only it knows what else of the row is on its way. */
export async function resolveConflict(decision: ConflictDecision, context: CommandContext): Promise<ExitCode> {
  const { output } = context;
  const { id, keep, note, timeoutMs } = decision;
  const { config } = await loadFor(context);
  return withState(config, async ({ conflicts, requests }) => {
    const conflict = await conflicts.get(id);
    if (conflict === undefined) throw unknownConflict(id, config.name);
    refuseResolved(conflict);
    const by = decision.by ?? requester();
    const request = await requests.insert({
      command: 'resolve-conflict',
      arguments: { conflict: id, keep, by, ...(note === undefined ? {} : { note }) },
      requestedBy: requester(),
    });
    const answer = await answerOf(request, requests, { timeoutMs, output });
    switch (answer.status) {
      case 'finished':
        report(answer.result as ConflictResolved, { decision, output });
        return ExitCode.ok;
      case 'failed':
        throw notDone((await conflicts.get(id)) ?? conflict, answer);
      default:
        if (output.json) output.value({ request, status: 'running' });
        else
          output.line(
            `the worker is still at it (request ${request}); \`banyan conflicts show ${id}\` says what came of it`,
          );
        return ExitCode.ok;
    }
  });
}

/** What was decided in the meantime is decided, whatever failed behind it. */
function notDone(
  conflict: Conflict,
  { error, remedy }: { readonly error: string; readonly remedy: string | undefined },
) {
  const { id, resolvedAt } = conflict;
  const how = resolvedAt === undefined ? 'still open' : `resolved (${resolutionText(conflict)}), and yet`;
  return new BanyanError('unknown', `conflict ${id} is ${how}: ${error}`, {
    remedy: remedy ?? `see how the row stands now with \`banyan conflicts show ${id}\`; the worker’s log says more`,
  });
}

function refuseResolved(conflict: Conflict): void {
  if (conflict.resolvedAt === undefined) return;
  throw new BanyanError(
    'usage',
    `conflict ${conflict.id} is resolved already: ${resolutionText(conflict)}, at ${conflict.resolvedAt}`,
    { remedy: '`banyan conflicts list --open` shows what is left to decide' },
  );
}

function report(
  result: ConflictResolved,
  { decision, output }: { readonly decision: ConflictDecision; readonly output: Output },
): void {
  const { id, keep } = decision;
  if (output.json) output.value({ conflict: id, keep, ...result });
  else {
    output.line(`${output.paint('green', '✓')} conflict ${id}: ${MEANING[result.outcome]}`);
    if (result.behind !== undefined)
      output.note(`what stands behind it is not applied yet: ${result.behind}; see \`banyan dead-letters list\``);
  }
}

const MEANING: Readonly<Record<ConflictResolved['outcome'], string>> = {
  applied: 'the event is written',
  refused: 'the row stays, and a correction tells the producer how it stands',
  stale: 'a newer event of the row had come meanwhile; nothing was left to write',
  recorded: 'the row stays; its event is not parked any more',
  'applied-before': 'the event had been written before, and that is recorded',
  'refused-before':
    'the event had been refused before, and that is recorded; a correction has told the producer how the row stood',
};
