import { type Config, isTableCapture } from '../config/schema.ts';
import { displayName, isPattern, parseTableName, type QualifiedName } from '../postgres/identifier.ts';
import { knownTables } from '../state/known-tables.ts';
import type { State } from '../state/state.ts';
import { tableNamed } from './named-table.ts';

interface StoredTable extends QualifiedName {
  /** As the state has it. */
  readonly stored: string;
}

/** What chooses by table, with the state's name of it. */
export async function stored<T extends { readonly table?: string | undefined }>(
  filter: T,
  place: { readonly config: Config; readonly state: State },
): Promise<Omit<T, 'table'> & { readonly table?: string }> {
  const { table, ...rest } = filter;
  return table === undefined ? rest : { ...rest, table: await storedTable(table, place) };
}

/**
 * What the state calls the table that a person names, also where nothing captures it any more: by SQL's rules, as commands take names elsewhere, or as lists
 * print it. Throws `usage` where nothing of that name is known.
 */
async function storedTable(
  name: string,
  { config, state }: { readonly config: Config; readonly state: State },
): Promise<string> {
  const known = [...new Set([...(await knownTables(state.scope)), ...configured(config)])];
  // Names with blanks or capitals stand in lists without quotes, and letters of no table under what is no name at all.
  const asListed = known.includes(name) ? name : undefined;
  try {
    return tableNamed(name, {
      tables: known.flatMap(readingsOf),
      what: 'table',
      unknown: `nothing is known of a table ${name}: neither the configuration names it, nor does the state`,
      remedy: '`banyan status` lists the tables; names are written as in SQL, with double quotes where it needs them',
    }).stored;
  } catch (error) {
    if (asListed === undefined) throw error;
    return asListed;
  }
}

/** Those that the configuration names one by one; which ones a pattern takes is known when the worker has run. */
function configured({ capture, reverse }: Config): string[] {
  const written = [...capture.filter(isTableCapture), ...(reverse?.apply ?? [])].map(({ table }) => table);
  return written
    .map(parseTableName)
    .filter((name) => !isPattern(name))
    .map(({ schema, name }) => `${schema.text}.${name.text}`);
}

/** As a person writes it, where that is sure: the state's name of a table says nothing of dots inside of it. What stands in the place of a table stays as it is. */
export function listedName(known: string): string {
  const [reading, ...more] = readingsOf(known);
  return reading === undefined || more.length > 0 ? known : displayName(reading);
}

/** `a.b.c` is a table of `a`, or of `a.b`: nothing else says. */
function readingsOf(stored: string): StoredTable[] {
  if (/^(message|queue):/.test(stored)) return [];
  const dots = Array.from(stored.matchAll(/\./g), ({ index }) => index);
  return dots.map((dot) => ({ stored, schema: stored.slice(0, dot), name: stored.slice(dot + 1) }));
}
