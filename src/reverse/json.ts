/** JSON as an event has it: nothing of it is rounded. */
export type Json = null | boolean | string | number | ExactNumber | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [name: string]: Json;
}

/** A number that a double, or its shortest text, would not give back as it was written: `9007199254740993`, `1.50`, `1e400`. */
export class ExactNumber {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

export function isJsonObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof ExactNumber);
}

export function isNumber(value: Json): value is number | ExactNumber {
  return typeof value === 'number' || value instanceof ExactNumber;
}

/** The digits of a number as they were written. */
export function numberText(value: number | ExactNumber): string {
  return typeof value === 'number' ? `${value}` : value.text;
}

/** The kind of a value in words; never the value itself. */
export function kindOfJson(value: Json | undefined): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'null';
  if (isNumber(value)) return 'a number';
  if (Array.isArray(value)) return 'a list';
  switch (typeof value) {
    case 'string':
      return value === '' ? 'an empty text' : 'a text';
    case 'boolean':
      return '`true` or `false`';
    default:
      return 'an object';
  }
}

/** The JSON text of a value, with every number as it was written. */
export function jsonText(value: Json): string {
  if (value instanceof ExactNumber) return value.text;
  if (Array.isArray(value)) return `[${(value as readonly Json[]).map(jsonText).join(',')}]`;
  if (!isJsonObject(value)) return JSON.stringify(value);
  return `{${Object.entries(value)
    .map(([name, member]) => `${JSON.stringify(name)}:${jsonText(member)}`)
    .join(',')}}`;
}
