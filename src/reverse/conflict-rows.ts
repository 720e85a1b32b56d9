import type { Config, Mask } from '../config/schema.ts';
import { isTableCapture } from '../config/schema.ts';
import { masker } from '../mapping/mask.ts';
import { matchesPart, parseTableName } from '../postgres/identifier.ts';
import type { CatalogTable } from '../postgres/table.ts';
import type { ConflictRow } from '../state/conflicts.ts';

/** A row as people may see it: masked and without the columns that the table's events never hold. */
export type RowForPeople = (table: CatalogTable, row: ConflictRow) => ConflictRow;

/** By what `capture` says of a table. A column that any of its entries hides is hidden. */
export function rowsForPeople({ capture, maskKey }: Pick<Config, 'capture' | 'maskKey'>): RowForPeople {
  const hiddenOf = new WeakMap<CatalogTable, (name: string, text: string) => string | undefined>();
  return (table, row) => {
    let reveal = hiddenOf.get(table);
    if (reveal === undefined) hiddenOf.set(table, (reveal = revealOf(table, { capture, maskKey })));
    return Object.fromEntries(
      Object.entries(row).flatMap(([name, text]): [string, string | null][] => {
        const shown = reveal(name, text ?? '');
        return shown === undefined ? [] : [[name, text === null ? null : shown]];
      }),
    );
  };
}

function revealOf(table: CatalogTable, { capture, maskKey }: Pick<Config, 'capture' | 'maskKey'>) {
  const entries = capture.filter(isTableCapture).filter((entry) => {
    const { schema, name } = parseTableName(entry.table);
    return matchesPart(schema, table.schema) && matchesPart(name, table.name);
  });
  const excluded = new Set(entries.flatMap(({ exclude }) => exclude));
  const masks = new Map<string, Mask>();
  for (const { mask, detail, emit } of entries) {
    for (const [name, how] of Object.entries(mask)) masks.set(name, how);
    for (const field of [detail, ...(emit ?? []).map((rule) => rule.detail)].flatMap((each) =>
      Object.values(each ?? {}),
    )) {
      if (typeof field === 'object' && 'column' in field && field.mask !== undefined)
        masks.set(field.column, field.mask);
    }
  }
  const maskers = new Map([...masks].map(([name, how]) => [name, masker(how, maskKey)]));
  return (name: string, text: string): string | undefined => {
    if (excluded.has(name)) return undefined;
    return maskers.get(name)?.(text) ?? text;
  };
}
