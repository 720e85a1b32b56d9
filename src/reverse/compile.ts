import type pg from 'pg';
import { formatPath } from '../config/problem.ts';
import type { ApplyEntry } from '../config/reverse-schema.ts';
import type { Finding } from '../core/finding.ts';
import { nearest } from '../core/nearest.ts';
import { compilePattern, type EventPattern } from '../core/pattern.ts';
import type { RelationName } from '../postgres/catalog-match.ts';
import { displayName, matchesPart, parseTableName, qualifiedName } from '../postgres/identifier.ts';
import type { CatalogTable } from '../postgres/table.ts';
import type { Target } from './intent.ts';
import type { PublishedColumns } from './published.ts';
import { analyseTarget, type AnalysedTarget, type TargetPlan } from './target.ts';
import { loadTargetFacts, type TargetFacts } from './target-facts.ts';

/** An entry of `reverse.apply`, ready to meet events, or with what keeps it from that. */
export interface CompiledEntry {
  readonly index: number;
  readonly pattern: EventPattern;
  /** `schema.table`, as the configuration or, where it was found, the catalog has it. */
  readonly table: string;
  readonly plan: TargetPlan | undefined;
  readonly findings: readonly Finding[];
}

export interface CompiledReverse {
  /** In the order of `reverse.apply`. */
  readonly entries: readonly CompiledEntry[];
  /** Of the entries without a finding. */
  readonly targets: readonly Target[];
  readonly findings: readonly Finding[];
}

/** Compiles `reverse.apply` against the catalog as it is now. An entry with an error is kept, since the events that it takes have to be set aside. */
export async function compileReverse(
  client: pg.ClientBase | pg.Pool,
  apply: readonly ApplyEntry[],
  options: {
    readonly stateSchema: string;
    /** Absent: nobody looks whether the stream shows our own writes. */
    readonly published?: PublishedColumns;
  },
): Promise<CompiledReverse> {
  const names = apply.map((entry) => parseTableName(entry.table));
  const isNamed = (relation: RelationName) =>
    names.some(({ schema, name }) => matchesPart(schema, relation.schema) && matchesPart(name, relation.name));
  const facts = await loadTargetFacts(client, isNamed);
  const entries = apply.map((entry, index): CompiledEntry => {
    const { name, plan, findings } = analyse(entry, { index, facts, ...options });
    return { index, pattern: compilePattern(entry.match), table: name, plan, findings };
  });
  return {
    entries,
    targets: entries.flatMap(({ plan }) => plan?.target ?? []),
    findings: entries.flatMap(({ findings }) => findings),
  };
}

interface Place {
  readonly index: number;
  readonly facts: TargetFacts;
  readonly stateSchema: string;
  readonly published?: PublishedColumns;
}

function analyse(entry: ApplyEntry, place: Place): AnalysedTarget & { readonly name: string } {
  const { index, facts } = place;
  const found = resolveTable(entry, place);
  if ('code' in found) return { name: entry.table, plan: undefined, findings: [found] };
  return {
    name: `${found.schema}.${found.name}`,
    ...analyseTarget(entry, { index, table: found, facts, published: place.published?.get(found.oid) }),
  };
}

/** The table of an entry, or why it can not be written. */
function resolveTable(entry: ApplyEntry, { index, facts, stateSchema }: Place): CatalogTable | Finding {
  const finding = (code: string, message: string, remedy: string): Finding => ({
    code,
    severity: 'error',
    subject: entry.table,
    path: formatPath(['reverse', 'apply', index, 'table']),
    message,
    remedy,
  });
  const wanted = parseTableName(entry.table);
  const relation = facts.relations.find(
    ({ schema, name }) => matchesPart(wanted.schema, schema) && matchesPart(wanted.name, name),
  );
  if (relation === undefined) {
    const near = nearest(entry.table, facts.relations.filter(isTable).map(displayName));
    return finding(
      'TABLE_UNKNOWN',
      `there is no table ${entry.table}${near === undefined ? '' : `; did you mean ${near}?`}`,
      near === undefined ? 'mend the name, or create the table first' : `write ${near}`,
    );
  }
  // An event that could write there could forge what reverse sync remembers.
  if (relation.schema === stateSchema) {
    return finding(
      'TABLE_IS_STATE',
      `${entry.table} is a table of Banyan’s own`,
      'name a table of the legacy application',
    );
  }
  if (relation.root !== undefined) {
    return finding(
      'TABLE_IS_PARTITION',
      `${entry.table} is a partition of ${relation.root}; its changes come under that name, and would not be known as ours`,
      `write ${relation.root} instead`,
    );
  }
  if (!isTable(relation)) {
    const kind = { v: 'a view', m: 'a materialized view', f: 'a foreign table' }[relation.kind] ?? 'no table';
    return finding(
      'TABLE_NOT_WRITABLE',
      `${entry.table} is ${kind}: its changes have no place of their own in the WAL, and would not be known as ours`,
      'name the table beneath it',
    );
  }
  if (relation.persistence !== 'p') {
    return finding(
      'TABLE_UNLOGGED',
      `${entry.table} is unlogged: a crash would empty it, while its events are remembered as applied`,
      `alter table ${qualifiedName(relation)} set logged;`,
    );
  }
  const table = facts.tables.get(relation.oid);
  return (
    table ?? finding('TABLE_UNKNOWN', `${entry.table} vanished while the catalog was read`, 'run `banyan check` again')
  );
}

function isTable({ kind }: RelationName): boolean {
  return kind === 'r' || kind === 'p';
}
