import { z } from 'zod';
import { configSchema } from './schema.ts';

type JsonSchema = { [key: string]: unknown };

/**
 * The JSON Schema that editors complete and check `banyan.yaml` by: what may be written, before defaults. Wherever a number, a word or a
 * patterned text may stand, `${NAME}` may too, so each such place takes both.
 */
export function configJsonSchema(): JsonSchema {
  const schema = z.toJSONSchema(configSchema, { io: 'input', target: 'draft-2020-12' }) as JsonSchema;
  const withVariables = allowVariables(schema) as JsonSchema;
  return { ...withVariables, title: 'Banyan configuration' };
}

/** The text of `config/banyan.schema.json`. */
export function configJsonSchemaText(): string {
  return `${JSON.stringify(configJsonSchema(), undefined, 2)}\n`;
}

const VARIABLE = { type: 'string', pattern: '\\$\\{[A-Za-z_]\\w*(:-[^}]*)?\\}' };

function allowVariables(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(allowVariables);
  if (typeof node !== 'object' || node === null) return node;
  const schema = Object.fromEntries(Object.entries(node).map(([key, value]) => [key, allowVariables(value)]));
  if (!isNarrowScalar(schema)) return schema;
  const { description, default: fallback, ...narrow } = schema;
  return {
    ...(description === undefined ? {} : { description }),
    ...(fallback === undefined ? {} : { default: fallback }),
    anyOf: [narrow, VARIABLE],
  };
}

function isNarrowScalar(schema: JsonSchema): boolean {
  const { type } = schema;
  if (type === 'integer' || type === 'number' || type === 'boolean') return true;
  return (
    type === 'string' && ['enum', 'pattern', 'allOf', 'minLength'].some((key) => key in schema && schema[key] !== 1)
  );
}
