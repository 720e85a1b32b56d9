import type pg from 'pg';
import { type QualifiedName, qualifiedName, quoteIdentifier, quoteLiteral } from './identifier.ts';
import { toDatabaseError } from './sqlstate.ts';

/** Of the messages in which the trigger says who wrote. */
export function writerPrefix(connector: string): string {
  return `banyan.${connector}.writer`;
}

/** In the state's schema, one for all connectors and tables. */
const FUNCTION = 'note_writer';

export interface WriterTriggerOptions {
  /** Name of the connector. */
  readonly connector: string;
  /** `state.schema` */
  readonly schema: string;
  readonly table: QualifiedName;
}

/**
 * For whoever owns the table. What runs in the application's own transaction must not make it fail: no handler of exceptions (a subtransaction a statement is
 * dearer than all the rest), so nothing in it that can raise one. It runs with the rights of whoever makes it, for an application needs none; names are
 * qualified and the path is pinned; the role is read from a setting, since looking it up fails for a session whose role is gone.
 */
export function installSql({ connector, schema, table }: WriterTriggerOptions): string {
  const owner = quoteIdentifier(schema);
  const trigger = quoteIdentifier(triggerName(connector));
  return `begin;
set local lock_timeout = '2s';
create schema if not exists ${owner};
create or replace function ${owner}.${FUNCTION}() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $banyan$
begin
  perform pg_catalog.pg_logical_emit_message(true, tg_argv[0], pg_catalog.json_build_object(
    't', tg_relid::pg_catalog.int8,
    'r', pg_catalog.current_setting('session_authorization', true),
    'a', pg_catalog.current_setting('application_name', true))::pg_catalog.text);
  return null;
end
$banyan$;
revoke all on function ${owner}.${FUNCTION}() from public;
drop trigger if exists ${trigger} on ${qualifiedName(table)};
create trigger ${trigger} after insert or update or delete or truncate on ${qualifiedName(table)}
  for each statement execute function ${owner}.${FUNCTION}(${quoteLiteral(writerPrefix(connector))});
commit;`;
}

/** The function goes when the last table has no trigger of it any more. */
export function dropSql({ connector, table }: Pick<WriterTriggerOptions, 'connector' | 'table'>): string {
  return `begin;
set local lock_timeout = '2s';
drop trigger if exists ${quoteIdentifier(triggerName(connector))} on ${qualifiedName(table)};
commit;`;
}

export function dropFunctionSql(schema: string): string {
  return `drop function if exists ${quoteIdentifier(schema)}.${FUNCTION}();`;
}

/** Sorts behind what applications name theirs: triggers of one moment fire in the order of their names. */
function triggerName(connector: string): string {
  return `zz_banyan_writer_${connector}`;
}

export interface WriterTrigger extends QualifiedName {
  readonly oid: number;
  /** Fires for what applications do. */
  readonly enabled: boolean;
}

/** Triggers of this connector, on whatever table. */
export async function writerTriggers(
  client: pg.ClientBase | pg.Pool,
  { connector, schema }: Pick<WriterTriggerOptions, 'connector' | 'schema'>,
): Promise<WriterTrigger[]> {
  try {
    const { rows } = await client.query<WriterTrigger>(
      `select c.oid::int8::float8 as oid, n.nspname::text as schema, c.relname::text as name, t.tgenabled in ('O', 'A') as enabled
       from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
       join pg_proc p on p.oid = t.tgfoid join pg_namespace pn on pn.oid = p.pronamespace
       where p.proname = '${FUNCTION}' and pn.nspname = $1 and t.tgargs = convert_to($2, 'UTF8') || '\\x00'::bytea
         and not t.tgisinternal
       order by 2, 3`,
      [schema, writerPrefix(connector)],
    );
    return rows;
  } catch (error) {
    throw toDatabaseError(error, 'looking for triggers that say who writes');
  }
}

/** Whether the function is there, and tables of whatever connector use it. */
export async function writerFunction(
  client: pg.ClientBase | pg.Pool,
  schema: string,
): Promise<{ readonly used: boolean } | undefined> {
  const { rows } = await client.query<{ used: boolean }>(
    `select exists (select from pg_trigger where tgfoid = p.oid) as used
     from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname = $1 and p.proname = '${FUNCTION}'`,
    [schema],
  );
  return rows[0];
}
