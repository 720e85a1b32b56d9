import type pg from 'pg';
import { keyOf } from '../capture/backfill/run.ts';
import type { LoadedConfig } from '../config/load.ts';
import { BanyanError } from '../core/errors.ts';
import { leavesOf } from '../postgres/backfill-facts.ts';
import { withClient } from '../postgres/connection.ts';
import { displayName, qualifiedName } from '../postgres/identifier.ts';
import type { BackfillRun } from '../state/backfills.ts';
import { INTERRUPTED } from '../state/requests.ts';
import { connectionOf } from '../worker.ts';
import { answerOf } from './answer.ts';
import { refuseCondition } from './backfill-condition.ts';
import { printEstimate } from './backfill-estimate.ts';
import { listBackfills } from './backfill-list.ts';
import { progressOf } from './backfill-pace.ts';
import { loadMappingFiles, type OpenedTable, openTable, STATEMENT_TIMEOUT_MS } from './captured-table.ts';
import { type CommandContext, ExitCode, invocation, loadFor } from './context.ts';
import { requester } from './selection.ts';
import { shellWord } from './starter.ts';
import { withState } from './with-state.ts';

export type BackfillAction = 'start' | 'pause' | 'resume' | 'restart';

export interface BackfillCommand {
  /** undefined: list what there is. */
  readonly table: string | undefined;
  /** Which rows: a condition in SQL. */
  readonly where: string | undefined;
  readonly dryRun: boolean;
  readonly pause: boolean;
  readonly resume: boolean;
  readonly restart: boolean;
  readonly timeoutMs: number;
}

/** Asks the worker for a backfill, or changes the one that there is; says what one would send, or what became of the last ones. */
export async function backfill(options: BackfillCommand, context: CommandContext): Promise<ExitCode> {
  const action = actionOf(options);
  const { table, where } = options;
  if (table === undefined) return listBackfills(context);
  const loaded = await loadFor(context);
  const files = await loadMappingFiles(loaded);
  const settings = { ...connectionOf(loaded.config), statementTimeoutMs: STATEMENT_TIMEOUT_MS };
  const opened = await withClient(settings, async (client) => {
    const found = await openTable(client, table, { loaded, files });
    if (action === 'pause' || action === 'resume') return found;
    await refuse(client, found, where);
    if (action !== 'dry-run') return found;
    return printEstimate(client, found, { where, loaded, context });
  });
  return typeof opened === 'number' ? opened : ask(action as BackfillAction, opened, { options, loaded, context });
}

/** One thing at a time: what is meant must not depend on which of two options wins. */
function actionOf(options: BackfillCommand): BackfillAction | 'dry-run' {
  const chosen = [
    ...(options.dryRun ? ['dry-run' as const] : []),
    ...(['pause', 'resume', 'restart'] as const).filter((action) => options[action]),
  ];
  const [action = 'start', second] = chosen;
  if (second !== undefined) {
    throw new BanyanError('usage', `--${action} and --${second} are two things`, { remedy: 'leave one of them out' });
  }
  if (options.table === undefined && (chosen.length > 0 || options.where !== undefined)) {
    throw new BanyanError('usage', 'no table was named', {
      remedy: 'write `banyan backfill SCHEMA.TABLE …`; without any option it lists the last run of each table',
    });
  }
  if (options.where !== undefined && (action === 'pause' || action === 'resume')) {
    throw new BanyanError(
      'usage',
      `--where does not go with --${action}: a run keeps the condition that it began with`,
      {
        remedy: 'begin anew with --restart --where SQL',
      },
    );
  }
  return action;
}

/** What the worker would find out only when it begins. */
async function refuse(
  client: pg.ClientBase,
  { table, mappers }: OpenedTable,
  where: string | undefined,
): Promise<void> {
  const name = displayName(table);
  if (keyOf(table).length === 0 && table.replicaIdentity !== 'full') {
    throw new BanyanError('preflight', `${name} can not be backfilled: nothing in the stream tells its rows apart`, {
      remedy: `give it a primary key, or: alter table ${qualifiedName(table)} replica identity full;`,
    });
  }
  if (!mappers.some(({ takesReads }) => takesReads)) {
    throw new BanyanError('usage', `the rows of ${name} would become no event: no rule of its emit takes \`read\``, {
      remedy: 'add { on: read, detailType: … } to its emit and restart the worker',
    });
  }
  if (where !== undefined) await refuseCondition(client, where, { table, leaves: await leavesOf(client, table.oid) });
}

async function ask(
  action: BackfillAction,
  { table }: OpenedTable,
  about: { readonly options: BackfillCommand; readonly loaded: LoadedConfig; readonly context: CommandContext },
): Promise<ExitCode> {
  const { options, loaded, context } = about;
  const { output } = context;
  const me = `${invocation(context.env)} backfill`;
  const name = displayName(table);
  return withState(loaded.config, async ({ requests }) => {
    const id = await requests.insert({
      command: 'backfill',
      arguments: {
        action,
        table: `${table.schema}.${table.name}`,
        ...(options.where === undefined ? {} : { where: options.where }),
      },
      requestedBy: requester(),
    });
    const outcome = await answerOf(id, requests, { timeoutMs: options.timeoutMs, output });
    switch (outcome.status) {
      case 'finished': {
        const run = outcome.result as BackfillRun;
        if (output.json) output.value(run);
        else
          for (const line of said(run, { action, name, me }))
            output.line(line.replace('✓', output.paint('green', '✓')));
        return ExitCode.ok;
      }
      case 'failed':
        if (outcome.error === INTERRUPTED) throw new BanyanError('slot-in-use', outcome.error, { remedy: 'ask again' });
        throw new BanyanError('usage', outcome.error, {
          remedy: `\`${me}\` lists the last run of each table; --restart gives up an open one and begins anew`,
        });
      default:
        if (output.json) output.value({ request: id, status: 'running' });
        else output.line(`the worker is still at it (request ${id}); \`${me}\` shows what came of it`);
        return ExitCode.ok;
    }
  });
}

/** What came of it, and what to do next. */
function said(
  run: BackfillRun,
  { action, name, me }: { readonly action: BackfillAction; readonly name: string; readonly me: string },
): string[] {
  const of = `run ${run.id} of ${name}${run.partition === undefined ? '' : ` (partition ${run.partition})`}`;
  const part = run.where === undefined ? '' : `, of the rows where ${run.where.replaceAll(/\s+/g, ' ')}`;
  switch (action) {
    case 'pause':
      return [
        `✓ ${of} is paused after ${progressOf(run)} rows`,
        `  ${me} ${shellWord(name)} --resume goes on from there`,
      ];
    case 'resume':
      return [`✓ ${of} is ${run.status} again, from ${progressOf(run)} rows on`, `  ${me} shows how far it is`];
    default:
      return [
        `✓ ${of} is ${run.status}${part}: it begins within a few seconds`,
        `  ${me} shows how far it is, ${me} ${shellWord(name)} --pause stops it for a while`,
      ];
  }
}
