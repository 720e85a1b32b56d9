import { jsonString } from './json-string.ts';
import { typeOid } from './type-oids.ts';

/** Turns PostgreSQL's text form of one type into JSON text. Pure; the text is never null. */
export type JsonWriter = (text: string) => string;

/** `text`: bigint and numeric become JSON strings with every digit; `json`: JSON numbers, as `to_jsonb` has them. */
export type NumbersOption = 'text' | 'json';

const MINUS = 0x2d;
const PLUS = 0x2b;

/** The writer of a type that PostgreSQL brings and that is neither array nor row, by its OID; any other type is a string. */
export function scalarWriter(oid: number, numbers: NumbersOption): JsonWriter {
  switch (oid) {
    case typeOid.int2:
    case typeOid.int4:
    case typeOid.json:
    case typeOid.jsonb:
      return asItIs;
    case typeOid.int8:
      return numbers === 'json' ? asItIs : plain;
    case typeOid.numeric:
      return numbers === 'json' ? finiteNumber : plain;
    case typeOid.float4:
    case typeOid.float8:
      return finiteNumber;
    case typeOid.bool:
      return boolean;
    case typeOid.timestamp:
      return timestamp;
    case typeOid.timestamptz:
      return timestampWithZone;
    case typeOid.int2vector:
      return vectorOfNumbers;
    case typeOid.oidvector:
      return vectorOfStrings;
    case typeOid.bytea:
      return hexBytes;
    // The text of these has no character that JSON would escape.
    case typeOid.date:
    case typeOid.time:
    case typeOid.timetz:
    case typeOid.interval:
    case typeOid.uuid:
    case typeOid.oid:
    case typeOid.inet:
    case typeOid.cidr:
    case typeOid.macaddr:
    case typeOid.macaddr8:
    case typeOid.bit:
    case typeOid.varbit:
      return plain;
    default:
      return jsonString;
  }
}

export function asItIs(text: string): string {
  return text;
}

export function plain(text: string): string {
  return `"${text}"`;
}

export function boolean(text: string): string {
  return text === 't' ? 'true' : 'false';
}

/** JSON has no NaN and no infinities; those are the only texts that do not end with a digit. */
export function finiteNumber(text: string): string {
  const last = text.charCodeAt(text.length - 1);
  return last >= 0x30 && last <= 0x39 ? text : `"${text}"`;
}

/** `2026-03-01 12:00:00 BC` becomes `2026-03-01T12:00:00 BC`; `infinity` has no space and stays. */
export function timestamp(text: string): string {
  const space = text.indexOf(' ');
  return space < 0 ? `"${text}"` : `"${text.slice(0, space)}T${text.slice(space + 1)}"`;
}

/** As `timestamp`, and the offset gets its minutes: the server leaves them out where they are zero (`+00`), `to_jsonb` never. */
export function timestampWithZone(text: string): string {
  const space = text.indexOf(' ');
  if (space < 0) return `"${text}"`;
  const end = text.endsWith(' BC') ? text.length - 3 : text.length;
  const sign = text.charCodeAt(end - 3);
  const minutes = sign === PLUS || sign === MINUS ? ':00' : '';
  return `"${text.slice(0, space)}T${text.slice(space + 1, end)}${minutes}${text.slice(end)}"`;
}

/** With `bytea_output=hex` the only character to escape is the backslash at the start of `\x00ff`. */
function hexBytes(text: string): string {
  return text.startsWith('\\x') ? `"\\${text}"` : jsonString(text);
}

function vectorOfNumbers(text: string): string {
  return `[${text.split(' ').join(',')}]`;
}

/** An OID is no JSON number for `to_jsonb`. */
function vectorOfStrings(text: string): string {
  return text === '' ? '[]' : `["${text.split(' ').join('","')}"]`;
}
