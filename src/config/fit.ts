import type { z } from 'zod';
import { nearest } from '../core/nearest.ts';
import { pathKey, type Path } from './problem.ts';
import { isObject, isRequired, shapeOf } from './shape.ts';

/**
 * Makes a document fit for the schema without judging it: scalars that came from the environment become the numbers and booleans
 * that the schema wants there, and keys with nothing after the colon are left out.
 */
export function fit(
  schema: z.core.$ZodType,
  document: unknown,
  place: { touched: ReadonlySet<string>; path?: Path },
): unknown {
  const { touched, path = [] } = place;
  const shape = shapeOf(schema);
  switch (shape.kind) {
    case 'object': {
      if (!isObject(document)) return document;
      const fitted: Record<string, unknown> = {};
      for (const [key, value] of Object.entries(document)) {
        const child = shape.keys.get(key);
        // `{ value: null }` is a constant; any other option with nothing in it is as if it was not written.
        if (value === null && child !== undefined && shapeOf(child).kind !== 'json') continue;
        fitted[key] = child === undefined ? value : fit(child, value, { touched, path: [...path, key] });
      }
      return fitted;
    }
    case 'record':
      if (!isObject(document)) return document;
      return Object.fromEntries(
        Object.entries(document).map(([key, value]) => [
          key,
          fit(shape.value, value, { touched, path: [...path, key] }),
        ]),
      );
    case 'list':
      if (!Array.isArray(document)) return document;
      return document.map((value, index) => fit(shape.element, value, { touched, path: [...path, index] }));
    case 'union': {
      const option = chooseOption(shape.options, document);
      return option === undefined ? document : fit(option, document, place);
    }
    case 'number':
      return fromEnvironment(document, place) && /^-?\d+(\.\d+)?$/.test(document) ? Number(document) : document;
    case 'boolean':
      if (!fromEnvironment(document, place)) return document;
      return document === 'true' ? true : document === 'false' ? false : document;
    default:
      return document;
  }
}

function fromEnvironment(value: unknown, place: { touched: ReadonlySet<string>; path?: Path }): value is string {
  return typeof value === 'string' && place.touched.has(pathKey(place.path ?? []));
}

/**
 * The option of a union that an author most likely meant, by the value's kind and, between objects, by its keys. undefined where no
 * option takes a value of this kind.
 */
export function chooseOption(options: readonly z.core.$ZodType[], value: unknown): z.core.$ZodType | undefined {
  const taking = options.filter((option) => takes(option, value));
  if (!isObject(value)) return taking[0];
  let best: z.core.$ZodType | undefined;
  let bestScore = -1;
  for (const option of taking) {
    const score = likeness(option, Object.keys(value));
    if (score > bestScore) {
      best = option;
      bestScore = score;
    }
  }
  return best;
}

function takes(option: z.core.$ZodType, value: unknown): boolean {
  const shape = shapeOf(option);
  switch (shape.kind) {
    case 'object':
    case 'record':
      return isObject(value);
    case 'list':
      return Array.isArray(value);
    case 'union':
      return shape.options.some((inner) => takes(inner, value));
    case 'choice':
    case 'text':
      return typeof value === 'string';
    case 'number':
      return typeof value === 'number';
    case 'boolean':
      return typeof value === 'boolean';
    default:
      return true;
  }
}

/** A key that tells the options apart (a required one) weighs most, a mistyped one half of what it was meant to be. */
function likeness(option: z.core.$ZodType, keys: readonly string[]): number {
  const shape = shapeOf(option);
  if (shape.kind !== 'object') return 0;
  let score = 0;
  for (const key of keys) {
    const exact = shape.keys.get(key);
    const meant = exact === undefined ? nearest(key, shape.keys.keys()) : key;
    const child = meant === undefined ? undefined : shape.keys.get(meant);
    if (child !== undefined) score += (isRequired(child) ? 10 : 2) / (exact === undefined ? 2 : 1);
  }
  return score;
}
