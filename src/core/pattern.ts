import { BanyanError } from './errors.ts';
import { areConsistent, collectFields, fieldPath } from './pattern-fields.ts';
import type { Field, FieldPath, Membership } from './pattern-fields.ts';
import { parseExactJson } from './pattern-json.ts';
import { compileField, isObject, OPERATORS } from './pattern-operators.ts';
import type { FieldTest } from './pattern-operators.ts';

/** An EventBridge event pattern, compiled: build it once, match it often. */
export interface EventPattern {
  /** Whether the pattern takes this event (a parsed JSON value; anything but an object never matches). */
  matches(event: unknown): boolean;
}

/** The pattern is not one that EventBridge would take; `message` reads as its InvalidEventPatternException does. */
export class InvalidPatternError extends BanyanError {
  readonly reason: string;
  /** Where in the pattern, such as `detail.total[0].numeric`; empty for the whole. */
  readonly path: string;

  constructor(reason: string, path: string) {
    super('config', `Event pattern is not valid. Reason: ${reason}${path === '' ? '' : ` at ${path}`}`, {
      remedy: 'mend the event pattern',
    });
    this.name = 'InvalidPatternError';
    this.reason = reason;
    this.path = path;
  }
}

/** EventBridge refuses patterns whose `$or`s multiply to more combinations than this. */
const MAX_COMBINATIONS = 1_000;

/** One field of one combination: `path` is a number in the pattern's table of paths. */
interface Condition {
  readonly path: number;
  readonly test: FieldTest;
}

/**
 * Compiles a pattern, given as JSON text or as the value that such text parses to. Matches as AWS's own rule engine does: all
 * fields (AND), any value of a field (OR), `$or`, and fields that are inside one array of objects in the same element of it.
 * Throws InvalidPatternError.
 */
export function compilePattern(pattern: unknown): EventPattern {
  const root = typeof pattern === 'string' ? parsePattern(pattern) : pattern;
  if (!isObject(root)) throw new InvalidPatternError('Filter is not an object', '');
  const paths: FieldPath[] = [];
  const combinations = compileObject(root, {
    path: '',
    insideOr: false,
    numberOf: (name) => {
      const known = paths.findIndex((path) => path.name === name);
      return known >= 0 ? known : paths.push(fieldPath(name)) - 1;
    },
  });
  for (const conditions of combinations) {
    // The order of AWS's engine, which walks the sorted fields: it decides in which element `exists: false` looks.
    conditions.sort((a, b) => compareNames(paths[a.path]?.name ?? '', paths[b.path]?.name ?? ''));
  }
  return {
    matches(event) {
      if (!isObject(event)) return false;
      const found: (readonly Field[] | undefined)[] = [];
      const fieldsAt = (path: number): readonly Field[] => (found[path] ??= collectAt(event, paths[path]));
      return combinations.some((conditions) => areMet(conditions, fieldsAt));
    },
  };
}

function parsePattern(text: string): unknown {
  try {
    return parseExactJson(text);
  } catch (error) {
    throw new InvalidPatternError(error instanceof Error ? error.message : 'not JSON', '');
  }
}

interface CompileContext {
  readonly path: string;
  readonly insideOr: boolean;
  readonly numberOf: (name: string) => number;
}

/** The combinations (a disjunction of conjunctions) that an object of the pattern stands for. */
function compileObject(object: Readonly<Record<string, unknown>>, context: CompileContext): Condition[][] {
  let combinations: Condition[][] = [[]];
  const entries = Object.entries(object);
  if (entries.length === 0) throw new InvalidPatternError('Empty objects are not allowed', context.path);
  for (const [name, value] of entries) {
    const path = context.path === '' ? name : `${context.path}.${name}`;
    if (name === '$or' && isRelationship(value, path)) {
      const branches = value.flatMap((branch) => compileObject(branch, { ...context, insideOr: true }));
      combinations = combine(combinations, branches, path);
      continue;
    }
    if (context.insideOr && OPERATORS.has(name)) {
      throw new InvalidPatternError(`${name} is Ruler reserved fieldName which cannot be used inside $or.`, path);
    }
    if (Array.isArray(value)) {
      const test = compileField(value, (reason, inner = '') => {
        throw new InvalidPatternError(reason, `${path}${inner}`);
      });
      const condition = { path: context.numberOf(path), test };
      for (const conditions of combinations) conditions.push(condition);
    } else if (isObject(value)) {
      combinations = combine(combinations, compileObject(value, { ...context, path }), path);
    } else {
      throw new InvalidPatternError(`"${name}" must be an object or an array`, path);
    }
  }
  return combinations;
}

/**
 * Whether a `$or` is the relationship and not a field that happens to have this name. It is a field where it lists plain values or
 * match expressions only.
 */
function isRelationship(value: unknown, path: string): value is readonly Readonly<Record<string, unknown>>[] {
  if (!Array.isArray(value) || value.length === 0 || !value.every(isObject)) return false;
  const names = value.flatMap((branch) => Object.keys(branch));
  const reserved = names.find((name) => OPERATORS.has(name));
  if (reserved !== undefined && names.every((name) => OPERATORS.has(name))) return false;
  if (value.length < 2) {
    throw new InvalidPatternError('There must have at least 2 Objects in $or relationship.', path);
  }
  return true;
}

function combine(left: Condition[][], right: Condition[][], path: string): Condition[][] {
  if (left.length * right.length > MAX_COMBINATIONS) {
    throw new InvalidPatternError(`Patterns of more than ${MAX_COMBINATIONS} combinations are not allowed`, path);
  }
  return left.flatMap((conditions) => right.map((more) => [...conditions, ...more]));
}

function collectAt(event: object, path: FieldPath | undefined): readonly Field[] {
  return path === undefined ? [] : collectFields(event, path);
}

/** A condition that holds for these values only (undefined: one that is in no element), or where none of `absentFrom` is. */
interface Constrained {
  readonly candidates: readonly (Membership | undefined)[];
  readonly absentFrom: readonly Field[] | undefined;
}

function areMet(conditions: readonly Condition[], fieldsAt: (path: number) => readonly Field[]): boolean {
  let constrained: Constrained[] | undefined;
  const lastAbsence = conditions.findLastIndex(({ test }) => test.absent);
  for (const [index, { path, test }] of conditions.entries()) {
    const state = judge(fieldsAt(path), test, index < lastAbsence);
    if (state === false) return false;
    if (state !== true) (constrained ??= []).push(state);
  }
  return constrained === undefined || isSatisfiable(constrained, 0, []);
}

/**
 * A value in no element of an array leaves every choice open, so for most patterns it settles the condition. Not where a later field
 * may be absent (`weighsElements`): it may be so only in the element that another value chooses.
 */
function judge(fields: readonly Field[], test: FieldTest, weighsElements: boolean): boolean | Constrained {
  if (fields.length === 0) return test.absent;
  let isSomewhere = true;
  let candidates: (Membership | undefined)[] | undefined;
  for (const field of fields) {
    if (field.membership === undefined) isSomewhere = false;
    if (!test.exact.has(field.value) && !test.tests.some((matches) => matches(field.value))) continue;
    if (field.membership === undefined && !weighsElements) return true;
    if (candidates === undefined || candidates.at(-1) !== field.membership) (candidates ??= []).push(field.membership);
  }
  const absentFrom = test.absent && isSomewhere ? fields : undefined;
  return candidates === undefined && absentFrom === undefined ? false : { candidates: candidates ?? [], absentFrom };
}

/** Is there one choice of array elements in which all conditions from `at` on hold, given the elements chosen before? */
function isSatisfiable(conditions: readonly Constrained[], at: number, chosen: readonly Membership[]): boolean {
  const condition = conditions[at];
  if (condition === undefined) return true;
  const fitsChosen = (membership: Membership | undefined): boolean =>
    membership === undefined || chosen.every((earlier) => areConsistent(earlier, membership));
  if (condition.absentFrom !== undefined && !condition.absentFrom.some((field) => fitsChosen(field.membership))) {
    if (isSatisfiable(conditions, at + 1, chosen)) return true;
  }
  return condition.candidates.some(
    (membership) =>
      fitsChosen(membership) &&
      isSatisfiable(conditions, at + 1, membership === undefined ? chosen : [...chosen, membership]),
  );
}

function compareNames(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
