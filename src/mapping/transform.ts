import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { TableChange, Tuple } from '../core/change.ts';
import { BanyanError } from '../core/errors.ts';
import { formatMicros } from '../core/event.ts';
import { formatLsn } from '../core/lsn.ts';
import { isTableCapture, type Config } from '../config/schema.ts';
import type { TableColumns } from './columns.ts';
import type { EventDraft, JsonValue, RowChangeView, RowData, Transform } from './transform-types.ts';

/** The transform modules of a configuration, by the path that `transform` has. */
export type TransformSet = ReadonlyMap<string, Transform>;

/** Imports every module that the entries name, from the configuration file's `directory`. Throws `config` on the first that fails. */
export async function loadTransforms(capture: Config['capture'], directory: string): Promise<TransformSet> {
  const transforms = new Map<string, Transform>();
  for (const [index, entry] of capture.entries()) {
    if (!isTableCapture(entry) || entry.transform === undefined || transforms.has(entry.transform)) continue;
    const where = `capture[${index}].transform: ${entry.transform}`;
    let loaded: { default?: unknown };
    try {
      loaded = (await import(pathToFileURL(resolve(directory, entry.transform)).href)) as { default?: unknown };
    } catch (error) {
      throw new BanyanError(
        'config',
        `${where} can not be loaded: ${error instanceof Error ? error.message : 'unknown error'}`,
        {
          cause: error,
          remedy: 'mend the module; its path starts at the configuration file',
        },
      );
    }
    if (typeof loaded.default !== 'function') {
      throw new BanyanError('config', `${where} has no default export that is a function`, {
        remedy: 'export default function (change) { return { detailType: "…", data: { … } }; }',
      });
    }
    transforms.set(entry.transform, loaded.default as Transform);
  }
  return transforms;
}

/** Runs a user's function; whatever it throws or gives that is no draft becomes `mapping-failed`. */
export function runTransform(transform: Transform, view: RowChangeView): readonly EventDraft[] {
  let result: unknown;
  try {
    result = transform(view);
  } catch (error) {
    // Only the kind of the error: its message may hold values of the row.
    const name = error instanceof Error ? error.name : typeof error;
    throw new BanyanError('mapping-failed', `the transform module threw a ${name}`, { cause: error });
  }
  if (result === undefined || result === null) return [];
  const drafts: readonly unknown[] = Array.isArray(result) ? result : [result];
  return drafts.map((draft, index) => checkedDraft(draft, index));
}

/** The change as a transform module sees it. Values are what their JSON text says. */
export function rowChangeView(
  change: TableChange,
  options: { readonly table: string; readonly columns: TableColumns; readonly keyJson: string },
): RowChangeView {
  const { transaction } = change;
  const isRow = change.operation !== 'truncate';
  const fallback = isRow && change.oldKind === 'full' ? change.old : undefined;
  const row = isRow ? (change.new ?? change.old) : undefined;
  const old = isRow && change.operation === 'update' ? fallback : undefined;
  return {
    operation: change.operation,
    table: options.table,
    key: JSON.parse(options.keyJson) as RowData,
    row: row === undefined ? {} : rowData(row, fallback, options.columns),
    old: old === undefined ? undefined : rowData(old, undefined, options.columns),
    transaction: {
      id: transaction.xid,
      lsn: formatLsn(transaction.commitLsn),
      committedAt: formatMicros(transaction.committedAtMicros),
    },
  };
}

function rowData(row: Tuple, fallback: Tuple | undefined, columns: TableColumns): RowData {
  const data: [string, JsonValue][] = [];
  for (const column of columns.visible) {
    const cell = row[column.index] === undefined ? fallback?.[column.index] : row[column.index];
    if (cell === undefined) continue;
    data.push([column.name, cell === null ? null : (JSON.parse(column.write(cell)) as JsonValue)]);
  }
  return Object.fromEntries(data);
}

function checkedDraft(draft: unknown, index: number): EventDraft {
  const where = `draft ${index} of the transform module`;
  if (draft instanceof Promise) throw failed(`${where} is a promise: a transform is synchronous`);
  if (typeof draft !== 'object' || draft === null) throw failed(`${where} is no object`);
  const { detailType, data, source, resources, bus } = draft as Record<string, unknown>;
  if (typeof detailType !== 'string') throw failed(`${where} has no detailType`);
  if (data === undefined) throw failed(`${where} has no data`);
  if (source !== undefined && typeof source !== 'string') throw failed(`source of ${where} is no text`);
  if (bus !== undefined && typeof bus !== 'string') throw failed(`bus of ${where} is no text`);
  const texts =
    resources === undefined || (Array.isArray(resources) && resources.every((item) => typeof item === 'string'));
  if (!texts) throw failed(`resources of ${where} is no list of texts`);
  return draft as EventDraft;
}

function failed(message: string): BanyanError {
  return new BanyanError('mapping-failed', message, {
    remedy: 'mend the transform module, restart, then `banyan dead-letters redrive`',
  });
}
