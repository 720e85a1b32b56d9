import { BanyanError } from '../core/errors.ts';
import { moment } from '../progress/words.ts';
import { answerOf } from './answer.ts';
import { type CommandContext, ExitCode, loadFor } from './context.ts';
import { requester } from './selection.ts';
import { withState } from './with-state.ts';

/** More than a worker gives the stream to come to its test. */
const TIMEOUT_MS = 30_000;

/** Has the worker write a message as reverse sync does, and see it in the stream: what the gate REVERSE_TEST asks for before a table takes events. */
export async function testReverse(context: CommandContext): Promise<ExitCode> {
  const { output } = context;
  const { config } = await loadFor(context);
  if (config.reverse === undefined) {
    throw new BanyanError('usage', 'there is no way back to test: the configuration has no `reverse`', {
      remedy: '`banyan check` looks at everything else',
    });
  }
  return withState(config, async ({ requests }) => {
    const request = await requests.insert({ command: 'test-reverse', arguments: {}, requestedBy: requester() });
    const answer = await answerOf(request, requests, { timeoutMs: TIMEOUT_MS, output });
    if (answer.status === 'failed') {
      throw new BanyanError('preflight', `the way back is not proved: ${answer.error}`, {
        remedy: 'GET /v1/status says what reverse sync waits for, and what mends it',
      });
    }
    if (answer.status !== 'finished') {
      throw new BanyanError('slot-in-use', `the worker is still at the test (request ${request})`, {
        remedy: 'ask again when the stream has caught up',
      });
    }
    const { testedAt } = answer.result as { readonly testedAt: string };
    if (output.json) output.value({ testedAt });
    else {
      output.line(
        `${output.paint('green', '✓')} the stream shows what reverse sync writes, and the worker knows it (${moment(testedAt)})`,
      );
    }
    return ExitCode.ok;
  });
}
