import type { z } from 'zod';
import { nearest } from '../core/nearest.ts';
import { chooseOption } from './fit.ts';
import { plannedOptions, plannedValues } from './planned.ts';
import { formatPath, pathKey, type Path, type Problem } from './problem.ts';
import { describe, isObject, kindOf, shapeOf, type Shape } from './shape.ts';

type Issue = z.core.$ZodIssue;

/** The message of an option that must be there and is not; `load.ts` says more where the environment is to blame. */
export const MISSING = 'missing';

/** What the schema found, in sentences for the author of the file. `document` is what was parsed. */
export function explain(schema: z.core.$ZodType, document: unknown, issues: readonly Issue[]): Problem[] {
  return withoutDoubles(issues.flatMap((issue) => explainIssue(schema, document, { issue, base: [] })));
}

interface Place {
  readonly issue: Issue;
  /** Path of `schema` and `document`; the issue's own path starts there. */
  readonly base: Path;
}

function explainIssue(schema: z.core.$ZodType, document: unknown, place: Place): Problem[] {
  const { issue } = place;
  const steps = issue.path.map((step) => (typeof step === 'number' ? step : String(step)));
  const path = [...place.base, ...steps];
  const value = steps.reduce<unknown>(childValue, document);
  const node = steps.reduce<z.core.$ZodType | undefined>(childSchema, schema);
  const shape: Shape = node === undefined ? { kind: 'json' } : shapeOf(node);
  switch (issue.code) {
    case 'invalid_union':
      return explainUnion(issue, { shape, value, path, node });
    case 'unrecognized_keys':
      return issue.keys.map((key) => unknownKey(key, { path, shape, value, others: [] }));
    case 'invalid_value':
      return [invalidChoice(value, { path, words: issue.values.map(String) })];
    case 'invalid_type':
      return [wrongKind(value, { path, shape, node, whole: issue.expected === 'int' })];
    case 'too_small':
      return [outOfRange(issue, { path, bound: `at least ${issue.minimum}` })];
    case 'too_big':
      return [outOfRange(issue, { path, bound: `at most ${issue.maximum}` })];
    case 'invalid_format':
    case 'custom':
      return [{ path, message: `${kindOf(value)} that does not fit`, remedy: issue.message }];
    default:
      return [{ path, message: `${kindOf(value)} that does not fit here`, remedy: issue.message }];
  }
}

function explainUnion(
  issue: Extract<Issue, { code: 'invalid_union' }>,
  found: { shape: Shape; value: unknown; path: Path; node: z.core.$ZodType | undefined },
): Problem[] {
  const { shape, value, path } = found;
  const options = shape.kind === 'union' ? shape.options : [];
  const option = chooseOption(options, value);
  if (option === undefined) {
    return [{ path, message: value === undefined ? MISSING : kindOf(value), remedy: `write ${forms(options)}` }];
  }
  const index = options.indexOf(option);
  const others = options.filter((other) => other !== option);
  const chosen = shapeOf(option);
  const keys = isObject(value) ? Object.keys(value) : [];
  if (chosen.kind === 'object' && keys.length > 0 && !keys.some((key) => isNearKey(key, chosen))) {
    return [
      { path, message: 'an object with none of the keys that it may have here', remedy: `write ${forms(options)}` },
    ];
  }
  if (chosen.kind === 'choice') return [invalidChoice(value, { path, words: chosen.words })];
  return (issue.errors[index] ?? []).flatMap((inner) =>
    inner.code === 'unrecognized_keys' && inner.path.length === 0
      ? inner.keys.map((key) => unknownKey(key, { path, shape: chosen, value, others }))
      : explainIssue(option, value, { issue: inner, base: path }),
  );
}

function isNearKey(key: string, shape: Extract<Shape, { kind: 'object' }>): boolean {
  return shape.keys.has(key) || nearest(key, shape.keys.keys()) !== undefined;
}

function unknownKey(
  key: string,
  found: { path: Path; shape: Shape; value: unknown; others: readonly z.core.$ZodType[] },
): Problem {
  const path = [...found.path, key];
  const planned = plannedOptions[formatPath(path)];
  if (planned !== undefined) return notYet(path, planned);
  const keys = found.shape.kind === 'object' ? [...found.shape.keys.keys()] : [];
  const present = isObject(found.value) ? Object.keys(found.value) : [];
  const elsewhere = found.others
    .map((other) => shapeOf(other))
    .some((other) => other.kind === 'object' && other.keys.has(key));
  const beside = keys.find((known) => present.includes(known));
  if (elsewhere && beside !== undefined) {
    return {
      path,
      message: `does not go together with \`${beside}\``,
      remedy: `keep one of \`${beside}\` and \`${key}\``,
    };
  }
  const meant = nearest(
    key,
    keys.filter((known) => !present.includes(known)),
  );
  if (meant === undefined) return { path, message: 'not an option', remedy: `options here: ${keys.join(', ')}` };
  return { path, message: 'not an option', remedy: `did you mean \`${meant}\`?`, meant: [...found.path, meant] };
}

function invalidChoice(value: unknown, found: { path: Path; words: readonly string[] }): Problem {
  const { path, words } = found;
  const list = words.join(' | ');
  if (value === undefined) return { path, message: MISSING, remedy: `write one of ${list}` };
  if (typeof value !== 'string') return { path, message: kindOf(value), remedy: `write one of ${list}` };
  const planned = plannedValues[formatPath(path)]?.[value];
  if (planned !== undefined) return notYet(path, planned);
  const meant = nearest(value, words);
  return {
    path,
    message: 'none of the words that it may be',
    remedy: `${meant === undefined ? '' : `did you mean \`${meant}\`? `}write one of ${list}`,
  };
}

function wrongKind(
  value: unknown,
  found: { path: Path; shape: Shape; node: z.core.$ZodType | undefined; whole: boolean },
): Problem {
  const { path, shape, node } = found;
  const purpose = node === undefined ? undefined : describe(node);
  const about = purpose === undefined ? '' : `: ${purpose}`;
  if (value === undefined) return { path, message: MISSING, remedy: `write ${form(shape)}${about}` };
  if (shape.kind === 'text' && shape.unit && typeof value === 'number') {
    return {
      path,
      message: 'a number without its unit',
      remedy: `write its unit too, such as ${unitExample(purpose)}`,
    };
  }
  if (found.whole && typeof value === 'number') {
    return { path, message: 'a number with a fraction, or a very large one', remedy: `write a whole number${about}` };
  }
  const quote =
    shape.kind === 'text' && (typeof value === 'number' || typeof value === 'boolean') ? ' (in quotes)' : '';
  return { path, message: kindOf(value), remedy: `write ${form(shape)}${quote}${about}` };
}

/** Sizes speak of bytes or WAL, everything else with a unit is a duration. */
function unitExample(purpose: string | undefined): string {
  return purpose !== undefined && /bytes|WAL/i.test(purpose) ? '1000kB or 10GB' : '5ms, 10s or 15min';
}

function outOfRange(
  issue: Extract<Issue, { code: 'too_small' | 'too_big' }>,
  found: { path: Path; bound: string },
): Problem {
  const { path, bound } = found;
  switch (issue.origin) {
    case 'string':
      if (issue.code === 'too_small' && issue.minimum === 1) {
        return { path, message: 'an empty text', remedy: 'write something, or leave the option out' };
      }
      return { path, message: 'a text of the wrong length', remedy: `use ${bound} characters` };
    case 'array':
      if (issue.code === 'too_small' && issue.minimum === 1) {
        return { path, message: 'an empty list', remedy: 'write at least one item, or leave the option out' };
      }
      return { path, message: 'a list of the wrong length', remedy: `use ${bound} items` };
    default:
      return { path, message: 'a number out of range', remedy: `use ${bound}` };
  }
}

function notYet(path: Path, what: string): Problem {
  return { path, message: `${what} is not yet supported by this version`, remedy: 'remove it for now' };
}

function forms(options: readonly z.core.$ZodType[]): string {
  return [...new Set(options.map((option) => form(shapeOf(option))))].join(', or ');
}

function form(shape: Shape): string {
  switch (shape.kind) {
    case 'object':
      return objectForm(shape);
    case 'record':
      return 'an object (`key: value`)';
    case 'list':
      return `a list of ${form(shapeOf(shape.element)).replace(/^an? /, '')}`;
    case 'union':
      return forms(shape.options);
    case 'choice':
      return `one of ${shape.words.join(' | ')}`;
    case 'text':
      return 'a text';
    case 'number':
      return 'a number';
    case 'boolean':
      return '`true` or `false`';
    default:
      return 'a value';
  }
}

function objectForm(shape: Extract<Shape, { kind: 'object' }>): string {
  const [first] = shape.keys.keys();
  return shape.keys.size <= 2
    ? `an object with \`${[...shape.keys.keys()].join('`, `')}\``
    : `an object (\`${first ?? 'key'}: …\`)`;
}

function childValue(value: unknown, step: string | number): unknown {
  if (Array.isArray(value)) return (value as unknown[])[Number(step)];
  return isObject(value) ? value[step] : undefined;
}

function childSchema(node: z.core.$ZodType | undefined, step: string | number): z.core.$ZodType | undefined {
  if (node === undefined) return undefined;
  const shape = shapeOf(node);
  switch (shape.kind) {
    case 'object':
      return shape.keys.get(String(step));
    case 'record':
      return shape.value;
    case 'list':
      return shape.element;
    default:
      return undefined;
  }
}

/** One mistake, one problem: a mistyped required key is both unknown and missing, and only the first says what happened. */
function withoutDoubles(problems: readonly Problem[]): Problem[] {
  const meant = new Set(problems.flatMap((problem) => (problem.meant === undefined ? [] : [pathKey(problem.meant)])));
  return problems.filter((problem) => !(problem.message === MISSING && meant.has(pathKey(problem.path))));
}
