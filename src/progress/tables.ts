import type pg from 'pg';
import { type Config, isTableCapture } from '../config/schema.ts';
import { listRelations, resolveTables } from '../postgres/catalog.ts';
import { displayName, matchesPart, parseTableName } from '../postgres/identifier.ts';
import { toDatabaseError } from '../postgres/sqlstate.ts';

/** A table that the configuration captures, or that an entry of `reverse.apply` writes. */
export interface MigrationTable {
  readonly schema: string;
  readonly name: string;
  /** `schema.name`, as state and status name it. */
  readonly table: string;
  /** As a person writes it: quoted where SQL needs that. */
  readonly display: string;
  readonly oid: number;
  readonly captured: boolean;
  readonly reversed: boolean;
  /** Its rows of before are wanted: `backfill: true`. */
  readonly backfillWanted: boolean;
  /** `observe: writers` */
  readonly observed: boolean;
  /** `reselectUnavailable`: capture itself reads it now and then. */
  readonly reselected: boolean;
}

/** All of them, by name. What the configuration names and the catalog does not have is left out: `check` tells of it. */
export async function migrationTables(pool: pg.Pool, config: Config): Promise<readonly MigrationTable[]> {
  try {
    const resolved = await resolveTables(pool, config.capture, { stateSchema: config.state.schema });
    const found = new Map<string, MigrationTable>();
    for (const { entry, tables } of resolved.entries) {
      for (const table of tables) {
        const name = `${table.schema}.${table.name}`;
        const before = found.get(name);
        found.set(name, {
          schema: table.schema,
          name: table.name,
          table: name,
          display: displayName(table),
          oid: table.oid,
          captured: true,
          reversed: false,
          backfillWanted: before?.backfillWanted === true || entry.backfill,
          observed: before?.observed === true || entry.observe === 'writers',
          reselected: before?.reselected === true || entry.reselectUnavailable,
        });
      }
    }
    const relations = config.reverse === undefined ? [] : await listRelations(pool);
    for (const { table: written } of config.reverse?.apply ?? []) {
      const { schema, name } = parseTableName(written);
      const relation = relations.find((each) => matchesPart(schema, each.schema) && matchesPart(name, each.name));
      if (relation === undefined) continue;
      const table = `${relation.schema}.${relation.name}`;
      const ways = { captured: false, backfillWanted: false, observed: false, reselected: false };
      const fresh = {
        schema: relation.schema,
        name: relation.name,
        table,
        display: displayName(relation),
        oid: relation.oid,
        ...ways,
      };
      found.set(table, { ...(found.get(table) ?? fresh), reversed: true });
    }
    return [...found.values()].toSorted((a, b) => (a.table < b.table ? -1 : 1));
  } catch (error) {
    throw toDatabaseError(error, 'reading the catalog');
  }
}

/** Whether any entry asks for who writes: only then is it worth looking. */
export function observesWriters(config: Config): boolean {
  return config.capture.some((entry) => isTableCapture(entry) && entry.observe === 'writers');
}
