import { BanyanError } from '../core/errors.ts';
import { nearest } from '../core/nearest.ts';
import { formatPath, type Path } from '../config/problem.ts';

/**
 * Something that keeps an entry from being compiled for a table. `check` prints all of them, the worker stops at the first:
 * `schema-drift` where the table no longer is what the mapping says, `config` where no table could make the mapping right.
 */
export interface MappingProblem {
  readonly code: string;
  readonly kind: 'schema-drift' | 'config';
  /** `capture[0].detail.total` */
  readonly path: string;
  readonly message: string;
  readonly remedy: string;
}

/** Collects the problems of one entry on one table, so that the first one does not hide the others. */
export class ProblemList {
  readonly table: string;
  readonly entryIndex: number;
  readonly #problems: MappingProblem[] = [];

  constructor(table: string, entryIndex: number) {
    this.table = table;
    this.entryIndex = entryIndex;
  }

  get all(): readonly MappingProblem[] {
    return this.#problems;
  }

  pathOf(steps: Path): string {
    return formatPath(['capture', this.entryIndex, ...steps]);
  }

  add(problem: Omit<MappingProblem, 'path'> & { readonly path: Path }): void {
    this.#problems.push({ ...problem, path: this.pathOf(problem.path) });
  }

  unknownColumn(column: string, path: Path, known: Iterable<string>): void {
    const near = nearest(column, known);
    this.add({
      code: 'COLUMN_UNKNOWN',
      kind: 'schema-drift',
      path,
      message: `${this.table} has no column ${column}${near === undefined ? '' : `; the nearest is ${near}`}`,
      remedy:
        near === undefined
          ? `take ${column} out of the mapping, or name the column that it became`
          : `write ${near} instead, if that is the column that you mean`,
    });
  }

  throwFirst(): void {
    const first = this.#problems[0];
    if (first === undefined) return;
    const more =
      this.#problems.length > 1 ? ` (and ${this.#problems.length - 1} more; \`banyan check\` lists them)` : '';
    throw new BanyanError(first.kind, `${first.path}: ${first.message}${more}`, {
      context: { table: this.table, path: first.path, code: first.code },
      remedy:
        first.kind === 'config'
          ? first.remedy
          : `${first.remedy}; restart, then \`banyan dead-letters redrive --table ${this.table}\``,
    });
  }
}
