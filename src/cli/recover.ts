import type { LoadedConfig } from '../config/load.ts';
import { type Config, slotName } from '../config/schema.ts';
import { BanyanError } from '../core/errors.ts';
import { ZERO_LSN } from '../core/lsn.ts';
import { withClient } from '../postgres/connection.ts';
import { dropSlot, observeSlot } from '../postgres/slot.ts';
import type { BackfillRun } from '../state/backfills.ts';
import type { Gap } from '../state/gaps.ts';
import type { State } from '../state/state.ts';
import { connectionOf } from '../worker.ts';
import { loadMappingFiles, openTables } from './captured-table.ts';
import { type CommandContext, ExitCode, loadFor } from './context.ts';
import type { Output } from './output.ts';
import { requester } from './selection.ts';
import { withState } from './with-state.ts';

export interface RecoverOptions {
  /** Without it, it only says what is open. */
  readonly acceptGap: boolean;
  /** Whether the rows of the tables concerned are sent again. */
  readonly backfill: boolean;
}

/**
 * Shows the gaps that halt the worker, and with `--accept-gap` lets it go on from where it can: a slot that is of no use is dropped and made
 * anew, a table is captured from now on. The rows of the tables concerned are sent again, and the end of each run tells consumers to sweep away what was
 * deleted meanwhile. The gap stays recorded.
 */
export async function recover(options: RecoverOptions, context: CommandContext): Promise<ExitCode> {
  const { output } = context;
  const loaded = await loadFor(context);
  const { config } = loaded;
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
            '`banyan recover --accept-gap` goes on with a new position and backfills the tables concerned; consumers find what was deleted by the sweep that the end of a run allows',
        },
      );
    }
    const readable = options.backfill ? await readableTables(loaded) : [];
    const backfills = new Set<string>();
    for (const gap of gaps) {
      const concerned = gap.kind.startsWith('table-') ? readable.filter((table) => table === gap.subject) : readable;
      await backfillAgain(concerned, { gap, state });
      for (const table of concerned) backfills.add(table);
      await accept(gap, { config, state });
    }
    if (output.json) {
      const accepted = gaps.map(({ id, kind, subject, report }) => ({ id, kind, subject, report }));
      output.value({ accepted, backfills: [...backfills] });
      return ExitCode.ok;
    }
    for (const gap of gaps) show(gap, output);
    output.line(`${output.paint('green', '✓')} accepted; a worker that halted for it goes on within seconds`);
    if (backfills.size > 0) {
      output.line(`  backfills again: ${[...backfills].join(', ')}`);
      output.line(
        '  rows that were deleted in the gap: consumers sweep when BackfillCompleted comes (docs/consuming.md)',
      );
    }
    return ExitCode.ok;
  });
}

/** Of the captured tables, those whose rows become events. */
async function readableTables(loaded: LoadedConfig): Promise<string[]> {
  const files = await loadMappingFiles(loaded);
  return withClient(connectionOf(loaded.config), async (client) => {
    const tables: string[] = [];
    for (const { table, mappers } of await openTables(client, { loaded, files })) {
      if (mappers.some(({ takesReads }) => takesReads)) tables.push(`${table.schema}.${table.name}`);
    }
    return tables;
  });
}

/** A run that is open can not go on: what changed in the gap behind its cursor it would never see. */
async function backfillAgain(tables: readonly string[], { gap, state }: { gap: Gap; state: State }): Promise<void> {
  for (const table of tables) {
    const [last] = await state.backfills.latest(table);
    if (last !== undefined && isWholeSince(last, gap)) continue;
    if (last !== undefined)
      await state.backfills.move(last.id, 'replaced', ['waiting', 'running', 'paused'], 'a gap was accepted');
    await state.backfills.create({ table, requestedBy: requester() });
  }
}

/** As an interrupted command left it: a run that begins behind the gap, of all rows. */
function isWholeSince({ where, partition, status, requestedAt }: BackfillRun, { detectedAt }: Gap): boolean {
  const isWhole = where === undefined && partition === undefined;
  return isWhole && status === 'waiting' && requestedAt > detectedAt;
}

/** The state is changed before the gap counts as accepted: interrupted between the two, the command can be given again. */
async function accept(gap: Gap, to: { config: Config; state: State }): Promise<void> {
  const { config, state } = to;
  if (gap.kind.startsWith('table-')) {
    // The record stays: without any, the worker would take the table for one that was put back, and read it again.
    await state.tables.forgetPosition(gap.subject);
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
