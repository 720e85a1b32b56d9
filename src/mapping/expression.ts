import { EvaluationError, type Environment } from '@marcbachmann/cel-js';
import type { Tuple } from '../core/change.ts';
import { BanyanError } from '../core/errors.ts';
import { celEnvironment, usesOf, type ExpressionUses } from './cel-environment.ts';
import { celColumnType } from './cel-values.ts';
import type { MappedColumn } from './columns.ts';
import type { TypeCatalog } from '../postgres/type-catalog.ts';

/** Why an expression has no value: a NULL where a value was needed, or something that is not there. */
export type NoValue = typeof NULL_VALUE | typeof ABSENT_VALUE;
export const NULL_VALUE = Symbol('null');
/** The server did not send a column that the expression needs (unchanged TOAST, a key-only old row), or CEL has no form of its value. */
export const ABSENT_VALUE = Symbol('absent');

export interface Expression {
  readonly source: string;
  /** CEL's name of the type, by the columns' types: `bool`, `int`, `decimal`, `dyn`, … */
  readonly type: string;
  readonly uses: ExpressionUses;
  /**
   * Whether an int in the result leaves as a JSON string: it does where the expression names a bigint column, as the column itself
   * would. Known from the text of the expression, so that the type of a field never depends on the row.
   */
  readonly bigIntegers: boolean;
  /** Of the change that `load` was called with last. Throws `mapping-failed` on errors that neither NULL nor absence explains. */
  evaluate(): unknown;
}

export interface ExpressionError {
  readonly message: string;
  /** Offset in the expression, from 0. */
  readonly position: number;
  /** Set where a column is missing. */
  readonly column?: string;
}

export type CompiledExpression =
  | { readonly ok: true; readonly expression: Expression }
  | { readonly ok: false; readonly error: ExpressionError };

/** Expressions over the rows of one relation. */
export interface ExpressionScope {
  /** `path` is where the expression stands in the configuration; it leads the message of what fails later. */
  compile(source: string, path: string): CompiledExpression;
  /** Sets what `row`, `old`, `op` and `table` are for the next evaluations. `fallback` holds what `row` did not send and is known anyway. */
  load(change: ScopeChange): void;
}

export interface ScopeChange {
  readonly operation: string;
  readonly row: Tuple | undefined;
  readonly fallback: Tuple | undefined;
  readonly old: Tuple | undefined;
}

/**
 * `columns` are those that may be used; masked ones are strings of their masked text. Two environments: one with the columns'
 * types finds mistakes before any row comes, the other lets NULL through, which CEL's types have no place for.
 */
export function expressionScope(options: {
  readonly columns: readonly MappedColumn[];
  readonly table: string;
  readonly types: TypeCatalog;
}): ExpressionScope {
  const columns = new Map(
    options.columns.map((column) => {
      const type = celColumnType(column.typeOid, options.types);
      if (column.mask === undefined) return [column.name, { column, ...type }] as const;
      return [column.name, { column, celType: 'string', bigInteger: false, decode: column.reveal }] as const;
    }),
  );
  const decoders = new Map(
    Array.from(columns, ([name, { column, decode }]) => [name, { index: column.index, decode }] as const),
  );
  const row = new RowView(decoders);
  const old = new RowView(decoders);
  const variables = { row, old, op: '', table: options.table };
  // Made only when an entry has expressions: most have none, and an environment costs a millisecond.
  let environments: { readonly strict: Environment; readonly lenient: Environment } | undefined;

  return {
    load(change) {
      row.load(change.row, change.fallback);
      old.load(change.old, undefined);
      variables.op = change.operation;
    },
    compile(source, path) {
      environments ??= {
        strict: rowEnvironment(Array.from(columns, ([name, { celType }]) => [name, celType])),
        lenient: rowEnvironment(Array.from(columns, ([name]) => [name, 'dyn'])),
      };
      const parsed = parse(environments.lenient, source);
      if (!('run' in parsed)) return { ok: false, error: parsed };
      const { run, uses } = parsed;
      const missing = uses.columns.find((use) => !columns.has(use.column));
      if (missing !== undefined) {
        const message = `no column ${missing.column}`;
        return { ok: false, error: { message, position: missing.position, column: missing.column } };
      }
      const refused = uses.refusals[0];
      if (refused !== undefined) return { ok: false, error: refused };
      const checked = environments.strict.check(source);
      if (!checked.valid) return { ok: false, error: errorOf(checked.error) };
      const bigIntegers = uses.columns.some((use) => columns.get(use.column)?.bigInteger === true);
      const evaluate = () => {
        row.missed = false;
        old.missed = false;
        try {
          return run(variables) as unknown;
        } catch (error) {
          if (isAbsence(error)) return row.missed || old.missed ? ABSENT_VALUE : NULL_VALUE;
          throw evaluationFailure(error, { source, path });
        }
      };
      return { ok: true, expression: { source, type: checked.type ?? 'dyn', uses, bigIntegers, evaluate } };
    },
  };
}

/** `1:14`, line and column from 1, as editors count. */
export function positionText(source: string, offset: number): string {
  const before = source.slice(0, offset).split('\n');
  return `${before.length}:${(before.at(-1)?.length ?? 0) + 1}`;
}

function rowEnvironment(fields: readonly (readonly [string, string])[]): Environment {
  return celEnvironment()
    .registerType('Row', { ctor: RowView, fields: Object.fromEntries(fields) })
    .registerOperator('Row == null', (view: RowView) => view.isEmpty)
    .registerVariable('row', 'Row')
    .registerVariable('old', 'Row')
    .registerVariable('op', 'string')
    .registerVariable('table', 'string');
}

function parse(environment: Environment, source: string) {
  try {
    const run = environment.parse(source);
    return { run, uses: usesOf(run.ast) };
  } catch (error) {
    return errorOf(error);
  }
}

function errorOf(error: unknown): ExpressionError {
  if (typeof error !== 'object' || error === null) return { message: 'the expression does not parse', position: 0 };
  const { summary, range } = error as { summary?: string; range?: { start: number } };
  return {
    message: summary ?? (error instanceof Error ? error.message : 'the expression does not parse'),
    position: range?.start ?? 0,
  };
}

/** Errors of a type-checked expression that say: something was not there. */
const absenceCodes = new Set(['no_such_key', 'index_out_of_bounds']);
/** Errors of a type-checked expression that NULL causes, or json that is not what the expression thinks. */
const typeCodes = new Set([
  'no_such_overload',
  'no_matching_overload',
  'invalid_logical_operand',
  'invalid_condition_type',
  'invalid_comprehension_range',
]);

function isAbsence(error: unknown): boolean {
  if (!(error instanceof EvaluationError)) return false;
  if (absenceCodes.has(error.code)) return true;
  // The library tells the types that met only in its text: `dyn<null> + int`, `null.startsWith(string)`.
  return typeCodes.has(error.code) && /\bnull\b/.test(error.summary);
}

/** The library's own message may hold a value of the row, so only its code and place are kept. */
function evaluationFailure(error: unknown, where: { readonly source: string; readonly path: string }): BanyanError {
  let reason: string;
  if (error instanceof EvaluationError) {
    const place = error.range === undefined ? '' : ` at ${positionText(where.source, error.range.start)}`;
    reason = `failed${place} with ${error.code}`;
  } else if (error instanceof RangeError) {
    // Ours, from the functions of decimals: their messages hold no values.
    reason = `failed: ${error.message}`;
  } else {
    reason = `failed with ${error instanceof Error ? error.name : typeof error}`;
  }
  return new BanyanError('mapping-failed', `${where.path}: the expression ${reason}`, {
    context: { path: where.path },
  });
}

/**
 * A row as CEL reads it: a column is decoded when the expression comes to it, once per change. It is a Map because CEL looks
 * fields up with `get`, which no column name can collide with.
 */
class RowView extends Map<string, unknown> {
  /** Whether a column was asked for that has no value here. */
  missed = false;
  readonly #decoders: ReadonlyMap<string, { readonly index: number; readonly decode: (text: string) => unknown }>;
  #row: Tuple | undefined;
  #fallback: Tuple | undefined;
  #decoded: unknown[] = [];

  constructor(decoders: ReadonlyMap<string, { readonly index: number; readonly decode: (text: string) => unknown }>) {
    super();
    this.#decoders = decoders;
  }

  get isEmpty(): boolean {
    return this.#row === undefined;
  }

  load(row: Tuple | undefined, fallback: Tuple | undefined): void {
    this.#row = row;
    this.#fallback = fallback;
    if (this.#decoded.length > 0) this.#decoded = [];
  }

  override get(name: string): unknown {
    const decoder = this.#decoders.get(name);
    if (decoder === undefined) return undefined;
    let value = this.#decoded[decoder.index];
    if (value !== undefined) return value;
    const cell =
      this.#row?.[decoder.index] ?? (this.#row?.[decoder.index] === null ? null : this.#fallback?.[decoder.index]);
    value = typeof cell === 'string' ? decoder.decode(cell) : cell;
    if (value === undefined) this.missed = true;
    else this.#decoded[decoder.index] = value;
    return value;
  }
}
