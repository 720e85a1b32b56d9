import { BanyanError } from '../core/errors.ts';
import { formatLsn, type Lsn } from '../core/lsn.ts';

/**
 * Why changes may be missing from the bus, for a person who must decide. Never resolved by the worker itself: going on silently is the
 * one thing that a lost position must not lead to.
 */
export interface GapReport {
  readonly kind:
    | 'slot-missing'
    | 'slot-lost'
    | 'slot-dropped'
    | 'slot-behind'
    | 'slot-recreated'
    | 'slot-changed'
    | 'system-changed'
    | 'timeline-diverged'
    | 'table-missing'
    | 'table-replaced'
    | 'table-unpublished';
  /** The slot's name, or the table as `schema.name`. */
  readonly subject: string;
  readonly message: string;
  /** Facts for the gap's record; positions as PostgreSQL writes them. Never row values. */
  readonly report: Readonly<Record<string, string | number | undefined>>;
}

export function gapError(gap: GapReport): BanyanError {
  return new BanyanError('gap', gap.message, { context: { gap: gap.kind, subject: gap.subject, ...gap.report } });
}

/** A captured table as state remembers it. */
export interface RecordedTable {
  /** `schema.name` */
  readonly table: string;
  readonly oid: number;
  readonly publishedSinceLsn: Lsn;
}

/** A table that the configuration captures, as the catalog has it now. */
export interface PresentTable {
  readonly schema: string;
  readonly name: string;
  readonly oid: number;
}

/**
 * Compares what was captured with what the catalog and the publication hold now: name to OID to membership. On PostgreSQL a rename takes
 * the publication along, so after a swap (`orders` → `orders_old`, `orders_new` → `orders`) the publication still follows the old table,
 * and nothing else says so. Tables that were never captured are no gap: they are to be added.
 */
export function compareTables(
  recorded: readonly RecordedTable[],
  present: { readonly catalog: readonly PresentTable[]; readonly published: ReadonlyMap<number, string> },
): GapReport[] {
  const oidByName = new Map(present.catalog.map((table) => [`${table.schema}.${table.name}`, table.oid]));
  const gaps: GapReport[] = [];
  for (const record of recorded) {
    const oid = oidByName.get(record.table);
    const report = {
      table: record.table,
      recordedOid: record.oid,
      presentOid: oid,
      publishedSince: formatLsn(record.publishedSinceLsn),
    };
    const add = (kind: GapReport['kind'], message: string) =>
      gaps.push({ kind, subject: record.table, message, report });
    if (oid === undefined) {
      add(
        'table-missing',
        `${record.table} is no longer there: it was dropped or renamed, and its changes since are not captured`,
      );
    } else if (oid !== record.oid) {
      const follows = present.published.get(record.oid);
      const where =
        follows === undefined
          ? 'the old one is not published any more'
          : `the publication still follows the old one, now ${follows}`;
      add(
        'table-replaced',
        `another table now has the name ${record.table} (${where}): what was written to it so far may be missing`,
      );
    } else if (!present.published.has(oid)) {
      add(
        'table-unpublished',
        `${record.table} was taken out of the publication by someone: what was written to it since may be missing`,
      );
    }
  }
  return gaps;
}
