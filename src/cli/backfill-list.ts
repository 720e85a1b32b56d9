import { type CommandContext, ExitCode, loadFor } from './context.ts';
import { paceOf, progressOf, roughly } from './backfill-pace.ts';
import { table } from './output.ts';
import { withState } from './with-state.ts';

/** The last run of each table, as state has it: no worker need be there. */
export async function listBackfills(context: CommandContext): Promise<ExitCode> {
  const { output } = context;
  const { config } = await loadFor(context);
  const runs = await withState(config, ({ backfills }) => backfills.latest());
  const nowMs = Date.now();
  if (output.json) {
    output.value({ runs: runs.map((run) => ({ ...run, ...paceOf(run, nowMs) })) });
    return ExitCode.ok;
  }
  if (runs.length === 0) {
    output.line('no table had a backfill');
    output.note('`banyan backfill TABLE --dry-run` says what one would send, `banyan backfill TABLE` asks for it');
    return ExitCode.ok;
  }
  const rows = runs.map((run) => {
    const { rowsPerSecond, etaSeconds } = paceOf(run, nowMs);
    return [
      run.table,
      `${run.id}`,
      run.status,
      progressOf(run),
      rowsPerSecond === undefined ? '-' : Math.round(rowsPerSecond).toLocaleString('en-US'),
      etaSeconds === undefined ? '-' : roughly(etaSeconds),
      [
        ...(run.partition === undefined ? [] : [`partition ${run.partition}`]),
        ...(run.where === undefined ? [] : [`where ${run.where.replaceAll(/\s+/g, ' ')}`]),
        ...(run.reason === undefined ? [] : [run.reason]),
      ].join('  '),
    ];
  });
  for (const line of table([['TABLE', 'RUN', 'STATUS', 'ROWS SENT', 'ROWS/S', 'ETA', ''], ...rows])) output.line(line);
  return ExitCode.ok;
}
