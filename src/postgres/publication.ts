import type pg from 'pg';
import type { Finding } from '../core/finding.ts';
import type { ResolvedEntry } from './catalog.ts';
import { displayName, qualifiedName, quoteIdentifier } from './identifier.ts';
import {
  COLUMN_LISTS_SINCE,
  GENERATED_COLUMNS_SINCE,
  type Publication,
  type PublishedTable,
} from './publication-catalog.ts';
import { toDatabaseError } from './sqlstate.ts';
import type { CatalogTable } from './table.ts';

export interface PublicationTarget {
  readonly table: CatalogTable;
  /** Columns that are wanted in the WAL stream; undefined: all. */
  readonly columns: readonly string[] | undefined;
}

export interface PublicationPlan {
  /** Makes the publication what it should be; empty where it is. To be run in one transaction. */
  readonly statements: readonly string[];
  /** With an `error` among them nothing must be applied. */
  readonly findings: readonly Finding[];
}

export interface PublicationRequest {
  readonly name: string;
  /** False: a DBA keeps it; differences are findings. */
  readonly manage: boolean;
  readonly versionNumber: number;
  readonly targets: readonly PublicationTarget[];
  readonly current: Publication | undefined;
}

const OPERATIONS = ['insert', 'update', 'delete', 'truncate'] as const;

/**
 * What the publication has to hold: every captured table once. A column list only where each entry of the table asks for one, and then
 * without the columns that all of them exclude.
 */
export function publicationTargets(entries: readonly ResolvedEntry[], versionNumber: number): PublicationTarget[] {
  const byOid = new Map<number, { table: CatalogTable; entries: ResolvedEntry['entry'][] }>();
  for (const { entry, tables } of entries) {
    for (const table of tables) {
      const known = byOid.get(table.oid) ?? { table, entries: [] };
      known.entries.push(entry);
      byOid.set(table.oid, known);
    }
  }
  return [...byOid.values()].map(({ table, entries }) => {
    if (versionNumber < COLUMN_LISTS_SINCE || !entries.every((entry) => entry.columnList))
      return { table, columns: undefined };
    const columns = table.columns
      .filter(
        (column) =>
          column.generated === undefined || (column.generated === 'stored' && versionNumber >= GENERATED_COLUMNS_SINCE),
      )
      .map((column) => column.name)
      .filter((name) => !entries.every((entry) => entry.exclude.includes(name)));
    return { table, columns };
  });
}

/**
 * Compares and plans; touches nothing. Tables whose UPDATE and DELETE the publication would make fail are refused: the application's own
 * writes come first.
 */
export function planPublication(request: PublicationRequest): PublicationPlan {
  const findings = request.targets.flatMap((target) => writeFindings(target, request));
  const refused = new Set(findings.map((finding) => finding.subject));
  const targets = request.targets.filter((target) => !refused.has(displayName(target.table)));
  const { current, name } = request;
  if (current?.allTables === true) {
    return {
      statements: [],
      findings: [
        ...findings,
        {
          code: 'PUBLICATION_ALL_TABLES',
          severity: 'error',
          subject: `publication ${name}`,
          message: `publication ${name} is FOR ALL TABLES: it makes writes fail on every table without a replica identity, also on tables that are made later`,
          remedy: `drop publication ${quoteIdentifier(name)};  -- banyan makes its own, or make one for the mapped tables only`,
        },
      ],
    };
  }
  const changes = current === undefined ? creation(request, targets) : alterations(request, targets, current);
  if (changes.length === 0) return { statements: [], findings };
  const statements = changes.map((change) => change.sql);
  const problem = obstacle(request, changes);
  if (problem === undefined) return { statements, findings };
  return {
    statements: [],
    findings: [
      ...findings,
      { ...problem, severity: 'error', subject: `publication ${name}`, remedy: statements.join('\n') },
    ],
  };
}

/** Runs the plan's statements in one transaction; then the publication is what its targets say. */
export async function applyPublication(client: pg.ClientBase, plan: PublicationPlan): Promise<void> {
  if (plan.statements.length === 0) return;
  try {
    await client.query('begin');
    for (const statement of plan.statements) await client.query(statement);
    await client.query('commit');
  } catch (error) {
    // The first error is the one that tells; where the connection is gone, so is the transaction.
    await client.query('rollback').catch(() => undefined);
    throw toDatabaseError(error, 'changing the publication');
  }
}

/** What the publication would make fail in the application's own UPDATE and DELETE. */
function writeFindings(target: PublicationTarget, request: PublicationRequest): Finding[] {
  const { table, columns } = target;
  const shown = displayName(table);
  const sql = qualifiedName(table);
  const finding = (code: string, message: string, remedy: string): Finding[] => [
    { code, severity: 'error', subject: shown, message, remedy },
  ];
  // A table without columns can be deleted from as well, and FULL is an identity even then.
  if (table.identityColumns.length === 0 && table.replicaIdentity !== 'full') {
    return finding(
      'REPLICA_IDENTITY_MISSING',
      `${shown} has no usable replica identity: in a publication, every UPDATE and DELETE on it would fail`,
      `alter table ${sql} add primary key (…);  -- or, at the cost of whole old rows in the WAL: alter table ${sql} replica identity full;`,
    );
  }
  if (columns !== undefined && table.replicaIdentity === 'full') {
    return finding(
      'COLUMN_LIST_WITH_FULL',
      `${shown} has REPLICA IDENTITY FULL: with a column list every UPDATE and DELETE on it would fail`,
      'remove `columnList: true` (excluded columns are still never sent), or give the table a replica identity that is not FULL',
    );
  }
  const missing = columns === undefined ? [] : table.identityColumns.filter((column) => !columns.includes(column));
  if (missing.length > 0) {
    return finding(
      'COLUMN_LIST_WITHOUT_IDENTITY',
      `${shown} would be published without ${missing.join(', ')} of its replica identity: every UPDATE and DELETE on it would fail`,
      `remove ${missing.join(', ')} from \`exclude\`, or remove \`columnList: true\``,
    );
  }
  const unpublished = unpublishedGenerated(table, request);
  if (unpublished.length > 0) {
    return finding(
      'GENERATED_COLUMN_IN_IDENTITY',
      `${shown} has generated columns in its replica identity that are not published (${unpublished.join(', ')}): every UPDATE and DELETE on it would fail`,
      table.replicaIdentity === 'full'
        ? `alter table ${sql} replica identity default;  -- needs a primary key; or drop the generated columns`
        : `alter table ${sql} replica identity using index …;  -- one without generated columns`,
    );
  }
  return [];
}

/** PostgreSQL 18 refuses writes whose identity holds generated columns that are not published; virtual ones never are. */
function unpublishedGenerated(table: CatalogTable, request: PublicationRequest): string[] {
  if (request.versionNumber < GENERATED_COLUMNS_SINCE) return [];
  const storedAreSent = request.manage || request.current?.generatedColumns === true;
  return table.columns
    .filter((column) => column.generated === 'virtual' || (column.generated === 'stored' && !storedAreSent))
    .map((column) => column.name)
    .filter((name) => table.identityColumns.includes(name));
}

interface Change {
  readonly sql: string;
  /** Tables whose owner must run it. */
  readonly tables: readonly CatalogTable[];
}

function creation(request: PublicationRequest, targets: readonly PublicationTarget[]): Change[] {
  const tables = targets.length === 0 ? '' : ` for table ${targets.map(tableClause).join(', ')}`;
  return [
    {
      sql: `create publication ${quoteIdentifier(request.name)}${tables} with (${options(request)});`,
      tables: targets.map((target) => target.table),
    },
  ];
}

function alterations(
  request: PublicationRequest,
  targets: readonly PublicationTarget[],
  current: Publication,
): Change[] {
  const alter = `alter publication ${quoteIdentifier(request.name)}`;
  const changes: Change[] = [];
  const change = (sql: string, tables: readonly CatalogTable[] = []) =>
    changes.push({ sql: `${alter} ${sql};`, tables });
  if (!hasOptions(request, targets, current)) change(`set (${options(request)})`);
  // A DBA's publication may hold more than we read.
  if (request.manage && current.schemas.length > 0) {
    change(`drop tables in schema ${current.schemas.map(quoteIdentifier).join(', ')}`);
  }
  const byOid = new Map(targets.map((target) => [target.table.oid, target]));
  const surplus = current.tables.filter((table) => {
    const target = byOid.get(table.oid);
    return target === undefined ? request.manage : !isSame(table, target);
  });
  if (surplus.length > 0) change(`drop table ${surplus.map(qualifiedName).join(', ')}`);
  const kept = new Set(current.tables.filter((table) => !surplus.includes(table)).map((table) => table.oid));
  const missing = targets.filter(
    (target) => !kept.has(target.table.oid) && (request.manage || !current.schemas.includes(target.table.schema)),
  );
  if (missing.length > 0) {
    change(
      `add table ${missing.map(tableClause).join(', ')}`,
      missing.map((target) => target.table),
    );
  }
  return changes;
}

/** A DBA's publication needs only what the captured tables make use of. */
function hasOptions(request: PublicationRequest, targets: readonly PublicationTarget[], current: Publication): boolean {
  const tables = targets.map((target) => target.table);
  const needsRoot = request.manage || tables.some((table) => table.kind === 'partitioned');
  const needsGenerated =
    request.versionNumber >= GENERATED_COLUMNS_SINCE &&
    (request.manage || tables.some((table) => table.columns.some((column) => column.generated === 'stored')));
  return (
    OPERATIONS.every((operation) => current.publish.includes(operation)) &&
    (current.viaPartitionRoot || !needsRoot) &&
    (current.generatedColumns === true || !needsGenerated)
  );
}

/** Why we can not, or must not, run the changes ourselves. */
function obstacle(
  request: PublicationRequest,
  changes: readonly Change[],
): { readonly code: string; readonly message: string } | undefined {
  const { name, current } = request;
  if (!request.manage) {
    return {
      code: 'PUBLICATION_DIFFERS',
      message: `publication ${name} is not what the configuration needs, and legacy.publication.manage is false: its owner must run this`,
    };
  }
  if (current !== undefined && !current.owned) {
    return {
      code: 'PUBLICATION_NOT_OWNED',
      message: `publication ${name} belongs to ${current.owner}, who must run this`,
    };
  }
  const foreign = changes.flatMap((change) => change.tables).filter((table) => !table.owned);
  if (foreign.length > 0) {
    const owners = [...new Set(foreign.map((table) => table.owner))].join(', ');
    return {
      code: 'TABLE_NOT_OWNED',
      message: `only the owner (${owners}) can add ${foreign.map(displayName).join(', ')} to a publication; a superuser, or a role that owns them all and the publication, must run this`,
    };
  }
  return undefined;
}

function options(request: PublicationRequest): string {
  const generated = request.versionNumber >= GENERATED_COLUMNS_SINCE ? ', publish_generated_columns = stored' : '';
  return `publish = '${OPERATIONS.join(', ')}', publish_via_partition_root = true${generated}`;
}

function tableClause(target: PublicationTarget): string {
  const list = target.columns === undefined ? '' : ` (${target.columns.map(quoteIdentifier).join(', ')})`;
  return `${qualifiedName(target.table)}${list}`;
}

function isSame(table: PublishedTable, target: PublicationTarget): boolean {
  if (table.filtered) return false;
  if (table.columns === undefined || target.columns === undefined) return table.columns === target.columns;
  return table.columns.toSorted().join('\0') === target.columns.toSorted().join('\0');
}
