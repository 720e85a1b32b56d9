import type { TableCapture } from '../config/schema.ts';
import type { Finding } from '../core/finding.ts';
import { nearest } from '../core/nearest.ts';
import { displayName, isPattern, matchesPart, type NamePart, parseTableName, qualifiedName } from './identifier.ts';

/** Anything with a table-like name, so that a view or a partition is called by what it is and not "unknown". */
export interface RelationName {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly kind: string;
  readonly persistence: string;
  readonly root: string | undefined;
}

export interface Match {
  readonly oids: readonly number[];
  readonly findings: readonly Finding[];
}

export function matchEntry(
  entry: TableCapture,
  relations: readonly RelationName[],
  context: { readonly index: number; readonly stateSchema: string },
): Match {
  const wanted = parseTableName(entry.table);
  const finding = (
    code: string,
    message: string,
    remedy: string,
    severity: Finding['severity'] = 'error',
  ): Finding => ({
    code,
    severity,
    subject: entry.table,
    path: `capture[${context.index}].table`,
    message,
    remedy,
  });
  if (isPattern(wanted)) {
    const oids = relations
      .filter(
        (relation) => isCapturable(relation) && relation.schema !== context.stateSchema && matches(wanted, relation),
      )
      .map((relation) => relation.oid);
    const none = finding(
      'PATTERN_WITHOUT_TABLES',
      `no table matches ${entry.table}`,
      'mend the pattern, or create the tables',
      'warning',
    );
    return { oids, findings: oids.length === 0 ? [none] : [] };
  }
  const relation = relations.find((candidate) => matches(wanted, candidate));
  if (relation === undefined) return { oids: [], findings: [unknownTable(entry, relations, finding)] };
  if (relation.root !== undefined) {
    return {
      oids: [],
      findings: [
        finding(
          'TABLE_IS_PARTITION',
          `${entry.table} is a partition of ${relation.root}; its changes are published under that name`,
          `capture ${relation.root} instead`,
        ),
      ],
    };
  }
  if (relation.kind !== 'r' && relation.kind !== 'p') {
    const kind = { v: 'a view', m: 'a materialized view', f: 'a foreign table' }[relation.kind] ?? 'no table';
    return {
      oids: [],
      findings: [
        finding(
          'TABLE_NOT_PUBLISHABLE',
          `${entry.table} is ${kind}: it has no changes of its own in the WAL`,
          'capture the tables beneath it',
        ),
      ],
    };
  }
  if (!isCapturable(relation)) {
    return {
      oids: [],
      findings: [
        finding(
          'TABLE_UNLOGGED',
          `${entry.table} is unlogged: its changes are not written to the WAL`,
          `alter table ${qualifiedName(relation)} set logged;`,
        ),
      ],
    };
  }
  return { oids: [relation.oid], findings: [] };
}

function unknownTable(
  entry: TableCapture,
  relations: readonly RelationName[],
  finding: (code: string, message: string, remedy: string) => Finding,
): Finding {
  const near = nearest(entry.table, relations.filter(isCapturable).map(displayName));
  return finding(
    'TABLE_UNKNOWN',
    `there is no table ${entry.table}${near === undefined ? '' : `; did you mean ${near}?`}`,
    near === undefined ? 'mend the name, or create the table first' : `write ${near}`,
  );
}

function matches(wanted: { readonly schema: NamePart; readonly name: NamePart }, relation: RelationName): boolean {
  return matchesPart(wanted.schema, relation.schema) && matchesPart(wanted.name, relation.name);
}

function isCapturable(relation: RelationName): boolean {
  return (
    (relation.kind === 'r' || relation.kind === 'p') && relation.persistence === 'p' && relation.root === undefined
  );
}
