import type { PgType, TypeCatalog } from '../postgres/type-catalog.ts';
import { typeOid } from '../postgres/values/type-oids.ts';
import { array, composite, hstore, opaque, range, vector } from './cast-container.ts';
import { float, integer, money, numeric } from './cast-number.ts';
import {
  address,
  bits,
  boolean,
  bytea,
  date,
  enumLabel,
  interval,
  json,
  jsonb,
  limitedText,
  macaddr,
  macaddr8,
  shortText,
  text,
  time,
  timestamp,
  timestamptz,
  timetz,
  uuid,
} from './cast-text.ts';
import type { Json } from './json.ts';

/**
 * A JSON value, never null, as the text that a parameter of the type takes. Throws Misfit where the type has no place for it. What our own events write of a
 * type comes back in.
 */
export type Cast = (value: Json) => string;

/** The cast of a type, built once per column. `modifier` is the column's: the length of `varchar(20)`. */
export function castTo(
  oid: number,
  { types, modifier = -1 }: { readonly types: TypeCatalog; readonly modifier?: number },
): Cast {
  const base = types.baseOf(oid);
  const type = types.get(base);
  switch (type?.kind) {
    case 'array':
      return arrayCast(type, types);
    case 'composite':
      return composite(
        (type.fields ?? []).map((field) => ({ name: field.name, cast: castTo(field.typeOid, { types }) })),
      );
    case 'enum':
      return type.labels === undefined ? opaque : enumLabel(type.labels);
    case 'range':
      return type.subtypeOid === undefined ? opaque : range(castTo(type.subtypeOid, { types }));
    case 'multirange':
      return opaque;
    default:
      if (type?.name === 'hstore' && type.jsonCast) return hstore;
      if (type?.schema === 'pg_catalog' && BY_NAME.test(type.name)) return oidCast;
      return scalarCast(base, modifier);
  }
}

function arrayCast(type: PgType, types: TypeCatalog): Cast {
  if (type.elementOid === undefined) return opaque;
  const base = types.baseOf(type.elementOid);
  const isList = types.get(base)?.kind === 'array' || LISTS.has(base);
  return array({
    cast: castTo(type.elementOid, { types }),
    delimiter: types.get(type.elementOid)?.delimiter ?? type.delimiter,
    takesLists: isList,
  });
}

const LISTS: ReadonlySet<number> = new Set([typeOid.json, typeOid.jsonb, typeOid.int2vector, typeOid.oidvector]);

const int2 = integer(-32_768n, 32_767n);
const oidCast = integer(0n, 4_294_967_295n);

const SCALARS: ReadonlyMap<number, Cast> = new Map<number, Cast>([
  [typeOid.bool, boolean],
  [typeOid.int2, int2],
  [typeOid.int4, integer(-2_147_483_648n, 2_147_483_647n)],
  [typeOid.int8, integer(-9_223_372_036_854_775_808n, 9_223_372_036_854_775_807n)],
  [typeOid.oid, oidCast],
  [typeOid.numeric, numeric],
  [typeOid.float4, float('float4')],
  [typeOid.float8, float('float8')],
  [typeOid.money, money],
  [typeOid.text, text],
  [typeOid.name, shortText(63)],
  [typeOid.char, shortText(1)],
  [typeOid.bytea, bytea],
  [typeOid.uuid, uuid],
  [typeOid.json, json],
  [typeOid.jsonb, jsonb],
  [typeOid.date, date],
  [typeOid.time, time],
  [typeOid.timetz, timetz],
  [typeOid.timestamp, timestamp],
  [typeOid.timestamptz, timestamptz],
  [typeOid.interval, interval],
  [typeOid.bit, bits],
  [typeOid.varbit, bits],
  [typeOid.inet, address],
  [typeOid.cidr, address],
  [typeOid.macaddr, macaddr],
  [typeOid.macaddr8, macaddr8],
  [typeOid.int2vector, vector(int2)],
  [typeOid.oidvector, vector(oidCast)],
]);

/** `regclass`, `regtype` and their like: by OID, since what a name means depends on the session, and a name of nothing would read as a table that is gone. */
const BY_NAME = /^reg(?:class|type|proc|procedure|oper|operator|role|namespace|config|dictionary|collation|database)$/;

/** The modifier of `varchar(n)` and `char(n)` is n + 4. */
function scalarCast(oid: number, modifier: number): Cast {
  if (oid === typeOid.varchar || oid === typeOid.bpchar) return modifier < 4 ? text : limitedText(modifier - 4);
  return SCALARS.get(oid) ?? opaque;
}
