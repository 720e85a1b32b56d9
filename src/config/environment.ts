import { isObject } from './shape.ts';
import { pathKey, type Path, type Problem } from './problem.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Substituted {
  readonly value: unknown;
  /** Scalars that contain a substitution, by `pathKey`: only these are coerced to numbers and booleans. */
  readonly touched: ReadonlySet<string>;
  /** Scalars that became empty and so are absent, by `pathKey`, with the variables that were empty. */
  readonly emptied: ReadonlyMap<string, readonly string[]>;
  /** Where a variable is missing; further problems of the same place would only repeat it. */
  readonly unresolved: ReadonlySet<string>;
  readonly problems: readonly Problem[];
}

const ABSENT = Symbol('absent');

/**
 * Puts `${NAME}` and `${NAME:-default}` into the scalars of a parsed document; `$${` stands for a literal `${`. As in a shell, the default
 * is taken where the variable is unset or empty. A scalar that becomes empty is taken out of its object or list.
 */
export function substitute(document: unknown, env: Environment): Substituted {
  const touched = new Set<string>();
  const emptied = new Map<string, readonly string[]>();
  const unresolved = new Set<string>();
  const problems: Problem[] = [];

  function walk(value: unknown, path: Path): unknown {
    if (typeof value === 'string') return value.includes('${') ? scalar(value, path) : value;
    if (Array.isArray(value)) {
      return value.map((item, index) => walk(item, [...path, index])).filter((item) => item !== ABSENT);
    }
    if (!isObject(value)) return value;
    const walked = Object.entries(value).map(([key, item]) => [key, walk(item, [...path, key])] as const);
    return Object.fromEntries(walked.filter(([, item]) => item !== ABSENT));
  }

  function scalar(source: string, path: Path): unknown {
    const expanded = expand(source, env);
    if ('malformed' in expanded) {
      unresolved.add(pathKey(path));
      problems.push({
        path,
        message: 'a `${` that is not followed by a variable’s name and `}`',
        remedy: 'write `${NAME}` or `${NAME:-default}`, or `$${` for a literal `${`',
      });
      return ABSENT;
    }
    if (expanded.missing.length > 0) {
      unresolved.add(pathKey(path));
      const names = expanded.missing;
      problems.push({
        path,
        message: `the environment variable ${names.join(', ')} is not set`,
        remedy: `set it, or give a default: \`\${${names[0] ?? 'NAME'}:-…}\` (nothing after \`:-\` leaves the option out)`,
      });
      return ABSENT;
    }
    touched.add(pathKey(path));
    if (expanded.text !== '') return expanded.text;
    emptied.set(pathKey(path), expanded.names);
    return ABSENT;
  }

  const value = walk(document, []);
  return { value: value === ABSENT ? undefined : value, touched, emptied, unresolved, problems };
}

type Expanded =
  | { readonly text: string; readonly names: readonly string[]; readonly missing: readonly string[] }
  | { readonly malformed: true };

function expand(source: string, env: Environment): Expanded {
  const names: string[] = [];
  const missing: string[] = [];
  let text = '';
  let at = 0;
  for (;;) {
    const open = source.indexOf('${', at);
    if (open === -1) return { text: text + source.slice(at), names, missing };
    if (source[open - 1] === '$' && open > at) {
      text += `${source.slice(at, open - 1)}\${`;
      at = open + 2;
      continue;
    }
    const match = /^\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}/.exec(source.slice(open));
    if (match?.[1] === undefined) return { malformed: true };
    const [whole, name, fallback] = match;
    names.push(name);
    const value = env[name];
    if (value === undefined && fallback === undefined) missing.push(name);
    text += source.slice(at, open) + (value === undefined || value === '' ? (fallback ?? '') : value);
    at = open + whole.length;
  }
}
