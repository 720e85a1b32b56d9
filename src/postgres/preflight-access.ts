import type pg from 'pg';
import type { Finding } from '../core/finding.ts';
import { leavesOf } from './backfill-facts.ts';
import type { ResolvedTables } from './catalog.ts';
import type { ConnectionSettings } from './connection.ts';
import { displayName, qualifiedName, quoteIdentifier } from './identifier.ts';
import { type ServerFacts, withReplicationClient } from './server.ts';
import { toDatabaseError } from './sqlstate.ts';

/** The stream itself needs no SELECT; reading existing rows does. */
export async function readFindings(client: pg.ClientBase, resolved: ResolvedTables, role: string): Promise<Finding[]> {
  const needed = new Set(
    resolved.entries
      .filter(({ entry }) => entry.backfill || entry.reselectUnavailable)
      .flatMap(({ tables }) => tables.map((table) => table.oid)),
  );
  const { rows } = await client.query<{ oid: number }>(
    `select oid::int8::float8 as oid from unnest($1::oid[]) as t(oid)
     where not has_table_privilege(oid, 'select')
        or not has_schema_privilege((select relnamespace from pg_class c where c.oid = t.oid), 'usage')`,
    [resolved.tables.map((table) => table.oid)],
  );
  const closed = new Set(rows.map((row) => row.oid));
  const tables = resolved.tables
    .filter((table) => closed.has(table.oid))
    .map((table): Finding => ({
      code: 'TABLE_NOT_READABLE',
      severity: needed.has(table.oid) ? 'error' : 'warning',
      subject: displayName(table),
      message: needed.has(table.oid)
        ? `role ${role} may not read ${displayName(table)}, which backfill or reselectUnavailable needs`
        : `role ${role} may not read ${displayName(table)}: \`banyan preview\` and a backfill can not`,
      remedy: `grant usage on schema ${quoteIdentifier(table.schema)} to ${quoteIdentifier(role)}; grant select on ${qualifiedName(table)} to ${quoteIdentifier(role)};`,
    }));
  return [
    ...tables,
    ...(await partitionFindings(client, resolved, role)),
    ...(await rowSecurityFindings(client, resolved, role)),
  ];
}

/** A backfill reads partitions themselves, and the privileges of their parent are not theirs. */
async function partitionFindings(client: pg.ClientBase, resolved: ResolvedTables, role: string): Promise<Finding[]> {
  const needed = new Set(
    resolved.entries.filter(({ entry }) => entry.backfill).flatMap(({ tables }) => tables.map(({ oid }) => oid)),
  );
  const findings: Finding[] = [];
  for (const table of resolved.tables.filter(({ kind }) => kind === 'partitioned')) {
    const leaves = await leavesOf(client, table.oid);
    const { rows } = await client.query<{ oid: number }>(
      `select c.oid::int8::float8 as oid from pg_class c where c.oid = any($1::oid[])
         and not (has_table_privilege(c.oid, 'select') and has_schema_privilege(c.relnamespace, 'usage'))`,
      [leaves.map(({ oid }) => oid)],
    );
    const closed = new Set(rows.map(({ oid }) => oid));
    const [first, ...more] = leaves.filter(({ oid }) => closed.has(oid));
    if (first === undefined) continue;
    const others = more.length === 0 ? '' : ` and ${more.length} more`;
    const schemas = [...new Set([first, ...more].map(({ schema }) => quoteIdentifier(schema)))].join(', ');
    const names = [first, ...more].map(qualifiedName).join(', ');
    findings.push({
      code: 'TABLE_NOT_READABLE',
      severity: needed.has(table.oid) ? 'error' : 'warning',
      subject: displayName(table),
      message: `role ${role} may not read partition ${displayName(first)} of ${displayName(table)}${others}: a backfill can not`,
      remedy: `grant usage on schema ${schemas} to ${quoteIdentifier(role)}; grant select on ${names} to ${quoteIdentifier(role)};`,
    });
  }
  return findings;
}

/** Policies hide rows from a backfill and not from the stream: its chunks refuse to be read under one. */
async function rowSecurityFindings(client: pg.ClientBase, resolved: ResolvedTables, role: string): Promise<Finding[]> {
  const read = resolved.entries.filter(({ entry }) => entry.backfill).flatMap(({ tables }) => tables);
  const findings: Finding[] = [];
  for (const table of new Map(read.map((each) => [each.oid, each])).values()) {
    const leaves = await leavesOf(client, table.oid);
    const { rows } = await client.query<{ name: string; forced: boolean }>(
      `select c.oid::regclass::text as name, c.relforcerowsecurity and pg_has_role(c.relowner, 'usage') as forced
       from pg_class c where c.oid = any($1::oid[]) and row_security_active(c.oid) order by 1`,
      [[table.oid, ...leaves.map(({ oid }) => oid)]],
    );
    const [first, ...more] = rows;
    if (first === undefined) continue;
    const others = more.length === 0 ? '' : ` and ${more.length} more`;
    const forced = rows.filter(({ forced: isForced }) => isForced);
    const unforce = forced.map(({ name }) => `alter table ${name} no force row level security;`).join(' ');
    findings.push({
      code: 'ROW_SECURITY_ACTIVE',
      severity: 'error',
      subject: displayName(table),
      message: `row level security hides rows of ${first.name}${others} from role ${role}: a backfill of ${displayName(table)} can not read them all`,
      remedy: forced.length === rows.length ? unforce : `alter role ${quoteIdentifier(role)} bypassrls;`,
    });
  }
  return findings;
}

export async function replicationFindings(connection: ConnectionSettings, facts: ServerFacts): Promise<Finding[]> {
  try {
    await withReplicationClient(connection, (client) => client.query('IDENTIFY_SYSTEM'));
    return [];
  } catch (error) {
    const failure = toDatabaseError(error, 'opening a replication connection');
    // The role's own findings say it better.
    if (failure.code === '42501') return [];
    return [
      {
        code: 'REPLICATION_REFUSED',
        severity: 'error',
        subject: 'server',
        message: failure.message,
        remedy: `allow ${facts.role} to connect to ${facts.database} in pg_hba.conf, and connect to PostgreSQL itself, not to a pooler`,
      },
    ];
  }
}
