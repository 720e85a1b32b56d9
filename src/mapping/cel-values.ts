import type { TypeCatalog } from '../postgres/type-catalog.ts';
import { jsonWriter } from '../postgres/values/json-writer.ts';
import { typeOid } from '../postgres/values/type-oids.ts';
import { parseDecimal } from './decimal.ts';

/** How expressions see a column: CEL's name of the type, and PostgreSQL's text turned into a value of it. */
export interface CelColumnType {
  readonly celType: string;
  /** undefined where CEL has no value for the text (`infinity`, `NaN` of numeric, BC): expressions treat it as absent. */
  readonly decode: (text: string) => unknown;
  /** Whether plain columns of this type leave as JSON strings because their numbers can pass 2^53. */
  readonly bigInteger: boolean;
}

export const TIMESTAMP = 'google.protobuf.Timestamp';

export function celColumnType(oid: number, types: TypeCatalog): CelColumnType {
  const base = types.baseOf(oid);
  const scalar = scalarType(base);
  if (scalar !== undefined) return scalar;
  const type = types.get(base);
  switch (type?.kind) {
    case 'array': {
      const element = celColumnType(type.elementOid ?? 0, types);
      return { celType: `list<${element.celType}>`, decode: throughJson(base, types), bigInteger: element.bigInteger };
    }
    case 'composite':
      return { celType: 'dyn', decode: throughJson(base, types), bigInteger: false };
    default:
      if (type?.name === 'hstore' && type.jsonCast)
        return { celType: 'map', decode: throughJson(base, types), bigInteger: false };
      return { celType: 'string', decode: (text) => text, bigInteger: false };
  }
}

function scalarType(oid: number): CelColumnType | undefined {
  switch (oid) {
    case typeOid.bool:
      return { celType: 'bool', decode: (text) => text === 't', bigInteger: false };
    case typeOid.int2:
    case typeOid.int4:
      return { celType: 'int', decode: BigInt, bigInteger: false };
    case typeOid.int8:
    case typeOid.oid:
      return { celType: 'int', decode: BigInt, bigInteger: true };
    case typeOid.numeric:
      return { celType: 'decimal', decode: parseDecimal, bigInteger: false };
    case typeOid.float4:
    case typeOid.float8:
      return { celType: 'double', decode: Number, bigInteger: false };
    case typeOid.date:
    case typeOid.timestamp:
    case typeOid.timestamptz:
      return { celType: TIMESTAMP, decode: parseTimestamp, bigInteger: false };
    case typeOid.json:
    case typeOid.jsonb:
      return { celType: 'dyn', decode: (text) => JSON.parse(text) as unknown, bigInteger: false };
    default:
      return undefined;
  }
}

/**
 * Arrays, rows and hstore are read by the writer that makes their JSON, so that there is one parser of each text form; its
 * JSON strings then become what the element type is in CEL.
 */
function throughJson(oid: number, types: TypeCatalog): (text: string) => unknown {
  const write = jsonWriter(oid, { types, numbers: 'text' });
  const convert = fromJson(oid, types);
  return (text) => convert(JSON.parse(write(text)) as unknown);
}

function fromJson(oid: number, types: TypeCatalog): (value: unknown) => unknown {
  const base = types.baseOf(oid);
  if (base === typeOid.json || base === typeOid.jsonb) return (value) => value;
  const scalar = scalarType(base);
  if (scalar !== undefined) {
    return (value) =>
      value === null || typeof value === 'boolean' ? value : scalar.decode(`${value as string | number}`);
  }
  const type = types.get(base);
  if (type?.kind === 'array' && type.elementOid !== undefined) {
    const element = fromJson(type.elementOid, types);
    const convert = (value: unknown): unknown => (Array.isArray(value) ? value.map(convert) : element(value));
    return convert;
  }
  if (type?.kind === 'composite') {
    const fields = new Map((type.fields ?? []).map((field) => [field.name, fromJson(field.typeOid, types)]));
    return (value) =>
      value === null || typeof value !== 'object'
        ? value
        : Object.fromEntries(Object.entries(value).map(([name, field]) => [name, fields.get(name)?.(field) ?? field]));
  }
  return (value) => value;
}

/**
 * Milliseconds are all that CEL's timestamp (a JavaScript Date) can hold: microseconds are cut off. Years 1 to 9999, as CEL
 * has them. Takes PostgreSQL's text of date, timestamp and timestamptz, and the form that JSON has them in.
 */
function parseTimestamp(text: string): Date | undefined {
  if (text.charCodeAt(4) !== 0x2d || text.endsWith('BC')) return undefined;
  if (text.length === 10) return validDate(Date.parse(text));
  const time = text.slice(11);
  const zone = Math.max(time.indexOf('+'), time.indexOf('-'));
  const clock = zone < 0 ? time : time.slice(0, zone);
  const offset = zone < 0 ? 'Z' : time.length - zone === 3 ? `${time.slice(zone)}:00` : time.slice(zone);
  return validDate(Date.parse(`${text.slice(0, 10)}T${clock}${offset}`));
}

function validDate(millis: number): Date | undefined {
  return Number.isNaN(millis) ? undefined : new Date(millis);
}
