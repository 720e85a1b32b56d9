import type { Logger } from 'pino';
import type { Relation, RelationColumn } from '../core/change.ts';
import { toBanyanError } from '../core/errors.ts';
import { Bell } from '../flow/bell.ts';
import { sleep } from '../flow/supervise.ts';
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
  readonly reload: () => Promise<void>;
  /** Ends it. */
  readonly stop: AbortSignal;
  readonly log: Logger;
}

const IDLE_MS = 60_000;
const AGAIN_MS = 1_000;

/**
 * Has `reverse.apply` compiled again where the stream shows a table with other columns, or another replica identity, than its statements know. What it shows can
 * not be newer than the catalog, so that one reload is enough; it may be older, so a table that is only described once more makes nothing happen.
 */
export class TargetShapes {
  readonly #bell = new Bell();
  readonly #rings = this.#bell.listener();
  readonly #shown = new Map<number, Relation>();
  readonly #judged = new Map<number, Relation>();

  /** From within the stream: a table as it describes it. */
  see(relation: Relation): void {
    if (JSON.stringify(this.#shown.get(relation.oid)) === JSON.stringify(relation)) return;
    this.#shown.set(relation.oid, relation);
    this.#bell.ring();
  }

  /** Resolves when it is stopped. What fails is tried again. */
  async run({ tables, reload, stop, log }: ReloadOptions): Promise<void> {
    while (!stop.aborted) {
      await this.#rings.waits(IDLE_MS, stop).catch(() => undefined);
      const shown = [...this.#shown.values()].filter((relation) => this.#judged.get(relation.oid) !== relation);
      const outdated = shown.filter((relation) => tables().some((table) => this.#isOutdated(table, relation)));
      if (stop.aborted) return;
      try {
        if (outdated.length > 0) {
          await reload();
          log.info({ tables: outdated.map(nameOf) }, 'tables have another shape now: reverse.apply is compiled again');
        }
        for (const relation of shown) this.#judged.set(relation.oid, relation);
      } catch (error) {
        if (stop.aborted) return;
        const { kind, code, message } = toBanyanError(error, 'compiling reverse.apply');
        log.info({ kind, code }, message);
        await sleep(AGAIN_MS, stop).catch(() => undefined);
        this.#bell.ring();
      }
    }
  }

  #isOutdated({ name, compiled }: TargetTable, relation: Relation): boolean {
    if (compiled?.oid !== relation.oid) return name === nameOf(relation);
    const isKnown = (column: RelationColumn): boolean =>
      holds(compiled, column) && compiled.identityColumns.includes(column.name) === column.inIdentity;
    if (!relation.columns.every(isKnown)) return true;
    // The stream need not show all columns of a table: one that it has shown before is gone.
    const gone = (this.#judged.get(relation.oid)?.columns ?? []).filter((column) => !holds(relation, column));
    return gone.some((column) => holds(compiled, column));
  }
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
