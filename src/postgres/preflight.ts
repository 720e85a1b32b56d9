import type pg from 'pg';
import { type Config, publicationName, slotName } from '../config/schema.ts';
import type { Finding } from '../core/finding.ts';
import { type ResolvedTables, resolveTables } from './catalog.ts';
import type { ConnectionSettings } from './connection.ts';
import { displayName, quoteIdentifier, quoteLiteral } from './identifier.ts';
import { readFindings, replicationFindings } from './preflight-access.ts';
import { readPublication } from './publication-catalog.ts';
import { planPublication, publicationTargets } from './publication.ts';
import { readServerFacts, serverFindings, type ServerFacts } from './server.ts';
import { observeSlot } from './slot.ts';
import { toDatabaseError } from './sqlstate.ts';

export interface PreflightOptions {
  /** Also opens a replication connection, which `pg_hba.conf` and poolers may refuse. */
  readonly connection?: ConnectionSettings;
}

/**
 * Everything in the legacy database that would keep the worker from running, or make it hurt the database; each finding with the SQL
 * that mends it. Reads only.
 */
export async function preflight(
  client: pg.ClientBase,
  config: Config,
  options: PreflightOptions = {},
): Promise<Finding[]> {
  try {
    const facts = await readServerFacts(client);
    const findings = serverFindings(facts);
    // Older catalogs lack columns that the rest asks for.
    if (findings.some((finding) => finding.code === 'SERVER_TOO_OLD')) return findings;
    const resolved = await resolveTables(client, config.capture, { stateSchema: config.state.schema });
    const limits = await readLimits(client, config);
    return [
      ...findings,
      ...(options.connection === undefined ? [] : await replicationFindings(options.connection, facts)),
      ...limitFindings(limits, config),
      ...roleFindings(limits, facts, config),
      ...(await slotFindings(client, limits, { config, database: facts.database })),
      ...resolved.findings,
      ...(await publicationFindings(client, resolved, { config, versionNumber: facts.versionNumber })),
      ...(await readFindings(client, resolved, facts.role)),
    ];
  } catch (error) {
    throw toDatabaseError(error, 'checking the legacy database');
  }
}

interface Limits {
  readonly maxSlots: number;
  readonly slots: number;
  readonly maxSenders: number;
  readonly senders: number;
  /** MB; -1: no limit. */
  readonly keepSizeMb: number;
  readonly walSenderTimeoutMs: number;
  readonly mayReplicate: boolean;
  readonly managedService: boolean;
  readonly mayCreate: boolean;
  readonly stateSchemaExists: boolean;
  readonly mayUseStateSchema: boolean;
  readonly publicationExists: boolean;
}

async function readLimits(client: pg.ClientBase, config: Config): Promise<Limits> {
  const { rows } = await client.query<Limits>(
    `select current_setting('max_replication_slots')::int as "maxSlots",
            (select count(*)::int from pg_replication_slots) as slots,
            current_setting('max_wal_senders')::int as "maxSenders",
            (select count(*)::int from pg_stat_replication) as senders,
            (select setting::int from pg_settings where name = 'max_slot_wal_keep_size') as "keepSizeMb",
            (select setting::int from pg_settings where name = 'wal_sender_timeout') as "walSenderTimeoutMs",
            (select rolsuper or rolreplication from pg_roles where rolname = current_user)
              or exists (select from pg_roles where rolname = 'rds_replication' and pg_has_role(current_user, oid, 'member'))
              as "mayReplicate",
            exists (select from pg_roles where rolname = 'rds_replication') as "managedService",
            has_database_privilege(current_database(), 'create') as "mayCreate",
            exists (select from pg_namespace where nspname = $1) as "stateSchemaExists",
            coalesce((select has_schema_privilege(oid, 'create') and has_schema_privilege(oid, 'usage')
                      from pg_namespace where nspname = $1), false) as "mayUseStateSchema",
            exists (select from pg_publication where pubname = $2) as "publicationExists"`,
    [config.state.schema, publicationName(config)],
  );
  const limits = rows[0];
  if (limits === undefined) throw new Error('the server answered a query without a row');
  return limits;
}

function limitFindings(limits: Limits, config: Config): Finding[] {
  const findings: Finding[] = [];
  const budgetMb = Math.ceil(config.legacy.walBudget / 1_048_576);
  if (limits.keepSizeMb === -1) {
    findings.push({
      code: 'SLOT_WAL_UNLIMITED',
      severity: 'warning',
      subject: 'server',
      message: 'max_slot_wal_keep_size is -1: a slot that nobody reads can fill the disk of the server',
      remedy: `alter system set max_slot_wal_keep_size = '${2 * budgetMb}MB'; select pg_reload_conf();  -- twice legacy.walBudget`,
    });
  } else if (limits.keepSizeMb < budgetMb) {
    findings.push({
      code: 'SLOT_WAL_BELOW_BUDGET',
      severity: 'warning',
      subject: 'server',
      message: `max_slot_wal_keep_size is ${limits.keepSizeMb} MB, less than legacy.walBudget: PostgreSQL invalidates the slot before the budget warns`,
      remedy: `alter system set max_slot_wal_keep_size = '${2 * budgetMb}MB'; select pg_reload_conf();  -- or lower legacy.walBudget`,
    });
  }
  if (limits.maxSenders > 0 && limits.senders >= limits.maxSenders) {
    findings.push({
      code: 'NO_WAL_SENDER_LEFT',
      severity: 'error',
      subject: 'server',
      message: `all ${limits.maxSenders} walsenders are in use (max_wal_senders)`,
      remedy: `alter system set max_wal_senders = ${limits.maxSenders + 5};  -- then restart PostgreSQL`,
    });
  }
  if (limits.walSenderTimeoutMs === 0 || limits.walSenderTimeoutMs < 5_000) {
    const off = limits.walSenderTimeoutMs === 0;
    findings.push({
      code: 'WAL_SENDER_TIMEOUT',
      severity: 'warning',
      subject: 'server',
      message: off
        ? 'wal_sender_timeout is off: the session of a worker that vanished keeps the slot, and no other worker can take over'
        : `wal_sender_timeout is ${limits.walSenderTimeoutMs} ms: short pauses end the stream`,
      remedy: `alter system set wal_sender_timeout = '60s'; select pg_reload_conf();`,
    });
  }
  return findings;
}

function roleFindings(limits: Limits, facts: ServerFacts, config: Config): Finding[] {
  const findings: Finding[] = [];
  const role = quoteIdentifier(facts.role);
  const add = (code: string, message: string, remedy: string) =>
    findings.push({ code, severity: 'error', subject: `role ${facts.role}`, message, remedy });
  if (!limits.mayReplicate) {
    add(
      'ROLE_WITHOUT_REPLICATION',
      `role ${facts.role} may not read replication slots`,
      limits.managedService ? `grant rds_replication to ${role};` : `alter role ${role} replication;`,
    );
  }
  const createsPublication = config.legacy.publication.manage && !limits.publicationExists;
  const createsSchema = config.state.url === undefined && !limits.stateSchemaExists;
  if (!limits.mayCreate && (createsPublication || createsSchema)) {
    const what = [createsPublication ? 'the publication' : '', createsSchema ? `schema ${config.state.schema}` : ''];
    add(
      'ROLE_WITHOUT_CREATE',
      `role ${facts.role} may not create ${what.filter((part) => part !== '').join(' and ')} in this database`,
      `grant create on database ${quoteIdentifier(facts.database)} to ${role};`,
    );
  }
  if (config.state.url === undefined && limits.stateSchemaExists && !limits.mayUseStateSchema) {
    add(
      'ROLE_WITHOUT_STATE_SCHEMA',
      `role ${facts.role} may not use schema ${config.state.schema}`,
      `grant usage, create on schema ${quoteIdentifier(config.state.schema)} to ${role};`,
    );
  }
  return findings;
}

async function slotFindings(
  client: pg.ClientBase,
  limits: Limits,
  place: { readonly config: Config; readonly database: string },
): Promise<Finding[]> {
  const { config } = place;
  const name = slotName(config);
  const slot = await observeSlot(client, name);
  const finding = (code: string, severity: Finding['severity'], message: string, remedy: string): Finding => ({
    code,
    severity,
    subject: `slot ${name}`,
    message,
    remedy,
  });
  if (slot === undefined) {
    if (!config.legacy.slot.manage) {
      const create = `select pg_create_logical_replication_slot(${quoteLiteral(name)}, 'pgoutput');  -- after the publication`;
      return [finding('SLOT_MISSING', 'error', `there is no slot ${name}, and legacy.slot.manage is false`, create)];
    }
    if (limits.slots < limits.maxSlots) return [];
    const more = `alter system set max_replication_slots = ${limits.maxSlots + 5};  -- then restart PostgreSQL`;
    return [
      finding(
        'NO_SLOT_LEFT',
        'error',
        `all ${limits.maxSlots} replication slots are in use (max_replication_slots)`,
        more,
      ),
    ];
  }
  const drop = `select pg_drop_replication_slot(${quoteLiteral(name)});`;
  if (slot.plugin !== 'pgoutput' || slot.database !== place.database) {
    const what =
      slot.plugin === undefined ? 'a physical slot' : `a slot of ${slot.plugin} in database ${slot.database ?? '?'}`;
    return [
      finding('SLOT_FOREIGN', 'error', `slot ${name} is ${what}`, 'set legacy.slot.name to a name that is not taken'),
    ];
  }
  if (slot.walStatus === 'lost' || slot.invalidation !== undefined) {
    const why = slot.invalidation ?? 'its WAL was removed';
    return [
      finding('SLOT_LOST', 'error', `PostgreSQL invalidated slot ${name} (${why})`, 'banyan recover --accept-gap'),
    ];
  }
  const findings: Finding[] = [];
  if (slot.walStatus === 'unreserved') {
    findings.push(
      finding(
        'SLOT_UNRESERVED',
        'warning',
        `the next checkpoint may remove WAL that slot ${name} needs`,
        'run the worker, or raise max_slot_wal_keep_size',
      ),
    );
  }
  if (slot.heldBytes > config.legacy.walBudget) {
    findings.push(
      finding(
        'SLOT_OVER_BUDGET',
        'warning',
        `slot ${name} holds ${slot.heldBytes} bytes of WAL, more than legacy.walBudget`,
        `run the worker, or give the slot up: ${drop}`,
      ),
    );
  }
  return findings;
}

async function publicationFindings(
  client: pg.ClientBase,
  resolved: ResolvedTables,
  place: { readonly config: Config; readonly versionNumber: number },
): Promise<readonly Finding[]> {
  const { config, versionNumber } = place;
  const name = publicationName(config);
  const plan = planPublication({
    name,
    manage: config.legacy.publication.manage,
    versionNumber,
    targets: publicationTargets(resolved.entries, versionNumber),
    current: await readPublication(client, name, versionNumber),
  });
  return [...columnListFindings(resolved, versionNumber), ...plan.findings];
}

/** A column list pins the columns that it names: DDL on them fails, which whoever runs the application's migrations must know. */
function columnListFindings(resolved: ResolvedTables, versionNumber: number): Finding[] {
  return resolved.entries.flatMap(({ index, entry, tables }) => {
    if (!entry.columnList) return [];
    const path = `capture[${index}].columnList`;
    if (versionNumber < 150_000) {
      return [
        {
          code: 'COLUMN_LIST_UNSUPPORTED',
          severity: 'warning' as const,
          subject: entry.table,
          path,
          message:
            'PostgreSQL 14 knows no column lists: excluded columns stay in the WAL stream (and are still never sent)',
          remedy: 'remove `columnList: true`, or upgrade the server to 15 or later',
        },
      ];
    }
    return tables.map((table) => ({
      code: 'COLUMN_LIST_BLOCKS_DDL',
      severity: 'warning' as const,
      subject: displayName(table),
      path,
      message: `with a column list, ALTER TABLE ${displayName(table)} … DROP COLUMN and ALTER COLUMN … TYPE fail on the columns that it names, and new columns are not published until banyan restarts`,
      remedy:
        'remove `columnList: true` where the application changes this table (excluded columns are still never sent)',
    }));
  });
}
