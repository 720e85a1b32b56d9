import { nearest } from '../core/nearest.ts';
import { closingQuote, unescaped } from '../postgres/values/array-text.ts';
import type { Cast } from './cast.ts';
import { text } from './cast-text.ts';
import { isJsonObject, type Json, kindOfJson } from './json.ts';
import { Misfit, misfit, within } from './misfit.ts';

/** PostgreSQL's limit. */
const MAX_DIMENSIONS = 6;

export interface ElementType {
  readonly cast: Cast;
  readonly delimiter: string;
  /** Whether one value of it is a list in JSON (json, vectors, domains over arrays): then a list within the list is an element and no dimension. */
  readonly takesLists: boolean;
}

/** A list as an array, lists within it as its dimensions. */
export function array({ cast, delimiter, takesLists }: ElementType): Cast {
  return (value) => {
    /** Elements of the lists by their depth, and the depth of what is no list: the same everywhere, as an array is a box. */
    const sizes: number[] = [];
    let leaves: number | undefined;
    const list = (items: readonly Json[], depth: number): string => {
      if (depth >= MAX_DIMENSIONS) throw new Misfit('lists in lists', `at most ${MAX_DIMENSIONS} of them`);
      if (items.length === 0 && depth > 0) throw new Misfit('an empty list in a list', 'a list with elements');
      sizes[depth] ??= items.length;
      if (sizes[depth] !== items.length) throw new Misfit('lists of different lengths', 'lists of one length');
      const texts = items.map((item, index) =>
        within(index, () => {
          const isDimension = !takesLists && Array.isArray(item);
          if (isDimension && (leaves === undefined || depth < leaves)) return list(item as readonly Json[], depth + 1);
          leaves ??= depth;
          if (isDimension || leaves !== depth) throw misfit(item, 'a list of the same depth everywhere');
          return item === null ? 'NULL' : quoted(cast(item));
        }),
      );
      return `{${texts.join(delimiter)}}`;
    };
    if (!Array.isArray(value)) throw misfit(value, 'a list');
    return list(value as readonly Json[], 0);
  };
}

function quoted(element: string): string {
  return `"${element.replaceAll(/["\\]/g, '\\$&')}"`;
}

export interface FieldCast {
  readonly name: string;
  readonly cast: Cast;
}

/** A row: an object with exactly its fields, or a list of them in their order. */
export function composite(fields: readonly FieldCast[]): Cast {
  const names = fields.map(({ name }) => name);
  const known = new Set(names);
  const row = (values: readonly Json[], step: (index: number) => string | number): string =>
    `(${fields
      .map(({ cast }, index) =>
        within(step(index), () => {
          const value = values[index] ?? null;
          return value === null ? '' : `"${cast(value).replaceAll(/["\\]/g, '$&$&')}"`;
        }),
      )
      .join(',')})`;
  return (value) => {
    if (Array.isArray(value)) {
      if (value.length !== fields.length)
        throw new Misfit('a list of another length', `a list of ${fields.length} fields`);
      return row(value as readonly Json[], (index) => index);
    }
    if (!isJsonObject(value)) throw misfit(value, 'an object, or a list of its fields');
    const unknown = Object.keys(value).find((name) => !known.has(name));
    if (unknown !== undefined) {
      const near = nearest(unknown, names);
      throw new Misfit(
        'an object with a field that the row does not have',
        near === undefined ? `only ${names.join(', ')}` : `perhaps ${near}`,
      );
    }
    const missing = names.find((name) => !Object.hasOwn(value, name));
    if (missing !== undefined) throw new Misfit(`an object without ${missing}`, `an object with ${names.join(', ')}`);
    return row(
      names.map((name) => value[name] ?? null),
      (index) => names[index] ?? index,
    );
  };
}

/** An object of texts and nulls. */
export const hstore: Cast = (value) => {
  if (!isJsonObject(value)) throw misfit(value, 'an object of texts');
  const pairs = Object.entries(value).map(([name, member]) =>
    within(name, () => `${quoted(text(name))}=>${member === null ? 'NULL' : quoted(text(member))}`),
  );
  return pairs.join(', ');
};

/** `int2vector` and `oidvector`: a list, or the server's text of one. */
export function vector(element: Cast): Cast {
  return (value) => {
    const items: readonly Json[] | undefined = Array.isArray(value)
      ? (value as readonly Json[])
      : typeof value === 'string'
        ? value.split(' ').filter((item) => item !== '')
        : undefined;
    if (items === undefined) throw misfit(value, 'a list of whole numbers');
    return items.map((item, index) => within(index, () => element(item))).join(' ');
  };
}

/** A range as the server writes it: `[1,5)`, `empty`, `("2026-01-01 00:00:00+00",)`. Each bound must be one of its subtype. */
export function range(bound: Cast): Cast {
  const wanted = 'a range, such as "[1,5)" or "empty"';
  return (value) => {
    if (typeof value !== 'string') throw misfit(value, wanted);
    if (value.toLowerCase() === 'empty') return value;
    const bounds = rangeBounds(value);
    if (bounds === undefined) throw new Misfit('a text that is no range', wanted);
    for (const end of bounds) if (end !== undefined) checkBound(bound, end);
    return value;
  };
}

function checkBound(cast: Cast, end: string): void {
  try {
    cast(end);
  } catch (error) {
    if (error instanceof Misfit) throw new Misfit(`a range with a bound that is ${error.found}`, error.wanted);
    throw error;
  }
}

/** Both bounds as the server would read them, undefined for an open end; undefined where the text is no range. */
function rangeBounds(value: string): readonly [string | undefined, string | undefined] | undefined {
  if (!/^[[(]/.test(value) || !/[\])]$/.test(value)) return undefined;
  const lower = readBound(value, 1);
  if (lower === undefined || value[lower.end] !== ',') return undefined;
  const upper = readBound(value, lower.end + 1);
  return upper === undefined || upper.end !== value.length - 1 ? undefined : [lower.text, upper.text];
}

function readBound(
  value: string,
  from: number,
): { readonly text: string | undefined; readonly end: number } | undefined {
  let bound: string | undefined;
  let at = from;
  for (;;) {
    const character = value[at];
    if (character === undefined) return undefined;
    if (character === ',' || character === ')' || character === ']') return { text: bound, end: at };
    if (character === '"') {
      // A doubled quote within is one: the next turn goes on with it.
      const end = closingQuote(value, at + 1);
      if (end < 0) return undefined;
      const isDoubled = bound !== undefined && value[at - 1] === '"';
      bound = `${bound ?? ''}${isDoubled ? '"' : ''}${unescaped(value, at + 1, end)}`;
      at = end + 1;
    } else {
      const isEscape = character === '\\';
      bound = `${bound ?? ''}${value[isEscape ? at + 1 : at] ?? ''}`;
      at += isEscape ? 2 : 1;
    }
  }
}

/** What the catalog says nothing more of: the server's own text of a value. */
export const opaque: Cast = (value) => {
  if (typeof value !== 'string') throw new Misfit(kindOfJson(value), 'a text in the form that PostgreSQL prints');
  return text(value);
};
