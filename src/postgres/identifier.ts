import { BanyanError } from '../core/errors.ts';

export interface QualifiedName {
  readonly schema: string;
  readonly name: string;
}

/** An identifier as SQL, always quoted: reserved words, mixed case and multi-byte names need no second thought. */
export function quoteIdentifier(identifier: string): string {
  if (identifier.includes('\0')) throw new BanyanError('config', 'an identifier can not hold a zero byte');
  return `"${identifier.replaceAll('"', '""')}"`;
}

/** A string as SQL, for the statements that take no parameters (replication commands, DDL). */
export function quoteLiteral(text: string): string {
  const doubled = text.replaceAll("'", "''");
  return doubled.includes('\\') ? `E'${doubled.replaceAll('\\', '\\\\')}'` : `'${doubled}'`;
}

/** `"public"."orders"`, as SQL. */
export function qualifiedName(table: QualifiedName): string {
  return `${quoteIdentifier(table.schema)}.${quoteIdentifier(table.name)}`;
}

/** `public.orders` as a person writes it: quoted only where SQL would read it otherwise. */
export function displayName(table: QualifiedName): string {
  return `${displayIdentifier(table.schema)}.${displayIdentifier(table.name)}`;
}

/** One part of it, as `orders` and `"Order Items"`. */
export function displayIdentifier(identifier: string): string {
  return /^[a-z_][a-z0-9_$]*$/.test(identifier) ? identifier : quoteIdentifier(identifier);
}

/** One part of a name as it was written: quoted parts are taken as they are, and only unquoted ones may hold `*` and `?`. */
export interface NamePart {
  readonly text: string;
  readonly quoted: boolean;
}

export interface TablePattern {
  readonly schema: NamePart;
  readonly name: NamePart;
}

/**
 * Reads `schema.table` with SQL's quoting: `public.orders`, `"Legacy"."Order.Items"`. Unquoted parts fold to lower case, as in SQL;
 * `*` and `?` stay in them as wildcards. The schema must be there: search paths differ from session to session, and the WAL knows none.
 */
export function parseTableName(text: string): TablePattern {
  const [first, second, ...rest] = partsOf(text);
  if (first === undefined || second === undefined) throw notATable(text, 'it has no schema');
  if (rest.length > 0) {
    throw notATable(text, 'more than a schema and a table (a dot inside a name needs double quotes)');
  }
  return { schema: first, name: second };
}

/** The same as a command takes it, where the name alone stands for a table of any schema. */
export function parseTableWord(text: string): TablePattern {
  const [first, ...rest] = partsOf(text);
  if (first === undefined || rest.length > 0) return parseTableName(text);
  return { schema: { text: '*', quoted: false }, name: first };
}

export function matchesTable(pattern: TablePattern, table: QualifiedName): boolean {
  return matchesPart(pattern.schema, table.schema) && matchesPart(pattern.name, table.name);
}

function partsOf(text: string): NamePart[] {
  const parts: NamePart[] = [];
  let offset = 0;
  for (;;) {
    const part = text[offset] === '"' ? quotedPart(text, offset) : plainPart(text, offset);
    parts.push(part.part);
    offset = part.end;
    if (offset === text.length) return parts;
    if (text[offset] !== '.') throw notATable(text, `an unexpected character at position ${offset + 1}`);
    offset++;
  }
}

/** Whether the name holds wildcards outside quotes, and so may stand for many tables. */
export function isPattern(name: TablePattern): boolean {
  return [name.schema, name.name].some((part) => !part.quoted && /[*?]/.test(part.text));
}

/** `*` is any run of characters, `?` is one; everything in a quoted part is itself. */
export function matchesPart(part: NamePart, identifier: string): boolean {
  if (part.quoted) return part.text === identifier;
  const source = Array.from(part.text, (character) =>
    character === '*' ? '.*' : character === '?' ? '.' : character.replace(/[$()+.[\]\\^{|}]/, '\\$&'),
  ).join('');
  return new RegExp(`^${source}$`, 'su').test(identifier);
}

function quotedPart(text: string, start: number): { part: NamePart; end: number } {
  let value = '';
  for (let offset = start + 1; offset < text.length; offset++) {
    if (text[offset] !== '"') {
      value += text[offset];
    } else if (text[offset + 1] === '"') {
      value += '"';
      offset++;
    } else {
      if (value === '') throw notATable(text, 'an empty name');
      return { part: { text: value, quoted: true }, end: offset + 1 };
    }
  }
  throw notATable(text, 'a double quote that is never closed');
}

function plainPart(text: string, start: number): { part: NamePart; end: number } {
  let end = start;
  while (end < text.length && text[end] !== '.' && text[end] !== '"') end++;
  const value = text.slice(start, end);
  if (value === '') throw notATable(text, 'an empty name');
  if (/\s/.test(value)) throw notATable(text, 'a space outside double quotes');
  return { part: { text: foldCase(value), quoted: false }, end };
}

/** PostgreSQL folds ASCII letters only (in multi-byte encodings), so `É` stays as it is. */
function foldCase(text: string): string {
  return text.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase());
}

function notATable(text: string, reason: string): BanyanError {
  return new BanyanError('config', `${JSON.stringify(text)} is not a table name: ${reason}`, {
    remedy: 'write schema.table, with double quotes as in SQL around names of mixed case or with dots',
  });
}
