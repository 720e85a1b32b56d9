import type { RowChange } from '../core/change.ts';
import { BanyanError, toBanyanError } from '../core/errors.ts';
import type { Event } from '../core/event.ts';
import type { Mapper } from '../mapping/mapper.ts';
import type { ResolvedTables } from '../postgres/catalog.ts';
import { withClient } from '../postgres/connection.ts';
import { displayName } from '../postgres/identifier.ts';
import type { CatalogTable } from '../postgres/table.ts';
import { connectionOf } from '../worker.ts';
import { publishedColumns } from '../postgres/catalog-relation.ts';
import { loadMappingFiles, openTable, STATEMENT_TIMEOUT_MS } from './captured-table.ts';
import { type CommandContext, ExitCode, loadFor } from './context.ts';
import { count, type Output } from './output.ts';
import { changesOf, type PreviewOperation, type PreviewRows, readRows } from './preview-rows.ts';

export interface PreviewOptions {
  readonly table: string;
  readonly limit: number;
  /** A condition in SQL. */
  readonly where: string | undefined;
  readonly operation: PreviewOperation;
  /** New values by column, in PostgreSQL's text form. */
  readonly set: ReadonlyMap<string, string | null>;
}

/** Reads rows and prints what the worker's own mappers make of them. */
export async function preview(options: PreviewOptions, context: CommandContext): Promise<ExitCode> {
  if (options.set.size > 0 && options.operation !== 'update') {
    throw new BanyanError('usage', '--set changes values, which only an update does', { remedy: 'add --op update' });
  }
  const loaded = await loadFor(context);
  const files = await loadMappingFiles(loaded);
  const settings = { ...connectionOf(loaded.config), statementTimeoutMs: STATEMENT_TIMEOUT_MS };
  return withClient(settings, async (client) => {
    const { table, mappers, resolved, versionNumber } = await openTable(client, options.table, { loaded, files });
    const rows = await readRows(client, table, { ...options, versionNumber });
    const changes = changesOf(rows, table, { ...options, versionNumber });
    if (options.set.size > 0)
      printChanged(rows, { table, output: context.output, versionNumber, hidden: hiddenColumns(table, resolved) });
    return print(changes, { mappers, output: context.output, table, options });
  });
}

/** Columns that an entry excludes or masks: their values are not for the screen either. */
function hiddenColumns(table: CatalogTable, { entries }: ResolvedTables): ReadonlySet<string> {
  const own = entries.filter(({ tables }) => tables.some(({ oid }) => oid === table.oid)).map(({ entry }) => entry);
  const fields = own.flatMap((entry) => [entry.detail, ...(entry.emit ?? []).map(({ detail }) => detail)]);
  const masked = fields
    .flatMap((detail) => Object.values(detail ?? {}))
    .flatMap((field) =>
      typeof field === 'object' && 'column' in field && field.mask !== undefined ? [field.column] : [],
    );
  return new Set([...own.flatMap((entry) => [...entry.exclude, ...Object.keys(entry.mask)]), ...masked]);
}

/** Old and new of what `--set` changes, since without REPLICA IDENTITY FULL the events do not hold the old values. */
function printChanged(
  { rows, changed }: PreviewRows,
  about: { table: CatalogTable; output: Output; versionNumber: number; hidden: ReadonlySet<string> },
): void {
  const { table, output, versionNumber, hidden } = about;
  const columns = publishedColumns(table, versionNumber);
  rows.forEach((row, number) => {
    const parts = [...changed].map(([index, value]) => {
      const name = columns[index]?.name ?? '';
      return hidden.has(name) ? `${name} (hidden)` : `${name} ${shown(row[index])} → ${shown(value)}`;
    });
    output.note(`row ${number + 1}: ${parts.join(', ')}`);
  });
}

function shown(value: string | null | undefined): string {
  return value == null ? 'NULL' : JSON.stringify(value);
}

function print(
  changes: readonly RowChange[],
  about: { mappers: readonly Mapper[]; output: Output; table: CatalogTable; options: PreviewOptions },
): ExitCode {
  const { mappers, output, table, options } = about;
  let events = 0;
  let failures = 0;
  let without = 0;
  changes.forEach((change, row) => {
    let made = 0;
    for (const mapper of mappers) {
      try {
        for (const event of mapper.map(change)) {
          made += 1;
          printEvent(event, output);
        }
      } catch (error) {
        failures += 1;
        printFailed(error, { output, row, mapper });
      }
    }
    if (made === 0) without += 1;
    events += made;
  });
  const parts = [
    `${count(changes.length, 'row')} of ${displayName(table)}, ${count(events, 'event')}`,
    ...(without > 0 && failures === 0
      ? [`${count(without, 'row')} that no \`emit\` rule takes on ${options.operation}`]
      : []),
    ...(failures > 0 ? [`${count(failures, 'mapping')} failed`] : []),
    ...(options.set.size > 0 && table.columns.some(({ generated }) => generated !== undefined)
      ? ['generated columns are as they were before the change']
      : []),
    'nothing was published',
  ];
  output.note(parts.join('; '));
  return failures === 0 ? ExitCode.ok : ExitCode.unexpected;
}

function printEvent(event: Event, output: Output): void {
  const shown = {
    source: event.source,
    'detail-type': event.detailType,
    time: new Date(event.timeSeconds * 1_000).toISOString().replace('.000Z', 'Z'),
    resources: event.resources,
    ...(event.bus === undefined ? {} : { bus: event.bus }),
    detail: JSON.parse(event.detail) as unknown,
  };
  if (output.json) output.value(shown);
  else output.line(JSON.stringify(shown, undefined, 2));
}

/** What the worker would park, and why. */
function printFailed(error: unknown, about: { output: Output; row: number; mapper: Mapper }): void {
  const { output, row, mapper } = about;
  const { kind, message, remedy } = toBanyanError(error, 'mapping the row');
  if (output.json) output.value({ row: row + 1, entry: mapper.entry, error: { kind, message, remedy } });
  else
    output.line(`${output.paint('red', '✗')} row ${row + 1}, capture[${mapper.entry}]: ${message}: it would be parked`);
}
