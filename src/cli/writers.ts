import type { LoadedConfig } from '../config/load.ts';
import { type Config, isTableCapture, publicationName, slotName } from '../config/schema.ts';
import type { CoveredExtent } from '../core/progress.ts';
import { readMembership } from '../postgres/publication-catalog.ts';
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
import { type Coverage, coverageOf, laterOf } from '../progress/coverage.ts';
import { allGaps, publishedSince } from '../progress/state-facts.ts';
import { moment, shellWord } from '../progress/words.ts';
import type { State } from '../state/state.ts';
import { connectionOf } from '../worker.ts';
import { capturedNamed } from './captured-table.ts';
import { type CommandContext, ExitCode, invocation, loadFor } from './context.ts';
import { WIDTH, wrap } from './fit-columns.ts';
import { liveStatus } from './live-status.ts';
import { count, type Output, table as columns } from './output.ts';
import { shown } from './terminal-text.ts';
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
  /** Every write between the two is counted, ISO 8601; undefined: none is, or it is not known up to when. */
  readonly countingSince: string | undefined;
  readonly countedUntil: string | undefined;
  readonly covered: CoveredExtent;
  /** Why not all of the time that is asked for is counted. */
  readonly uncovered: string | undefined;
}

/** Which role and application writes to a table, as its statement trigger says. */
export async function writers(options: WritersOptions, context: CommandContext): Promise<ExitCode> {
  const loaded = await loadFor(context);
  const { config } = loaded;
  const { found, resolved, triggers, isPublished } = await look(options.table, loaded);
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
  const seen = await withState(config, async (state): Promise<Writers> => {
    const { since, until, extent, why } = await coverage(
      { table: name, isPublished },
      { config, state, windowMs: options.sinceMs },
    );
    return {
      table: name,
      sinceSeconds: seconds,
      observed: isObserved(found, resolved),
      trigger: triggerOf(found, triggers),
      writers: await state.traffic.writers(name, seconds),
      changes: legacyOf((await state.traffic.sums({ seconds })).get(name)),
      countingSince: since,
      countedUntil: until,
      covered: extent,
      uncovered: why,
    };
  });
  if (output.json) output.value(seen);
  else print(seen, { found, me: invocation(context.env), output });
  return ExitCode.ok;
}

async function look(
  name: string,
  { config }: LoadedConfig,
): Promise<{
  found: CatalogTable;
  resolved: ResolvedTables;
  triggers: readonly WriterTrigger[];
  isPublished: boolean;
}> {
  return withClient(connectionOf(config), async (client) => {
    const stateSchema = config.state.schema;
    const resolved = await resolveTables(client, config.capture, { stateSchema });
    const found = capturedNamed(name, resolved);
    const triggers = await writerTriggers(client, { connector: config.name, schema: stateSchema });
    const isPublished = (await readMembership(client, publicationName(config))).has(found.oid);
    return { found, resolved, triggers, isPublished };
  });
}

/** As `status` and the gates have it. */
async function coverage(
  { table, isPublished }: { readonly table: string; readonly isPublished: boolean },
  { config, state, windowMs }: { readonly config: Config; readonly state: State; readonly windowMs: number },
): Promise<Coverage> {
  const { live, noWorker = '' } = await liveStatus(config);
  const [position, gaps, published] = await Promise.all([
    state.traffic.position(),
    allGaps(state.scope),
    publishedSince(state.scope),
  ]);
  const facts = {
    settings: config.progress,
    slot: { name: slotName(config) },
    countingSince: position?.countingSince,
    countedUntil: laterOf(live?.traffic.countedUntil, position?.countedUntil),
    gaps,
    live,
    noWorker,
  };
  const of = { table, published: isPublished, publishedSince: published.get(table) };
  return coverageOf(facts, { table: of, windowMs, now: new Date() });
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
      '-- It costs some 25 µs a statement: a tenth of the smallest update there is, and nothing of one that changes many rows.',
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
  const name = displayName(found);
  const note = (text: string) => wrap(text, WIDTH).forEach((line) => output.note(line));
  const again = `${me} writers ${shellWord(name)}`;
  const rows = seen.writers.map(({ role, application, changes }) => [
    changes.toLocaleString('en-US'),
    shown(role),
    shown(application),
  ]);
  const unnamed = seen.changes - named;
  // Written before the trigger was there, by a session that does not fire it, or straight into a partition.
  if (unnamed > 0) rows.push([unnamed.toLocaleString('en-US'), '(not known)', '']);
  if (rows.length === 0) for (const line of wrap(noneText(seen, name), WIDTH)) output.line(line);
  else for (const line of columns([['CHANGES', 'ROLE', 'APPLICATION'], ...rows])) output.line(line);
  if (rows.length > 0 || seen.covered !== 'none') {
    note(`${count(seen.changes, 'change')} by the legacy side${countedText(seen)}`);
    if (seen.uncovered !== undefined) note(`not all of that time is known: ${seen.uncovered}`);
  }
  if (!seen.observed) {
    note(`${name} is not observed: set \`observe: writers\` in its entry, and install the trigger`);
  }
  if (seen.trigger !== 'enabled' && (seen.observed || seen.writers.length > 0)) {
    note(`its trigger is ${seen.trigger}: ${again} --sql`);
  }
  if (seen.trigger !== 'missing' && !seen.observed) {
    note(`its trigger is still there, for nobody: ${again} --drop-sql`);
  }
}

/** That nobody wrote is known only of a time that was counted. */
function noneText({ covered, uncovered, sinceSeconds }: Writers, name: string): string {
  const time = `in the last ${windowText(sinceSeconds)}`;
  if (covered === 'none') return `who wrote to ${name} ${time} is not known: ${uncovered}`;
  return covered === 'whole'
    ? `the legacy side did not write to ${name} ${time}`
    : `no write of the legacy side to ${name} was counted ${time}`;
}

function countedText({ countingSince, countedUntil, sinceSeconds }: Writers): string {
  const from = new Date(Date.now() - sinceSeconds * 1_000).toISOString();
  if (countingSince === undefined || countedUntil === undefined || countedUntil < from) {
    return ` in the last ${windowText(sinceSeconds)}`;
  }
  return `, counted from ${moment(laterOf(from, countingSince))} to ${moment(countedUntil)}`;
}

function windowText(seconds: number): string {
  if (seconds % 86_400 === 0 && seconds > 86_400) return `${seconds / 86_400} d`;
  return seconds % 3_600 === 0 ? `${seconds / 3_600} h` : `${Math.round(seconds / 60)} min`;
}
