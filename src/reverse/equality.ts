import type { CatalogColumn } from '../postgres/table.ts';
import { typeOid } from '../postgres/values/type-oids.ts';
import type { TargetColumn } from './intent.ts';
import type { TargetFacts } from './target-facts.ts';

type TypeFacts = Pick<TargetFacts, 'types' | 'comparable' | 'looseTypes'>;

/**
 * How it is told whether a column holds what was meant. By its type; but one that calls equal what leaves as something else in an event would hide a change: a
 * month and 30 days, `abc` and `ABC` where the collation or citext says so. Such values are compared as text.
 */
export function comparisonOf(
  { typeOid: oid }: CatalogColumn,
  { facts, collation }: { readonly facts: TypeFacts; readonly collation: string | undefined },
): TargetColumn['compareAs'] {
  const base = facts.types.baseOf(oid);
  if (base === typeOid.json) return 'jsonb';
  return collation === undefined && hasEquality(base, facts) ? 'value' : 'text';
}

function hasEquality(oid: number, facts: TypeFacts): boolean {
  const base = facts.types.baseOf(oid);
  if (base === typeOid.interval || facts.looseTypes.has(base)) return false;
  const parts = partsOf(base, facts);
  return parts === undefined ? facts.comparable.has(base) : parts.every((part) => hasEquality(part, facts));
}

/**
 * Whether two texts of the type may be one key, so that a row would have two places among the versions. A number is one place, however many zeros it ends with, but
 * not within another value.
 */
export function isSpeltFreely(oid: number, facts: TypeFacts, isPart = false): boolean {
  const base = facts.types.baseOf(oid);
  if (base === typeOid.interval || base === typeOid.jsonb || facts.looseTypes.has(base)) return true;
  if (isPart && (base === typeOid.numeric || isCitext(base, facts))) return true;
  return partsOf(base, facts)?.some((part) => isSpeltFreely(part, facts, true)) === true;
}

/** Its versions are known by the lower-case text. */
export function isCitext(oid: number, { types }: TypeFacts): boolean {
  return types.get(types.baseOf(oid))?.name === 'citext';
}

/** Types that values of it are made of; undefined: it is one value. */
function partsOf(base: number, { types }: TypeFacts): readonly number[] | undefined {
  const type = types.get(base);
  switch (type?.kind) {
    case 'array':
      return type.elementOid === undefined ? undefined : [type.elementOid];
    case 'range':
    case 'multirange':
      return type.subtypeOid === undefined ? undefined : [type.subtypeOid];
    case 'composite':
      return (type.fields ?? []).map((field) => field.typeOid);
    case 'enum':
      return [];
    default:
      return undefined;
  }
}
