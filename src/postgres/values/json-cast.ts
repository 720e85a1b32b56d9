import type { PgType, TypeCatalog } from '../type-catalog.ts';

/** Below are the types that PostgreSQL brings: `to_jsonb` looks for no cast of theirs. */
const FIRST_OWN_OID = 16_384;

/**
 * The type, of those that a value of `typeOid` is made of, that `to_jsonb` would write by calling its cast to json, where `jsonWriter`
 * writes its text. As the server does it: a domain counts as what is below it, arrays and rows as their parts, whatever casts they have.
 */
export function ignoredJsonCast(typeOid: number, types: TypeCatalog): PgType | undefined {
  const type = types.get(types.baseOf(typeOid));
  if (type === undefined) return undefined;
  switch (type.kind) {
    case 'array':
      return type.elementOid === undefined ? undefined : ignoredJsonCast(type.elementOid, types);
    case 'composite':
      for (const field of type.fields ?? []) {
        const found = ignoredJsonCast(field.typeOid, types);
        if (found !== undefined) return found;
      }
      return undefined;
    default:
      // The cast of hstore is the one that we write as the server does.
      if (type.kind === 'base' && type.name === 'hstore') return undefined;
      return type.jsonCast && type.oid >= FIRST_OWN_OID ? type : undefined;
  }
}
