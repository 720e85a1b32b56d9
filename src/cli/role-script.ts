import { type Config, publicationName, slotName } from '../config/schema.ts';
import type { ResolvedTables } from '../postgres/catalog.ts';
import {
  displayName,
  type QualifiedName,
  qualifiedName,
  quoteIdentifier,
  quoteLiteral,
} from '../postgres/identifier.ts';
import { grantStatements, type Rights } from '../reverse/privileges.ts';
import { shellWord } from './starter.ts';
import type { Publication } from '../postgres/publication-catalog.ts';
import { planPublication, publicationTargets } from '../postgres/publication.ts';

/** Since PostgreSQL 16 whoever makes a role administers it, and still may not become it. */
const SET_OPTION_SINCE = 160_000;

export interface RoleScriptOptions {
  readonly role: string;
  readonly config: Config;
  readonly database: string;
  readonly versionNumber: number;
  readonly resolved: ResolvedTables;
  /** Of the partitioned tables: a backfill reads them themselves. */
  readonly partitions: readonly QualifiedName[];
  /** Of `reverse.apply`; nothing in it where there is none. */
  readonly rights: Rights;
  readonly publication: Publication | undefined;
  /** Amazon RDS and Aurora hand out replication as membership of a role, not as an attribute. */
  readonly onRds: boolean;
}

/**
 * One script for the DBA: a role that may do what the worker does and nothing more. Plain SQL that may be run again; every step is skipped where
 * it is done. It sets no password.
 */
export function roleScript(options: RoleScriptOptions): string {
  const { role, config, database } = options;
  const sql = quoteIdentifier(role);
  const steps = [
    roleStep(options),
    step(
      'Reads the tables: for preview and backfill, and to read single rows again (reselectUnavailable).',
      grants(options),
    ),
    ...(options.rights.tables.length === 0 ? [] : [writeStep(options)]),
    ...(config.state.url === undefined ? [stateStep(options)] : []),
    publicationStep(options),
  ];
  const numbered = steps.map((text, index) => `-- ${index + 1}. ${text}`);
  return [
    `-- Role ${sql} for Banyan, connector ${config.name}, in database ${quoteIdentifier(database)}. Made by \`banyan init --role\`.`,
    '--',
    '-- To be run in that database by a superuser, or by whoever owns the tables and may make roles. It may be run again: what is there is kept.',
    `--   psql -d ${shellWord(database)} -v ON_ERROR_STOP=1 -f THIS-FILE`,
    '--',
    '-- It sets no password. In psql, which asks for it and sends only its hash:',
    `--   \\password ${sql}`,
    '',
    'begin;',
    '',
    ...numbered.flatMap((text) => [text, '']),
    'commit;',
    '',
    ...slotStep(options),
  ].join('\n');
}

function step(title: string, statements: readonly string[]): string {
  return [title, ...statements].join('\n');
}

function roleStep({ role, onRds, database }: RoleScriptOptions): string {
  const sql = quoteIdentifier(role);
  const replication = onRds ? `grant rds_replication to ${sql};` : `alter role ${sql} replication;`;
  return step('May log in, connect, and read replication slots.', [
    'do $banyan$ begin',
    `  if not exists (select from pg_roles where rolname = ${quoteLiteral(role)}) then`,
    `    create role ${sql} login;`,
    '  end if;',
    'end $banyan$;',
    replication,
    `grant connect on database ${quoteIdentifier(database)} to ${sql};`,
  ]);
}

function grants({ role, resolved, partitions }: RoleScriptOptions): string[] {
  const sql = quoteIdentifier(role);
  const tables = [...resolved.tables, ...partitions];
  const schemas = [...new Set(tables.map(({ schema }) => schema))].toSorted();
  return [
    ...schemas.map((schema) => `grant usage on schema ${quoteIdentifier(schema)} to ${sql};`),
    ...tables.map((table) => `grant select on ${qualifiedName(table)} to ${sql};`),
  ];
}

function writeStep({ role, rights }: RoleScriptOptions): string {
  return step(
    'Writes the events of reverse.apply: only what its entries do. Of every column the right to read it, since a row is compared before and after.',
    grantStatements(rights, role),
  );
}

function stateStep({ role, config, versionNumber }: RoleScriptOptions): string {
  const sql = quoteIdentifier(role);
  const schema = quoteIdentifier(config.state.schema);
  return step('Owns the schema of its state; the tables in it are made by `banyan run`.', [
    'do $banyan$ begin',
    '  -- Only who may become a role can give a schema to it.',
    `  if not pg_has_role(current_user, ${quoteLiteral(role)}, '${versionNumber >= SET_OPTION_SINCE ? 'set' : 'member'}') then`,
    `    execute format('grant %I to %I', ${quoteLiteral(role)}, current_user);`,
    '  end if;',
    `  if not exists (select from pg_namespace where nspname = ${quoteLiteral(config.state.schema)}) then`,
    `    create schema ${schema} authorization ${sql};`,
    '  else',
    `    alter schema ${schema} owner to ${sql};`,
    '  end if;',
    'end $banyan$;',
  ]);
}

/** Made by the owner of the tables, since only an owner can; the worker finds it as it should be and changes nothing. */
function publicationStep(options: RoleScriptOptions): string {
  const { config, resolved, versionNumber, publication } = options;
  const name = publicationName(config);
  const { statements, findings } = planPublication({
    name,
    manage: true,
    versionNumber,
    targets: publicationTargets(resolved.entries, versionNumber).map((target) => ({
      ...target,
      table: { ...target.table, owned: true },
    })),
    current: publication === undefined ? undefined : { ...publication, owned: true },
  });
  const refused = findings.filter(({ severity }) => severity === 'error');
  return step(`The publication ${name}: exactly the captured tables. It must be there before the slot.`, [
    ...refused.flatMap((finding) => [
      `-- Not in it: ${finding.message}.`,
      ...(finding.remedy ?? '').split('\n').map((line) => `--   ${line}`),
    ]),
    ...(statements.length === 0 && refused.length === 0 ? ['-- It is there already, as it should be.'] : []),
    ...statements.flatMap((statement) => [
      'do $banyan$ begin',
      `  ${statement}`,
      'exception when duplicate_object or undefined_object then null;  -- done before',
      'end $banyan$;',
    ]),
  ]);
}

function slotStep({ config }: RoleScriptOptions): string[] {
  const name = slotName(config);
  if (config.legacy.slot.manage) {
    return [`-- The slot ${name} is made by the worker when it first runs: its role may do that.`, ''];
  }
  return [
    '-- The slot, outside of the transaction, since it can not be made in one that has written. From now on it holds WAL: start the worker soon.',
    `select pg_create_logical_replication_slot(${quoteLiteral(name)}, 'pgoutput')`,
    `where not exists (select from pg_replication_slots where slot_name = ${quoteLiteral(name)});`,
    '',
  ];
}

/** Tables in the script, for whoever prints it. */
export function tablesOf(resolved: ResolvedTables, rights: Rights): string[] {
  return [...new Set([...resolved.tables, ...rights.tables].map(displayName))];
}
