import type { Finding } from '../core/finding.ts';
import type { TableCapture } from '../config/schema.ts';

/** The longest detail-type that EventBridge takes. */
export const MAX_DETAIL_TYPE_LENGTH = 128;

export const defaultSuffix = {
  insert: 'Inserted',
  update: 'Updated',
  delete: 'Deleted',
  truncate: 'Truncated',
  read: 'Imported',
} as const;

/** `order_items` becomes `OrderItems`: every run of letters and digits begins upper-case, the rest stays as it is. */
export function eventName(entry: TableCapture, tableName: string): string {
  return (entry.as ?? tableName)
    .split(/[^\p{L}\p{N}]+/u)
    .filter((word) => word !== '')
    .map((word) => {
      const [first = '', ...rest] = word;
      return first.toUpperCase() + rest.join('');
    })
    .join('');
}

export interface NamedTable {
  readonly entry: TableCapture;
  readonly entryIndex: number;
  readonly schema: string;
  readonly name: string;
}

/**
 * Tables that would share one default event name under one source: consumers could not tell their events apart. Tables
 * under one `as` are meant to share it, and so are several entries of one table.
 */
export function findSharedEventNames(tables: readonly NamedTable[]): Finding[] {
  const withDefaults = tables.filter(({ entry }) => entry.emit === undefined && entry.transform === undefined);
  const groups = Map.groupBy(withDefaults, ({ entry, name }) =>
    JSON.stringify([eventName(entry, name), entry.source ?? null]),
  );
  const findings: Finding[] = [];
  for (const group of groups.values()) {
    const first = group[0];
    if (first === undefined) continue;
    const name = eventName(first.entry, first.name);
    for (const table of group) {
      const sameTable = table.schema === first.schema && table.name === first.name;
      const meant = table.entry.as !== undefined && table.entry.as === first.entry.as;
      if (sameTable || meant) continue;
      findings.push({
        code: 'EVENT_NAME_SHARED',
        severity: 'error',
        subject: `${table.schema}.${table.name}`,
        path: `capture[${table.entryIndex}]`,
        message: `its events would be called ${name}Inserted, ${name}Updated, … like those of ${first.schema}.${first.name} (capture[${first.entryIndex}])`,
        remedy: `give one of them another \`as\` or \`source\`, or both the same \`as: ${name}\` if they are tables of one shape`,
      });
    }
  }
  return findings;
}
