import type pg from 'pg';
import { toDatabaseError } from '../postgres/sqlstate.ts';
import { functionsThatName, type Name } from './spoken-names.ts';

/** What in the database needs a table. */
export interface Dependant {
  readonly kind:
    | 'foreign key'
    | 'view'
    | 'materialized view'
    | 'rule'
    | 'function'
    | 'trigger'
    | 'policy'
    | 'child table'
    | 'parent table'
    | 'privilege'
    | 'publication';
  /** As SQL names it; of a privilege, the role. */
  readonly name: string;
  /** Its plain name, which a statement that uses it may hold. */
  readonly plain: string;
  /** Of a constraint, trigger, rule or policy the table that it stands on; of a privilege what may be done. */
  readonly detail: string | undefined;
  /** OID of the table whose foreign key it is. */
  readonly from: number | undefined;
  /** text: its body has the name in it, which need not mean that it uses the table. */
  readonly foundBy: 'catalog' | 'text';
}

/** What no look at the catalog finds: to be said wherever dependants are listed. */
export const INVISIBLE =
  'what puts its SQL together when it runs, in the database or in an application, is not seen here: see who reads';

interface DependantRow extends Omit<Dependant, 'detail' | 'from'> {
  readonly oid: number;
  readonly detail: string | null;
  readonly from: number | null;
}

/** Of all tables together, by OID. Partitions count as their table. */
export async function readDependants(
  pool: pg.Pool,
  options: { readonly oids: readonly number[]; readonly publication: string; readonly stateSchema: string },
): Promise<ReadonlyMap<number, readonly Dependant[]>> {
  const { oids, publication, stateSchema } = options;
  if (oids.length === 0) return new Map();
  try {
    const { rows: names } = await pool.query<Name>(NAMES, [oids]);
    const spoken = await functionsThatName(pool, { names, stateSchema });
    const { rows } = await pool.query<DependantRow>(QUERY, [
      oids,
      publication,
      stateSchema,
      spoken.map(({ root }) => root),
      spoken.map(({ oid }) => oid),
    ]);
    const byTable = Map.groupBy(rows, ({ oid }) => oid);
    return new Map(
      Array.from(byTable, ([oid, found]) => [
        oid,
        found.map(({ oid: _oid, detail, from, ...row }) => ({
          ...row,
          detail: detail ?? undefined,
          from: from ?? undefined,
        })),
      ]),
    );
  } catch (error) {
    throw toDatabaseError(error, 'looking for what depends on tables');
  }
}

/** What to do about it before the table retires. */
export function remedyOf({ kind, name, detail }: Dependant, table: string): string {
  switch (kind) {
    case 'foreign key':
      return `alter table ${detail ?? '?'} drop constraint ${name};`;
    case 'view':
    case 'materialized view':
      return `drop ${kind} ${name};  -- or take its rows from elsewhere`;
    case 'rule':
      return `drop rule ${name} on ${detail ?? '?'};`;
    case 'function':
      return `drop function ${name};  -- or change its body`;
    case 'trigger':
      return `drop trigger ${name} on ${detail ?? '?'};`;
    case 'policy':
      return `drop policy ${name} on ${detail ?? '?'};  -- or change its condition`;
    case 'child table':
      return `alter table ${name} no inherit ${table};`;
    case 'parent table':
      return `alter table ${table} no inherit ${name};  -- of a partition: detach it`;
    case 'privilege':
      return `revoke all on ${table} from ${name};`;
    case 'publication':
      return detail === undefined
        ? `alter publication ${name} drop table ${table};`
        : `publication ${name} takes ${detail}: its owner makes it one of single tables`;
    default:
      return kind satisfies never;
  }
}

const ON = (relation: string): string =>
  `(select format('%I.%I', its.nspname, rel.relname) from pg_class rel join pg_namespace its on its.oid = rel.relnamespace where rel.oid = ${relation})`;

/** SQL of `used`: the tables ($1), and what shows their rows, whatever number of views stands between. */
const USED = `
  with recursive target as materialized (
    select t.oid as root, r.oid from unnest($1::oid[]) as t(oid)
    cross join lateral (select t.oid union select relid::oid from pg_partition_tree(t.oid::regclass)) as r(oid)
  ),
  -- What is asked for the rows of a parent reads those of its children.
  above as (
    select root, oid from target
    union
    select above.root, i.inhparent from above join pg_inherits i on i.inhrelid = above.oid
  ),
  used as (
    select root, oid from above
    union
    select used.root, w.ev_class
    from used join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = used.oid and d.classid = 'pg_rewrite'::regclass
    join pg_rewrite w on w.oid = d.objid join pg_class c on c.oid = w.ev_class and c.relkind in ('v', 'm')
  )`;

const NAMES = `${USED}
  select distinct used.root::int8::float8 as root, c.relname::text as name from used join pg_class c on c.oid = used.oid`;

/** Everything that refers to a relation stands in pg_depend, except for what is only text ($4 and $5: of which table, which function). */
const QUERY = `${USED},
  reference as materialized (
    select distinct used.root, d.classid, d.objid
    from used join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = used.oid
    where d.classid in ('pg_rewrite'::regclass, 'pg_proc'::regclass, 'pg_policy'::regclass)
  ),
  spoken as (select root, oid from unnest($4::oid[], $5::oid[]) as s(root, oid)),
  dependant as (
    select t.root, 'foreign key' as kind, quote_ident(k.conname) as name, k.conname::text as plain, ${ON('k.conrelid')} as detail,
      coalesce((select max(s.root::int8) from target s where s.oid = k.conrelid), k.conrelid::int8)::float8 as "from", 'catalog' as found
    from target t join pg_constraint k on k.contype = 'f' and k.confrelid = t.oid and k.conparentid = 0
    where not exists (select from target own where own.root = t.root and own.oid = k.conrelid)
    union all
    select u.root, case c.relkind when 'v' then 'view' else 'materialized view' end, ${ON('c.oid')}, c.relname::text, null, null, 'catalog'
    from used u join pg_class c on c.oid = u.oid and c.relkind in ('v', 'm')
    union all
    select r.root, 'rule', quote_ident(w.rulename), w.rulename::text, ${ON('w.ev_class')}, null, 'catalog'
    from reference r join pg_rewrite w on r.classid = 'pg_rewrite'::regclass and w.oid = r.objid
    join pg_class c on c.oid = w.ev_class and c.relkind not in ('v', 'm')
    union all
    select f.root, 'function', p.oid::regprocedure::text, p.proname::text, null, null, case when bool_or(f.sure) then 'catalog' else 'text' end
    from (select root, objid as oid, true as sure from reference where classid = 'pg_proc'::regclass
          union all select root, oid, false from spoken) as f join pg_proc p on p.oid = f.oid
    group by f.root, p.oid, p.proname
    union all
    select r.root, 'policy', quote_ident(o.polname), o.polname::text, ${ON('o.polrelid')}, null, 'catalog'
    from reference r join pg_policy o on r.classid = 'pg_policy'::regclass and o.oid = r.objid
    where not exists (select from target own where own.root = r.root and own.oid = o.polrelid)
    union all
    select t.root, 'trigger', quote_ident(g.tgname), g.tgname::text, ${ON('g.tgrelid')}, null, 'catalog'
    from target t join pg_trigger g on g.tgrelid = t.oid and not g.tgisinternal and g.tgparentid = 0
    join pg_proc p on p.oid = g.tgfoid join pg_namespace n on n.oid = p.pronamespace where n.nspname <> $3
    union all
    select t.root, 'child table', ${ON('c.oid')}, c.relname::text, null, null, 'catalog'
    from target t join pg_inherits i on i.inhparent = t.oid join pg_class c on c.oid = i.inhrelid and not c.relispartition
    union all
    select a.root, 'parent table', ${ON('c.oid')}, c.relname::text, null, null, 'catalog'
    from above a join pg_class c on c.oid = a.oid
    where not exists (select from target own where own.root = a.root and own.oid = a.oid)
    union all
    select a.root, 'privilege', coalesce(quote_ident(pg_get_userbyid(nullif(a.grantee, 0))), 'public'), '',
      string_agg(distinct lower(a.privilege), ', ' order by lower(a.privilege)), null, 'catalog'
    from (
      select t.root, x.grantee, x.privilege_type as privilege, c.relowner
      from target t join pg_class c on c.oid = t.oid cross join lateral aclexplode(c.relacl) as x
      union all
      select t.root, x.grantee, x.privilege_type || ' of columns', c.relowner
      from target t join pg_class c on c.oid = t.oid join pg_attribute b on b.attrelid = t.oid and not b.attisdropped
      cross join lateral aclexplode(b.attacl) as x
    ) as a
    where a.grantee <> a.relowner and a.grantee <> (select oid from pg_roles where rolname = current_user)
    group by a.root, a.grantee
    union all
    select distinct t.root, 'publication', quote_ident(p.pubname), p.pubname::text,
      case when p.puballtables then 'all tables'
           when not exists (select from pg_publication_rel r where r.prpubid = p.oid and r.prrelid = t.oid) then 'all tables of a schema' end,
      null::float8, 'catalog'
    from pg_publication p cross join lateral pg_get_publication_tables(p.pubname) as m join target t on t.oid = m.relid
    where p.pubname <> $2
  )
  select root::int8::float8 as oid, kind, name, plain, detail, "from", found as "foundBy" from dependant
  order by root, kind, name`;
