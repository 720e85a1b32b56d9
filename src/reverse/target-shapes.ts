import type pg from 'pg';
import type { Logger } from 'pino';
import type { Relation, RelationColumn } from '../core/change.ts';
import { toBanyanError } from '../core/errors.ts';
import { Bell } from '../flow/bell.ts';
import { sleep } from '../flow/supervise.ts';
import { toDatabaseError } from '../postgres/sqlstate.ts';
import type { CatalogTable } from '../postgres/table.ts';

/** The table of an entry of `reverse.apply`. */
export interface TargetTable {
  /** `schema.table` */
  readonly name: string;
  /** As its statements were compiled for; undefined: the entry could not be compiled. */
  readonly compiled: CatalogTable | undefined;
}

export interface ReloadOptions {
  /** As they are compiled now. */
  readonly tables: () => readonly TargetTable[];
  /** Those that have got columns since, by the catalog: names as in `tables`. */
  readonly grown: () => Promise<readonly string[]>;
  readonly reload: () => Promise<void>;
  /** Between two looks at the catalog while the stream shows no table; for tests. */
  readonly idleMs?: number;
  /** Ends it. */
  readonly stop: AbortSignal;
  readonly log: Logger;
}

/** A table that nobody captures is never shown. */
const IDLE_MS = 60_000;
const AGAIN_MS = 1_000;

/**
 * Has `reverse.apply` compiled again where the stream shows a table with other columns, or another replica identity, than its statements know. What it shows can
 * not be newer than the catalog, so that one reload is enough; it may be older, so a table that is only described once more is not asked about again. But the
 * stream describes a table whenever something of it has changed, also a column that it does not show: then the catalog is looked at, which is one small query.
 */
export class TargetShapes {
  readonly #bell = new Bell();
  readonly #rings = this.#bell.listener();
  readonly #shown = new Map<number, Relation>();
  /** Since they were looked at. */
  readonly #described = new Set<number>();
  readonly #judged = new Map<number, Relation>();

  /** From within the stream: a table as it describes it. */
  see(relation: Relation): void {
    if (JSON.stringify(this.#shown.get(relation.oid)) !== JSON.stringify(relation))
      this.#shown.set(relation.oid, relation);
    this.#described.add(relation.oid);
    this.#bell.ring();
  }

  /** Resolves when it is stopped. What fails is tried again. */
  async run({ tables, grown, reload, idleMs = IDLE_MS, stop, log }: ReloadOptions): Promise<void> {
    while (!stop.aborted) {
      const isShown = await this.#rings.waits(idleMs, stop).catch(() => false);
      if (stop.aborted) return;
      const shown = [...this.#described].flatMap((oid) => this.#shown.get(oid) ?? []);
      this.#described.clear();
      const concerned = shown.filter((relation) => tables().some((table) => isOf(table, relation)));
      if (isShown && concerned.length === 0) continue;
      try {
        const outdated = concerned.filter(
          (relation) =>
            this.#judged.get(relation.oid) !== relation && tables().some((table) => this.#isOutdated(table, relation)),
        );
        const changed = new Set([...outdated.map(nameOf), ...(await grown())]);
        if (changed.size > 0) {
          await reload();
          log.info({ tables: [...changed] }, 'tables have another shape now: reverse.apply is compiled again');
        }
        for (const relation of concerned) this.#judged.set(relation.oid, relation);
      } catch (error) {
        if (stop.aborted) return;
        const { kind, code, message } = toBanyanError(error, 'compiling reverse.apply');
        log.info({ kind, code }, message);
        await sleep(AGAIN_MS, stop).catch(() => undefined);
        for (const { oid } of concerned) this.#described.add(oid);
        this.#bell.ring();
      }
    }
  }

  #isOutdated({ name, compiled }: TargetTable, relation: Relation): boolean {
    if (!isOf({ name, compiled }, relation)) return false;
    if (compiled?.oid !== relation.oid) return true;
    const isKnown = (column: RelationColumn): boolean =>
      holds(compiled, column) && compiled.identityColumns.includes(column.name) === column.inIdentity;
    if (!relation.columns.every(isKnown)) return true;
    // The stream need not show all columns of a table: one that it has shown before is gone.
    const gone = (this.#judged.get(relation.oid)?.columns ?? []).filter((column) => !holds(relation, column));
    return gone.some((column) => holds(compiled, column));
  }
}

/** Names of the tables that have got columns since they were compiled. */
export async function grownTables(pool: pg.Pool, tables: readonly TargetTable[]): Promise<readonly string[]> {
  const compiled = tables.flatMap(({ compiled: table }) => table ?? []);
  try {
    const { rows } = await pool.query<{ name: string }>(
      `select distinct n.nspname || '.' || c.relname as name
       from unnest($1::oid[], $2::int[]) as known(oid, attributes)
       join pg_catalog.pg_class c on c.oid = known.oid and c.relnatts <> known.attributes
       join pg_catalog.pg_namespace n on n.oid = c.relnamespace`,
      [compiled.map(({ oid }) => oid), compiled.map(({ attributes }) => attributes)],
    );
    return rows.map(({ name }) => name);
  } catch (error) {
    throw toDatabaseError(error, 'looking whether tables have got columns');
  }
}

function isOf({ name, compiled }: TargetTable, relation: Relation): boolean {
  return compiled?.oid === relation.oid || name === nameOf(relation);
}

type Column = Pick<RelationColumn, 'name' | 'typeOid' | 'typeModifier'>;

function holds({ columns }: { readonly columns: readonly Column[] }, { name, typeOid, typeModifier }: Column): boolean {
  return columns.some(
    (other) => other.name === name && other.typeOid === typeOid && other.typeModifier === typeModifier,
  );
}

function nameOf({ schema, name }: Relation): string {
  return `${schema}.${name}`;
}
