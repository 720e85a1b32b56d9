import type { Config } from '../config/schema.ts';
import { encodePart } from '../mapping/ordering-key.ts';
import { parseTableName } from '../postgres/identifier.ts';
import type { CatalogTable } from '../postgres/table.ts';
import { rowsForPeople } from '../reverse/conflict-rows.ts';

/** Stands for a part of a key that may not be shown. */
const HIDDEN = '…';

/**
 * How the group of a letter of the way back is shown. It is stored as the event's key has it, since events of today's configuration must find it; forward groups are
 * stored masked. Here the key's columns are masked as the table's own events mask them.
 */
export function groupForPeople(config: Pick<Config, 'capture' | 'maskKey' | 'reverse'>): (group: string) => string {
  const show = rowsForPeople(config);
  const keys = new Map<string, { readonly table: CatalogTable; readonly columns: readonly string[] }>();
  for (const entry of config.reverse?.apply ?? []) {
    const { schema, name } = parseTableName(entry.table);
    // Of a table nothing but its name matters here, and nothing else is known without the database.
    const table = { schema: schema.text, name: name.text } as CatalogTable;
    keys.set(`${schema.text}.${name.text}`, { table, columns: Object.keys(entry.key) });
  }
  return (group) => {
    const end = group.lastIndexOf(':');
    const table = group.slice(0, end);
    if (end < 0 || table === 'table') return group;
    const known = keys.get(table);
    const parts = group.slice(end + 1).split(',');
    const shown = parts.map((part): string => {
      if (known === undefined || known.columns.length !== parts.length) return HIDDEN;
      // The parts stand in the order of the table's columns, which the configuration does not have: a part is shown where it would be as any of them.
      const texts = new Set(
        known.columns.map((column) => show(known.table, { [column]: decodeURIComponent(part) })[column]),
      );
      const [only] = texts;
      return texts.size === 1 && typeof only === 'string' ? encodePart(only) : HIDDEN;
    });
    return `${table}:${shown.join(',')}`;
  };
}
