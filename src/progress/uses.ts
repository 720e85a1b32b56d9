import type pg from 'pg';
import { type Config, publicationName } from '../config/schema.ts';
import { reverseIsOn } from '../core/stages.ts';
import type { State } from '../state/state.ts';
import type { TableStage } from '../state/table-stages.ts';
import type { ReadFacts } from './compare-reads.ts';
import { type Dependant, readDependants } from './dependants.ts';
import { readsOf, type ReadTable } from './reads.ts';
import { lastBackfillReads } from './state-facts.ts';
import type { MigrationTable } from './tables.ts';

/** Who reads the tables, and what in the database needs them. */
export interface Uses {
  /** When that was looked at, ISO 8601. */
  readonly at: string;
  /** By `schema.name`. */
  readonly reads: ReadonlyMap<string, ReadFacts>;
  /** By OID. */
  readonly dependants: ReadonlyMap<number, readonly Dependant[]>;
}

export interface UsesOptions {
  readonly state: State;
  /** The legacy database. */
  readonly pool: pg.Pool;
  readonly config: Config;
  readonly tables: readonly MigrationTable[];
  readonly stages: readonly TableStage[];
}

export type LookAtUses = (options: UsesOptions) => Promise<Uses>;

const KEEP_MS = 60_000;
/** Who names one of these in a statement reads the table. */
const LEADS_TO_ROWS: ReadonlySet<Dependant['kind']> = new Set([
  'view',
  'materialized view',
  'function',
  'parent table',
]);

/**
 * Looks at who reads each table, and remembers it where something moved: statistics that were reset say nothing of the time before. It goes through all functions and
 * statements of the database, word by word: what asks again and again does so through `keepUses`.
 */
export async function usesOf({ state, pool, config, tables, stages }: UsesOptions): Promise<Uses> {
  const at = new Date().toISOString();
  const dependants = await readDependants(pool, {
    oids: tables.map(({ oid }) => oid),
    publication: publicationName(config),
    stateSchema: config.state.schema,
  });
  const backfilled = await lastBackfillReads(state.scope);
  const watched = readTables({ tables, stages, dependants, backfilled });
  return { at, reads: await readsOf({ state, pool, tables: watched }), dependants };
}

/**
 * Looks at most once a minute, however often it is asked; of other tables than before at once. What it answers says how old it is, and is never older than evidence may
 * be.
 */
export function keepUses(
  config: Config,
  {
    look = usesOf,
    nowMs = () => performance.now(),
  }: { readonly look?: LookAtUses; readonly nowMs?: () => number } = {},
): LookAtUses {
  const keepMs = Math.min(KEEP_MS, config.progress.gates.evidence);
  let kept: { readonly uses: Uses; readonly of: string; readonly atMs: number } | undefined;
  return async (options) => {
    const of = JSON.stringify(options.tables.map(({ oid, table }) => [oid, table]));
    const atMs = nowMs();
    if (kept?.of === of && atMs - kept.atMs < keepMs) return kept.uses;
    const uses = await look(options);
    kept = { uses, of, atMs };
    return uses;
  };
}

/** Each table with what leads to it, and with when we ourselves may have read it. */
export function readTables(options: {
  readonly tables: readonly MigrationTable[];
  readonly stages: readonly TableStage[];
  readonly dependants: ReadonlyMap<number, readonly Dependant[]>;
  readonly backfilled: ReadonlyMap<string, Date>;
}): ReadTable[] {
  const { tables, dependants, backfilled } = options;
  const stageOf = new Map(options.stages.map((stage) => [stage.table, stage]));
  /** Reverse sync was on, or was until it was moved. */
  const reversedSince = (table: MigrationTable, since: string): boolean => {
    const stage = stageOf.get(table.table);
    if (!table.reversed || stage === undefined) return false;
    return reverseIsOn(stage.stage) || stage.changedAt >= since;
  };
  return tables.map((table) => {
    const needs = dependants.get(table.oid) ?? [];
    // A write to a table looks up the rows that its foreign keys point to.
    const writers = tables.filter(({ oid }) => oid === table.oid || needs.some(({ from }) => from === oid));
    const names = needs.filter(({ kind }) => LEADS_TO_ROWS.has(kind)).map(({ plain }) => plain);
    return {
      table: table.table,
      oid: table.oid,
      names: [...new Set([table.name, ...names])],
      workedSince: (movedAt) =>
        table.reselected ||
        (backfilled.get(table.table)?.toISOString() ?? '') >= movedAt ||
        writers.some((writer) => reversedSince(writer, movedAt)),
    };
  });
}
