import type pg from 'pg';

/** Why not every read is counted; undefined: every one is, as far as can be seen. */
export interface Tracking {
  readonly scans: string | undefined;
  readonly statements: string | undefined;
  /** Whether statements inside of functions are counted too, for everybody. */
  readonly nested: boolean;
}

interface Setting {
  readonly name: string;
  readonly value: string;
  /** Whom it is set for; empty: for us, and for everybody who has no value of his own. */
  readonly whose: string;
  readonly isOurs: boolean;
}

const SCANS: ReadonlyMap<string, string> = new Map([['track_counts', 'so that the server counts no reads']]);
const STATEMENTS: ReadonlyMap<string, string> = new Map([
  ['pg_stat_statements.track', 'so that statements are not counted'],
  ['pg_stat_statements.track_utility', 'which hides COPY'],
  ['compute_query_id', 'so that statements are not counted'],
]);
/** As a boolean may be written, and of `pg_stat_statements.track`. */
const OFF = /^(of|off|f|fa|fal|fals|false|n|no|0|none)$/i;

/**
 * What the server counts by its settings of now. They can be set for a role or a database as well, which the catalog says, and by a superuser for a session, which
 * nothing says.
 */
export async function trackingOf(pool: pg.Pool): Promise<Tracking> {
  const { rows } = await pool.query<Setting>(
    `select name, setting as value, '' as whose, source in ('user', 'database user') as "isOurs" from pg_settings where name = any($1)
     union all
     select name, value, concat_ws(' in ', 'role ' || quote_ident(r.rolname), 'database ' || quote_ident(d.datname)), false
     from pg_db_role_setting s left join pg_roles r on r.oid = s.setrole left join pg_database d on d.oid = s.setdatabase
     cross join lateral unnest(s.setconfig) as entry
     cross join lateral (select split_part(entry, '=', 1), substr(entry, strpos(entry, '=') + 1)) as one(name, value)
     where name = any($1) and (s.setdatabase = 0 or d.datname = current_database()) and (s.setrole = 0 or r.rolcanlogin)
     order by name, whose`,
    [[...SCANS.keys(), ...STATEMENTS.keys()]],
  );
  return {
    scans: whyNot(rows, SCANS),
    statements: whyNot(rows, STATEMENTS),
    nested: rows.every(({ name, value }) => name !== 'pg_stat_statements.track' || value.toLowerCase() === 'all'),
  };
}

function whyNot(rows: readonly Setting[], wanted: ReadonlyMap<string, string>): string | undefined {
  const settings = rows.filter(({ name }) => wanted.has(name));
  const off = settings.find(({ value }) => OFF.test(value));
  if (off !== undefined) {
    const { name, value, whose } = off;
    const remedy =
      whose === '' ? `set it to ${name === 'pg_stat_statements.track' ? 'top or all' : 'on'}` : 'reset it there';
    return `${name} is ${value}${whose === '' ? '' : ` for ${whose}`}, ${wanted.get(name)}: ${remedy}`;
  }
  const ours = settings.find(({ isOurs }) => isOurs);
  return ours && `${ours.name} is set for our role, so that nothing says what it is for others: reset it there`;
}
