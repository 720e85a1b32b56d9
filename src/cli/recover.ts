import { type Config, slotName } from '../config/schema.ts';
import { BanyanError } from '../core/errors.ts';
import { ZERO_LSN } from '../core/lsn.ts';
import { withClient } from '../postgres/connection.ts';
import { dropSlot, observeSlot } from '../postgres/slot.ts';
import type { Gap } from '../state/gaps.ts';
import type { State } from '../state/state.ts';
import { connectionOf } from '../worker.ts';
import { type CommandContext, ExitCode, loadFor } from './context.ts';
import type { Output } from './output.ts';
import { requester } from './selection.ts';
import { withState } from './with-state.ts';

export interface RecoverOptions {
  /** Without it, it only says what is open. */
  readonly acceptGap: boolean;
}

/**
 * Shows the gaps that halt the worker, and with `--accept-gap` lets it go on from where it can: a slot that is of no use is dropped and made
 * anew, a table is captured from now on. What is missing stays missing, and stays recorded.
 */
export async function recover(options: RecoverOptions, context: CommandContext): Promise<ExitCode> {
  const { output } = context;
  const { config } = await loadFor(context);
  return withState(config, async (state) => {
    const gaps = await state.gaps.open();
    if (gaps.length === 0) {
      if (output.json) output.value({ accepted: [] });
      else output.line('there is no gap to recover from');
      return ExitCode.ok;
    }
    if (!options.acceptGap) {
      const [first] = gaps;
      for (const gap of gaps) show(gap, output);
      throw new BanyanError(
        'preflight',
        `${gaps.length === 1 ? 'a gap is' : `${gaps.length} gaps are`} open, the first since ${first?.detectedAt ?? '?'}`,
        {
          remedy:
            '`banyan recover --accept-gap` goes on without what is missing; bring it to the new system by other means where it matters',
        },
      );
    }
    for (const gap of gaps) await accept(gap, { config, state });
    if (output.json) {
      output.value({ accepted: gaps.map(({ id, kind, subject, report }) => ({ id, kind, subject, report })) });
      return ExitCode.ok;
    }
    for (const gap of gaps) show(gap, output);
    output.line(`${output.paint('green', '✓')} accepted; a worker that halted for it goes on within seconds`);
    return ExitCode.ok;
  });
}

/** The state is changed before the gap counts as accepted: interrupted between the two, the command can be given again. */
async function accept(gap: Gap, to: { config: Config; state: State }): Promise<void> {
  const { config, state } = to;
  if (gap.kind.startsWith('table-')) {
    await state.tables.remove([gap.subject]);
  } else {
    await withClient(connectionOf(config), async (client) => {
      const slot = await observeSlot(client, slotName(config));
      const isUseless = slot !== undefined && (slot.walStatus === 'lost' || slot.invalidation !== undefined);
      if (isUseless && config.legacy.slot.manage) await dropSlot(client, slotName(config));
    });
    const record = await state.slots.get();
    // Without a position the record only keeps the epoch: the slot that is there, or a new one, is taken as it stands.
    if (record !== undefined) await state.slots.save({ ...record, createdLsn: ZERO_LSN, confirmedLsn: ZERO_LSN });
  }
  await state.gaps.accept(requester(), gap.id);
}

function show(gap: Gap, output: Output): void {
  if (output.json) return;
  output.line(`${gap.detectedAt}  ${gap.kind}  ${gap.subject}`);
  for (const [name, fact] of Object.entries(gap.report)) {
    if (fact !== undefined && fact !== null)
      output.line(`  ${name}: ${typeof fact === 'string' ? fact : JSON.stringify(fact)}`);
  }
}
