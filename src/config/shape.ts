import { z } from 'zod';

/** What a part of the schema accepts, with its wrappers (optional, default, transform) taken off. */
export type Shape =
  | { readonly kind: 'object'; readonly keys: ReadonlyMap<string, z.core.$ZodType> }
  | { readonly kind: 'list'; readonly element: z.core.$ZodType }
  | { readonly kind: 'record'; readonly value: z.core.$ZodType }
  | { readonly kind: 'union'; readonly options: readonly z.core.$ZodType[] }
  | { readonly kind: 'choice'; readonly words: readonly string[] }
  | { readonly kind: 'text'; readonly unit: boolean }
  | { readonly kind: 'number' }
  | { readonly kind: 'boolean' }
  /** Whatever JSON can say: `{ value: … }`. */
  | { readonly kind: 'json' };

export function shapeOf(schema: z.core.$ZodType, unit = false): Shape {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault) {
    return shapeOf(schema.unwrap(), unit);
  }
  // The only transforms of the schema are units: `10s`, `1MB`.
  if (schema instanceof z.ZodPipe) return shapeOf(schema.in, true);
  if (schema instanceof z.ZodObject) return { kind: 'object', keys: new Map(Object.entries(schema.shape)) };
  if (schema instanceof z.ZodArray) return { kind: 'list', element: schema.element };
  if (schema instanceof z.ZodRecord) return { kind: 'record', value: schema.valueType };
  if (schema instanceof z.ZodUnion) return { kind: 'union', options: schema.options };
  if (schema instanceof z.ZodEnum) return { kind: 'choice', words: schema.options.map(String) };
  if (schema instanceof z.ZodString) return { kind: 'text', unit };
  if (schema instanceof z.ZodNumber) return { kind: 'number' };
  if (schema instanceof z.ZodBoolean) return { kind: 'boolean' };
  return { kind: 'json' };
}

export function isRequired(schema: z.core.$ZodType): boolean {
  return !(schema instanceof z.ZodType && schema.safeParse(undefined).success);
}

export function describe(schema: z.core.$ZodType): string | undefined {
  if (!(schema instanceof z.ZodType)) return undefined;
  if (schema.description !== undefined) return schema.description;
  return schema instanceof z.ZodOptional ? describe(schema.unwrap()) : undefined;
}

/** The kind of a value in the words of a YAML author; never the value itself, which may be a secret. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return 'empty';
  if (Array.isArray(value)) return 'a list';
  switch (typeof value) {
    case 'string':
      return value === '' ? 'an empty text' : 'a text';
    case 'number':
      return 'a number';
    case 'boolean':
      return '`true` or `false`';
    default:
      return 'an object';
  }
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
