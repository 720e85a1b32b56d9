/** What a type is made of, which decides how its text form is read. */
export type PgTypeKind = 'base' | 'array' | 'composite' | 'domain' | 'enum' | 'range' | 'multirange' | 'pseudo';

export interface PgTypeField {
  readonly name: string;
  readonly typeOid: number;
}

/** One row of `pg_type`, with what belongs to it elsewhere in the catalog. */
export interface PgType {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly kind: PgTypeKind;
  /** Stands between two values of this type in an array's text: `,`, or `;` for box. */
  readonly delimiter: string;
  /** `typcategory`: `N` numeric, `S` string, `D` date and time, … */
  readonly category: string;
  /** Of an array only: PostgreSQL also notes an element for point, name and other types that can be subscripted. */
  readonly elementOid?: number;
  /** Of a domain: the type right below it, which may be a domain again. */
  readonly baseOid?: number;
  /** Of a composite, in the order of its text form; dropped attributes are not in it. */
  readonly fields?: readonly PgTypeField[];
  /** Of an enum, in its order. */
  readonly labels?: readonly string[];
  /** Of a range the type of its bounds, of a multirange its range. */
  readonly subtypeOid?: number;
  /**
   * Whether somebody defined a cast from this type to json by a function. `to_jsonb` calls it; we can not, and have the
   * same result for hstore only.
   */
  readonly jsonCast: boolean;
}

/** What `TypeCatalog.load` asks of a client or pool; whatever parsers it has set make no difference. */
export interface TypeCatalogClient {
  query(text: string, values: unknown[]): Promise<{ rows: unknown[] }>;
}

/**
 * The types of one database at one moment. An OID that is not in it was made later (load again), or is the row type of a
 * table that no column uses.
 */
export class TypeCatalog {
  readonly #types: ReadonlyMap<number, PgType>;

  private constructor(types: Iterable<PgType>) {
    this.#types = new Map(Array.from(types, (type) => [type.oid, type]));
  }

  /** A catalog of exactly these types. The scalars that PostgreSQL brings are written by OID and need not be among them. */
  static of(types: Iterable<PgType>): TypeCatalog {
    return new TypeCatalog(types);
  }

  /** Reads every type that a column can have, in two queries; needs no privilege. */
  static async load(client: TypeCatalogClient): Promise<TypeCatalog> {
    const types = (await client.query(typesQuery, [])).rows as TypeRow[];
    const composites = types.filter((type) => type.kind === 'c').map((type) => type.oid);
    const fields = (await client.query(fieldsQuery, [`{${composites.join(',')}}`])).rows as FieldRow[];
    const fieldsOf = Map.groupBy(fields, (field) => field.oid);
    return new TypeCatalog(types.map((row) => typeOfRow(row, fieldsOf.get(row.oid) ?? [])));
  }

  get(oid: number): PgType | undefined {
    return this.#types.get(oid);
  }

  has(oid: number): boolean {
    return this.#types.has(oid);
  }

  get size(): number {
    return this.#types.size;
  }

  /** The type below all domains: itself where it is none. An unknown type comes back as the OID that could not be found. */
  baseOf(oid: number): number {
    let current = oid;
    for (;;) {
      const next = this.#types.get(current)?.baseOid;
      if (next === undefined) return current;
      current = next;
    }
  }
}

/** All columns as text, so that it does not matter which parsers the client has. */
interface TypeRow {
  readonly oid: string;
  readonly schema: string;
  readonly name: string;
  readonly kind: string;
  readonly delimiter: string;
  readonly category: string;
  readonly element: string;
  readonly base: string;
  readonly subtype: string;
  readonly labels: string | null;
  readonly is_array: string;
  readonly json_cast: string;
}

interface FieldRow {
  readonly oid: string;
  readonly name: string;
  readonly type: string;
}

// Every table has a row type and an array of it, which hardly anyone uses as a column's type: those that nothing refers to
// are left out, or a database of 10,000 tables would cost 20,000 types with all their fields.
const typesQuery = `
with row_types as materialized (
  select t.oid, t.typarray
  from pg_catalog.pg_type t join pg_catalog.pg_class c on c.oid = t.typrelid
  where c.relkind <> 'c'
), used as materialized (
  select atttypid as oid from pg_catalog.pg_attribute where attnum > 0 and not attisdropped
  union select typbasetype from pg_catalog.pg_type where typtype = 'd'
  union select rngsubtype from pg_catalog.pg_range
), unused as (
  select r.oid, r.typarray
  from row_types r
  where r.oid not in (select oid from used) and r.typarray not in (select oid from used)
)
select t.oid::text, n.nspname::text as schema, t.typname::text as name, t.typtype::text as kind,
  t.typdelim::text as delimiter, t.typcategory::text as category, t.typelem::text as element,
  t.typbasetype::text as base, coalesce(r.rngsubtype, m.rngtypid, 0)::text as subtype,
  (select json_agg(e.enumlabel order by e.enumsortorder) from pg_catalog.pg_enum e where e.enumtypid = t.oid)::text as labels,
  (t.typelem <> 0 and t.typcategory = 'A' and t.typlen = -1 and t.typinput = 'pg_catalog.array_in'::regproc)::text as is_array,
  exists (
    select from pg_catalog.pg_cast c
    where c.castsource = t.oid and c.casttarget = 'pg_catalog.json'::regtype and c.castfunc <> 0
  )::text as json_cast
from pg_catalog.pg_type t
  join pg_catalog.pg_namespace n on n.oid = t.typnamespace
  left join pg_catalog.pg_range r on r.rngtypid = t.oid
  left join pg_catalog.pg_range m on m.rngmultitypid = t.oid
where t.oid not in (select oid from unused) and t.oid not in (select typarray from unused where typarray <> 0)`;

const fieldsQuery = `
select t.oid::text, a.attname::text as name, a.atttypid::text as type
from pg_catalog.pg_type t join pg_catalog.pg_attribute a on a.attrelid = t.typrelid
where t.oid = any ($1::oid[]) and a.attnum > 0 and not a.attisdropped
order by t.oid, a.attnum`;

function typeOfRow(row: TypeRow, fields: readonly FieldRow[]): PgType {
  const kind = kindOf(row);
  return {
    oid: Number(row.oid),
    schema: row.schema,
    name: row.name,
    kind,
    delimiter: row.delimiter,
    category: row.category,
    jsonCast: row.json_cast === 'true',
    ...(kind === 'array' ? { elementOid: Number(row.element) } : {}),
    ...(kind === 'domain' ? { baseOid: Number(row.base) } : {}),
    ...(kind === 'composite' ? { fields: fields.map(({ name, type }) => ({ name, typeOid: Number(type) })) } : {}),
    ...(kind === 'enum' ? { labels: JSON.parse(row.labels ?? '[]') as string[] } : {}),
    ...(kind === 'range' || kind === 'multirange' ? { subtypeOid: Number(row.subtype) } : {}),
  };
}

function kindOf(row: TypeRow): PgTypeKind {
  if (row.is_array === 'true') return 'array';
  switch (row.kind) {
    case 'c':
      return 'composite';
    case 'd':
      return 'domain';
    case 'e':
      return 'enum';
    case 'r':
      return 'range';
    case 'm':
      return 'multirange';
    case 'p':
      return 'pseudo';
    default:
      return 'base';
  }
}
