import type pg from 'pg';
import type { Relation } from '../core/change.ts';
import { sleep } from '../flow/supervise.ts';
import { TypeCatalog } from '../postgres/type-catalog.ts';

/** A type that is older than the stream's position and gone since is not waited for longer than this. */
const TYPE_WAIT_MS = 2_000;

/** The types that relations of the stream need. */
export class StreamTypes {
  readonly #pool: pg.Pool;
  #catalog: TypeCatalog;

  static async load(pool: pg.Pool): Promise<StreamTypes> {
    return new StreamTypes(pool, await TypeCatalog.load(pool));
  }

  private constructor(pool: pg.Pool, catalog: TypeCatalog) {
    this.#pool = pool;
    this.#catalog = catalog;
  }

  get catalog(): TypeCatalog {
    return this.#catalog;
  }

  /**
   * Looks up what is not known yet of a relation's types. The stream shows a commit before other sessions can see it, so a type that came with the
   * same transaction may not be in the first answer. One that was dropped since never is: its values are then written as their text.
   */
  async prepare(relation: Relation, signal: AbortSignal): Promise<void> {
    for (const deadline = performance.now() + TYPE_WAIT_MS; !this.#knows(relation); await sleep(20, signal)) {
      this.#catalog = await TypeCatalog.load(this.#pool);
      if (performance.now() > deadline) break;
    }
  }

  #knows(relation: Relation): boolean {
    return relation.columns.every(({ typeOid }) => this.#catalog.has(typeOid));
  }
}
