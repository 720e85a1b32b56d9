import { setImmediate as turn } from 'node:timers/promises';
import type pg from 'pg';
import { wordsOf } from './sql-words.ts';

/** Of a relation that leads to the rows of a table. */
export interface Name {
  /** OID of the table. */
  readonly root: number;
  readonly name: string;
}

/** A function whose body has a name in it. */
export interface Spoken {
  readonly root: number;
  /** Of the function. */
  readonly oid: number;
}

/** Bodies that are in memory at once; together they hold the worker's thread for some milliseconds. */
const PAGE = 100;

/**
 * The functions whose body, which for most languages is only text, has one of the names in it. The bodies are looked through here: in SQL it takes the server thirty times as long
 * as to send them.
 */
export async function functionsThatName(
  pool: pg.Pool,
  { names, stateSchema }: { readonly names: readonly Name[]; readonly stateSchema: string },
): Promise<readonly Spoken[]> {
  const find = finderOf(names);
  const spoken: Spoken[] = [];
  for (let after = 0; ; await turn()) {
    const { rows } = await pool.query<{ oid: number; body: string }>(BODIES, [after, stateSchema, PAGE]);
    for (const { oid, body } of rows) for (const root of find(body)) spoken.push({ root, oid });
    const last = rows.at(-1);
    if (last === undefined || rows.length < PAGE) return spoken;
    after = last.oid;
  }
}

/** Whose names a text has in it. */
function finderOf(names: readonly Name[]): (text: string) => ReadonlySet<number> {
  const single = new Map<string, number[]>();
  const inARow: { readonly words: string; readonly root: number }[] = [];
  for (const { root, name } of names) {
    const [first, ...more] = wordsOf(name);
    if (first === undefined) continue;
    if (more.length > 0) inARow.push({ words: ` ${[first, ...more].join(' ')} `, root });
    else single.set(first, [...(single.get(first) ?? []), root]);
  }
  return (text) => {
    const words = wordsOf(text);
    const found = new Set<number>();
    for (const word of words) for (const root of single.get(word) ?? []) found.add(root);
    const row = inARow.length === 0 ? '' : ` ${words.join(' ')} `;
    for (const each of inARow) if (row.includes(each.words)) found.add(each.root);
    return found;
  };
}

const BODIES = `
  select p.oid::int8::float8 as oid, p.prosrc as body
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace join pg_language l on l.oid = p.prolang
  where p.oid > $1 and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', $2) and p.prokind in ('f', 'p', 'w')
    and l.lanname not in ('internal', 'c')
    and not exists (select from pg_depend e where e.classid = 'pg_proc'::regclass and e.objid = p.oid and e.deptype = 'e')
  order by p.oid limit $3`;
