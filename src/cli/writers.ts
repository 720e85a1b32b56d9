import type { LoadedConfig } from '../config/load.ts';
import { type Config, isTableCapture } from '../config/schema.ts';
import { resolveTables, type ResolvedTables } from '../postgres/catalog.ts';
import { withClient } from '../postgres/connection.ts';
import { displayName } from '../postgres/identifier.ts';
import type { CatalogTable } from '../postgres/table.ts';
import {
  dropFunctionSql,
  dropSql,
  installSql,
  type WriterTrigger,
  writerTriggers,
} from '../postgres/writer-trigger.ts';
import { connectionOf } from '../worker.ts';
import { tableNamed } from './captured-table.ts';
import { type CommandContext, ExitCode, invocation, loadFor } from './context.ts';
import { count, type Output, table as columns } from './output.ts';
import { withState } from './with-state.ts';

export interface WritersOptions {
  readonly table: string;
  readonly sinceMs: number;
  /** Print what installs the trigger, or what takes it away. */
  readonly print: 'install' | 'drop' | undefined;
}

interface Writers {
  /** `schema.name` */
  readonly table: string;
  readonly sinceSeconds: number;
  readonly observed: boolean;
  /** missing: nothing says who writes from now on. */
  readonly trigger: 'enabled' | 'disabled' | 'missing';
  readonly writers: readonly { readonly role: string; readonly application: string; readonly changes: number }[];
  /** Of the legacy side, whoever wrote them. */
  readonly changes: number;
  readonly countingSince: string | undefined;
}

/** Which role and application writes to a table, as its statement trigger says. */
export async function writers(options: WritersOptions, context: CommandContext): Promise<ExitCode> {
  const loaded = await loadFor(context);
  const { config } = loaded;
  const { found, resolved, triggers } = await look(options.table, loaded);
  const place = { connector: config.name, schema: config.state.schema, table: found };
  const { output } = context;
  if (options.print !== undefined) {
    const sql = options.print === 'install' ? installSql(place) : dropSql(place);
    if (output.json) output.value({ table: found.name, sql });
    else printSql(sql, { found, config, print: options.print, output });
    return ExitCode.ok;
  }
  const name = `${found.schema}.${found.name}`;
  const seconds = options.sinceMs / 1_000;
  const seen = await withState(config, async ({ traffic }): Promise<Writers> => ({
    table: name,
    sinceSeconds: seconds,
    observed: isObserved(found, resolved),
    trigger: triggerOf(found, triggers),
    writers: await traffic.writers(name, seconds),
    changes: legacyOf((await traffic.sums({ seconds })).get(name)),
    countingSince: (await traffic.position())?.countingSince,
  }));
  if (output.json) output.value(seen);
  else print(seen, { found, me: invocation(context.env), output });
  return ExitCode.ok;
}

async function look(
  name: string,
  { config }: LoadedConfig,
): Promise<{ found: CatalogTable; resolved: ResolvedTables; triggers: readonly WriterTrigger[] }> {
  return withClient(connectionOf(config), async (client) => {
    const stateSchema = config.state.schema;
    const resolved = await resolveTables(client, config.capture, { stateSchema });
    const found = tableNamed(name, resolved);
    return { found, resolved, triggers: await writerTriggers(client, { connector: config.name, schema: stateSchema }) };
  });
}

export function isObserved(table: { readonly oid: number }, { entries }: Pick<ResolvedTables, 'entries'>): boolean {
  return entries.some(
    ({ entry, tables }) =>
      isTableCapture(entry) && entry.observe === 'writers' && tables.some(({ oid }) => oid === table.oid),
  );
}

export function triggerOf(
  { oid }: { readonly oid: number },
  triggers: readonly WriterTrigger[],
): 'enabled' | 'disabled' | 'missing' {
  const trigger = triggers.find((each) => each.oid === oid);
  if (trigger === undefined) return 'missing';
  return trigger.enabled ? 'enabled' : 'disabled';
}

function legacyOf(sums: { readonly legacy: number } | undefined): number {
  return sums?.legacy ?? 0;
}

function printSql(
  sql: string,
  about: { found: CatalogTable; config: Config; print: 'install' | 'drop'; output: Output },
): void {
  const { found, config, print: what, output } = about;
  const name = displayName(found);
  if (what === 'install') {
    output.line(
      `-- Says which role and application writes to ${name}: one message in the WAL for each statement that writes.`,
    );
    output.line(
      '-- It costs about 9 % of the time of a tiny update, and nothing of a statement that changes many rows.',
    );
    output.line(
      '-- To be run by the owner of the table or a superuser; it waits 2 s at most for the lock on the table.',
    );
    output.line(sql);
    return;
  }
  output.line(sql);
  output.line('-- When no table has such a trigger any more:');
  output.line(`-- ${dropFunctionSql(config.state.schema)}`);
}

function print(seen: Writers, { found, me, output }: { found: CatalogTable; me: string; output: Output }): void {
  const named = seen.writers.reduce((sum, { changes }) => sum + changes, 0);
  const rows = seen.writers.map(({ role, application, changes }) => [
    changes.toLocaleString('en-US'),
    role,
    application,
  ]);
  const unnamed = seen.changes - named;
  // Written before the trigger was there, by a session that does not fire it, or straight into a partition.
  if (unnamed > 0) rows.push([unnamed.toLocaleString('en-US'), '(not known)', '']);
  if (rows.length === 0)
    output.line(`nobody wrote to ${displayName(found)} in the last ${windowText(seen.sinceSeconds)}`);
  else for (const line of columns([['CHANGES', 'ROLE', 'APPLICATION'], ...rows])) output.line(line);
  output.note(
    `${count(seen.changes, 'change')} by the legacy side in the last ${windowText(seen.sinceSeconds)}${since(seen)}`,
  );
  if (!seen.observed) {
    output.note(
      `${displayName(found)} is not observed: set \`observe: writers\` in its entry, and install the trigger`,
    );
  }
  if (seen.trigger !== 'enabled' && (seen.observed || seen.writers.length > 0)) {
    output.note(`its trigger is ${seen.trigger}: ${me} writers ${displayName(found)} --sql`);
  }
  if (seen.trigger !== 'missing' && !seen.observed) {
    output.note(`its trigger is still there, for nobody: ${me} writers ${displayName(found)} --drop-sql`);
  }
}

function since({ countingSince, sinceSeconds }: Writers): string {
  if (countingSince === undefined) return '; nothing was counted yet';
  const isShort = Date.parse(countingSince) > Date.now() - sinceSeconds * 1_000;
  return isShort ? `, counted since ${countingSince.slice(0, 16).replace('T', ' ')} UTC` : '';
}

function windowText(seconds: number): string {
  if (seconds % 86_400 === 0 && seconds > 86_400) return `${seconds / 86_400} d`;
  return seconds % 3_600 === 0 ? `${seconds / 3_600} h` : `${Math.round(seconds / 60)} min`;
}
