import type pg from 'pg';
import type { Finding } from '../core/finding.ts';
import { displayName, qualifiedName, quoteIdentifier } from '../postgres/identifier.ts';
import type { Target } from './intent.ts';
import { grantStatements, missingRights, neededRights, privilegesOf, type Writes } from './privileges.ts';

type Written = Pick<Target, 'entry'> & Writes;

/** What of the database stands around the writes: rights, triggers, constraints that wait, policies. Reads only. */
export async function surroundingFindings(
  client: pg.ClientBase,
  targets: readonly Written[],
  role: string,
): Promise<Finding[]> {
  return [
    ...(await rightFindings(client, targets, role)),
    ...(await sessionFindings(client, role)),
    ...(await securityFindings(client, targets, role)),
    ...(await triggerFindings(client, targets, role)),
    ...(await deferredFindings(client, targets)),
  ];
}

async function rightFindings(client: pg.ClientBase, targets: readonly Written[], role: string): Promise<Finding[]> {
  const missing = await missingRights(client, await neededRights(client, targets));
  const none = { schemas: [], tables: [], sequences: [] };
  return [
    ...missing.tables.map((table) =>
      notPrivileged(
        displayName(table),
        `role ${role} may not write events into ${displayName(table)}: it lacks ${privilegesOf(table).join(', ')}`,
        grantStatements({ ...none, tables: [table] }, role),
      ),
    ),
    ...missing.schemas.map((schema) =>
      notPrivileged(
        `schema ${schema}`,
        `role ${role} may not use schema ${schema}, which tables or types of reverse.apply are in`,
        grantStatements({ ...none, schemas: [schema] }, role),
      ),
    ),
    ...missing.sequences.map((sequence) =>
      notPrivileged(
        displayName(sequence),
        `role ${role} may not use sequence ${displayName(sequence)}, the default of a column that inserts leave out`,
        grantStatements({ ...none, sequences: [sequence] }, role),
      ),
    ),
  ];
}

function notPrivileged(subject: string, message: string, remedies: readonly string[]): Finding {
  return { code: 'REVERSE_NOT_PRIVILEGED', severity: 'error', subject, message, remedy: remedies.join('\n') };
}

async function sessionFindings(client: pg.ClientBase, role: string): Promise<Finding[]> {
  const { rows } = await client.query<{ replicates: string; emits: string; mayEmit: boolean }>(
    `select current_setting('session_replication_role') as replicates, oid::regprocedure::text as emits,
            has_function_privilege(oid, 'execute') as "mayEmit"
     from pg_proc where pronamespace = 'pg_catalog'::regnamespace and proname = 'pg_logical_emit_message'
       and proargtypes[2] = 'text'::regtype`,
  );
  const [facts] = rows;
  if (facts === undefined) return [];
  const findings: Finding[] = [];
  if (!facts.mayEmit) {
    findings.push({
      code: 'REVERSE_CAN_NOT_TAG',
      severity: 'error',
      subject: `role ${role}`,
      message: `role ${role} may not call ${facts.emits}, which tags its own writes in the WAL: without tags they would come back as legacy changes`,
      remedy: `grant execute on function pg_catalog.${facts.emits} to ${quoteIdentifier(role)};`,
    });
  }
  if (facts.replicates !== 'origin') {
    findings.push({
      code: 'REVERSE_TRIGGERS_OFF',
      severity: facts.replicates === 'replica' ? 'error' : 'info',
      subject: `role ${role}`,
      message: `session_replication_role is ${facts.replicates} for role ${role}: ${
        facts.replicates === 'replica'
          ? 'triggers and foreign keys do not see its writes'
          : 'triggers for replicas only do not see its writes'
      }`,
      remedy: `alter role ${quoteIdentifier(role)} set session_replication_role = origin;`,
    });
  }
  return findings;
}

/** Of tables, with how a person names them. */
function tablesOf(targets: readonly Written[]): Map<number, Written['table']> {
  return new Map(targets.map(({ table }) => [table.oid, table]));
}

async function securityFindings(client: pg.ClientBase, targets: readonly Written[], role: string): Promise<Finding[]> {
  const tables = tablesOf(targets);
  const { rows } = await client.query<{ oid: number }>(
    `select oid::int8::float8 as oid from unnest($1::oid[]) as t(oid) where row_security_active(oid)`,
    [[...tables.keys()]],
  );
  return rows.flatMap(({ oid }): Finding[] => {
    const table = tables.get(oid);
    if (table === undefined) return [];
    return [
      {
        code: 'REVERSE_ROW_SECURITY',
        severity: 'warning',
        subject: displayName(table),
        message: `row level security of ${displayName(table)} holds for role ${role}: a row that its policies hide is taken for missing`,
        remedy: [
          `create policy banyan on ${qualifiedName(table)} to ${quoteIdentifier(role)} using (true) with check (true);`,
          `-- or: alter role ${quoteIdentifier(role)} bypassrls;`,
        ].join('\n'),
      },
    ];
  });
}

interface TriggerRow {
  readonly root: number;
  readonly name: string;
  readonly place: { readonly schema: string; readonly name: string };
  readonly isRow: boolean;
  readonly isBefore: boolean;
  readonly onInsert: boolean;
  readonly onUpdate: boolean;
  readonly onDelete: boolean;
  /** Of UPDATE OF; empty: any. */
  readonly columns: readonly string[];
  readonly isDeferred: boolean;
  readonly function: string;
  readonly asOwner: boolean;
}

/** They are meant to fire: what was in the application's data before must be in it now. What comes of it is worth knowing. */
async function triggerFindings(client: pg.ClientBase, targets: readonly Written[], role: string): Promise<Finding[]> {
  const tables = tablesOf(targets);
  const { rows } = await client.query<TriggerRow>(
    `select root.oid::int8::float8 as root, t.tgname::text as name,
            json_build_object('schema', n.nspname, 'name', c.relname) as place,
            t.tgtype & 1 <> 0 as "isRow", t.tgtype & 2 <> 0 as "isBefore",
            t.tgtype & 4 <> 0 as "onInsert", t.tgtype & 16 <> 0 as "onUpdate", t.tgtype & 8 <> 0 as "onDelete",
            array(select a.attname::text from pg_attribute a where a.attrelid = c.oid and a.attnum = any(t.tgattr::int2[])) as columns,
            t.tginitdeferred as "isDeferred", p.oid::regprocedure::text as function, p.prosecdef as "asOwner"
     from unnest($1::oid[]) as root(oid)
     cross join lateral (
       select root.oid as relid union select relid from pg_partition_tree(root.oid)
     ) as part
     join pg_class c on c.oid = part.relid join pg_namespace n on n.oid = c.relnamespace
     join pg_trigger t on t.tgrelid = c.oid join pg_proc p on p.oid = t.tgfoid
     where not t.tgisinternal and t.tgparentid = 0
       and t.tgenabled in ('A', case current_setting('session_replication_role') when 'replica' then 'R' else 'O' end)
     order by n.nspname, c.relname, t.tgname`,
    [[...tables.keys()]],
  );
  return rows.flatMap((trigger): Finding[] => {
    const table = tables.get(trigger.root);
    if (table === undefined || !targets.some((target) => target.table.oid === trigger.root && fires(trigger, target)))
      return [];
    return [
      {
        code: 'REVERSE_TRIGGER',
        severity: 'info',
        subject: displayName(table),
        message: `trigger ${trigger.name} of ${displayName(trigger.place)} fires for events: ${effectOf(trigger)}${
          trigger.asOwner
            ? ''
            : `; ${trigger.function} runs with the rights of role ${role}, which must reach what it touches`
        }`,
      },
    ];
  });
}

function fires(trigger: TriggerRow, { operation, set }: Written): boolean {
  const updates =
    trigger.onUpdate && (trigger.columns.length === 0 || set.some(({ name }) => trigger.columns.includes(name)));
  switch (operation) {
    // An insert whose row is there already updates it, where the new system wins.
    case 'insert':
    case 'upsert':
      return trigger.onInsert || updates;
    case 'update':
      return updates;
    case 'delete':
      return trigger.onDelete;
    default:
      return operation satisfies never;
  }
}

function effectOf({ isRow, isBefore, isDeferred }: TriggerRow): string {
  const others = 'rows of captured tables that it writes are published with origin `trigger`';
  if (isBefore && isRow) return `where it changes the row, a \`correction\` tells the producer; ${others}`;
  if (isDeferred) return `at the commit, so that ${others}, as caused by the last event of the transaction`;
  return others;
}

/** What they refuse comes to light at the commit, when it is no longer known which event it was. */
async function deferredFindings(client: pg.ClientBase, targets: readonly Written[]): Promise<Finding[]> {
  const tables = tablesOf(targets);
  const { rows } = await client.query<{ oid: number; name: string; type: string }>(
    `select conrelid::int8::float8 as oid, conname::text as name, contype::text as type from pg_constraint
     where conrelid = any($1::oid[]) and condeferred and contype in ('f', 'u', 'p', 'x') order by conname`,
    [[...tables.keys()]],
  );
  return rows.flatMap(({ oid, name, type }): Finding[] => {
    const table = tables.get(oid);
    if (table === undefined) return [];
    return [
      {
        code: 'REVERSE_CONSTRAINT_DEFERRED',
        severity: 'info',
        subject: displayName(table),
        message: `constraint ${name} is checked at the commit: where it refuses an event, all events of that transaction are applied again, one by one`,
        // Only a foreign key can be altered so.
        ...(type === 'f'
          ? {
              remedy: `alter table ${qualifiedName(table)} alter constraint ${quoteIdentifier(name)} not deferrable;  -- where the application does not need it`,
            }
          : {}),
      },
    ];
  });
}
