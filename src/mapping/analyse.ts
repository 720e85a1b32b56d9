import type { Operation, Relation } from '../core/change.ts';
import type { Path } from '../config/problem.ts';
import type { Detail, DetailField, EmitRule, TableCapture, TextTemplate } from '../config/schema.ts';
import type { TypeCatalog } from '../postgres/type-catalog.ts';
import { tableColumns, type MappedColumn, type TableColumns } from './columns.ts';
import { defaultSuffix, eventName, MAX_DETAIL_TYPE_LENGTH } from './event-name.ts';
import { expressionScope, positionText, type Expression, type ExpressionScope } from './expression.ts';
import { ProblemList } from './problem.ts';

export type RuleOperation = Exclude<Operation, 'message'>;

const CORRECTED: readonly RuleOperation[] = ['insert', 'update', 'delete'];

/** A text that is the same for all rows, or an expression. */
export type TextPlan = string | Expression;

export type FieldPlan =
  | { readonly kind: 'column'; readonly name: string; readonly column: MappedColumn }
  | { readonly kind: 'constant'; readonly name: string; readonly json: string }
  | { readonly kind: 'expression'; readonly name: string; readonly expression: Expression };

export interface RulePlan {
  readonly operations: readonly RuleOperation[];
  readonly when: Expression | undefined;
  readonly changed: readonly MappedColumn[] | undefined;
  readonly detailType: TextPlan;
  readonly fields: readonly FieldPlan[];
  /** Path of its JSON Schema, as the configuration has it. */
  readonly schema: string | undefined;
}

/** A capture entry resolved against the columns of one table: what the mapper is built from, and what `check` reads. */
export interface EntryPlan {
  /** `schema.name` */
  readonly table: string;
  readonly columns: TableColumns;
  readonly scope: ExpressionScope;
  readonly hasExpressions: boolean;
  /** Empty: the table has no key, and rows are told apart by all of their columns. */
  readonly key: readonly MappedColumn[];
  readonly source: TextPlan;
  readonly bus: TextPlan | undefined;
  readonly resources: readonly TextPlan[] | undefined;
  readonly rules: readonly RulePlan[];
  /** For a correction that no rule takes: whoever caused it has to be told. */
  readonly corrected: RulePlan;
}

export interface AnalyseOptions {
  /** Name of the connector. */
  readonly name: string;
  readonly entry: TableCapture;
  readonly entryIndex: number;
  readonly relation: Relation;
  readonly primaryKey: readonly string[];
  readonly types: TypeCatalog;
  readonly maskKey?: string | undefined;
}

/** Finds every problem, not only the first; with problems the plan is incomplete and must not be run. */
export function analyseEntry(options: AnalyseOptions): {
  readonly plan: EntryPlan;
  readonly problems: ProblemList;
} {
  const { entry, relation, types } = options;
  const table = `${relation.schema}.${relation.name}`;
  const problems = new ProblemList(table, options.entryIndex);
  const columns = tableColumns({ entry, relation, types, maskKey: options.maskKey, problems });
  const scope = expressionScope({ columns: columns.visible, table, types });
  const resolver: Resolver = {
    columns,
    scope,
    problems,
    full: relation.replicaIdentity === 'full',
    table,
    expressions: 0,
  };

  const key = keyColumns(options, resolver);
  const source = entry.source === undefined ? `legacy.${options.name}` : textPlan(entry.source, ['source'], resolver);
  if (typeof source === 'string' && source.startsWith('aws.')) {
    problems.add({
      code: 'SOURCE_RESERVED',
      kind: 'config',
      path: ['source'],
      message: 'a source must not begin with aws.',
      remedy: 'name it after the system that the events come from, such as legacy.shop',
    });
  }
  const bus = entry.bus === undefined ? undefined : textPlan(entry.bus, ['bus'], resolver);
  const resources = resourcePlans(entry, resolver);
  // Resolved again per rule without `detail`, it would add each of its problems again.
  const shared = fieldPlans(entry.detail, ['detail'], resolver);
  const rules = entry.transform === undefined ? rulePlans(entry, { tableName: relation.name, shared }, resolver) : [];
  const corrected = builtInRule(CORRECTED, `${eventName(entry, relation.name)}Corrected`, shared);
  const hasExpressions = resolver.expressions > 0;
  const plan = { table, columns, scope, key, source, bus, resources, rules, corrected, hasExpressions };
  return { plan, problems };
}

/** What it takes to give a table REPLICA IDENTITY FULL, and what that costs. */
export function fullIdentityRemedy(table: string): string {
  return `alter table ${table} replica identity full; (every UPDATE and DELETE then writes the whole old row to the WAL: about twice the WAL for updates)`;
}

interface Resolver {
  readonly columns: TableColumns;
  readonly scope: ExpressionScope;
  readonly problems: ProblemList;
  readonly full: boolean;
  readonly table: string;
  expressions: number;
}

/**
 * `key` of the entry; else the columns of the replica identity; with FULL, where that is every column, the primary key. All
 * must lie within the identity, or a DELETE and the old side of a key update would not tell which key they are of.
 */
function keyColumns(options: AnalyseOptions, { columns, problems }: Resolver): readonly MappedColumn[] {
  const { entry, relation, primaryKey } = options;
  const identity = columns.all.filter((column) => column.inIdentity);
  const named = entry.key ?? (identity.length > 0 && relation.replicaIdentity !== 'full' ? undefined : primaryKey);
  const paths = (named ?? identity.map((column) => column.name)).map(
    (name, index) => [name, entry.key === undefined ? ['exclude'] : ['key', index]] as const,
  );
  const key = paths.flatMap(([name, path]) => {
    const column = columns.all.find((candidate) => candidate.name === name);
    if (entry.key === undefined && column?.excluded === true) {
      problems.add({
        code: 'KEY_EXCLUDED',
        kind: 'config',
        path,
        message: `${name} is part of the key and can not be excluded`,
        remedy: `write mask: { ${name}: hash } instead, or set key to other columns of the replica identity`,
      });
      return [];
    }
    return columns.find(name, path) ?? [];
  });
  for (const [index, column] of key.entries()) {
    const path = entry.key === undefined ? ['mask', column.name] : ['key', index];
    if (column.mask === 'last4' || column.mask === 'redact') {
      problems.add({
        code: 'KEY_MASK',
        kind: 'config',
        path,
        message: `${column.name} is part of the key: masked with ${column.mask}, different rows would have one key`,
        remedy: `write hash instead of ${column.mask}: it keeps keys apart`,
      });
    }
    if (!column.inIdentity && relation.replicaIdentity !== 'full' && identity.length > 0) {
      problems.add({
        code: 'KEY_OUTSIDE_IDENTITY',
        kind: 'schema-drift',
        path,
        message: `${column.name} is not part of the replica identity (${identity.map(({ name }) => name).join(', ')}), so a DELETE does not tell its value`,
        remedy: `leave key out, choose columns of the identity, or: ${fullIdentityRemedy(`${relation.schema}.${relation.name}`)}`,
      });
    }
  }
  return key;
}

function resourcePlans(entry: TableCapture, resolver: Resolver): readonly TextPlan[] | undefined {
  const { resources } = entry;
  if (resources === undefined) return undefined;
  if (!Array.isArray(resources)) return [textPlan(resources, ['resources'], resolver)];
  return resources.map((resource, index) => textPlan(resource, ['resources', index], resolver));
}

function builtInRule(operations: readonly RuleOperation[], detailType: string, fields: readonly FieldPlan[]): RulePlan {
  return { operations, when: undefined, changed: undefined, detailType, fields, schema: undefined };
}

function rulePlans(
  entry: TableCapture,
  { tableName, shared }: { tableName: string; shared: readonly FieldPlan[] },
  resolver: Resolver,
): readonly RulePlan[] {
  const { emit } = entry;
  if (entry.backfill && emit !== undefined && !emit.some(({ on }) => on === 'read' || on.includes('read'))) {
    resolver.problems.add({
      code: 'READ_RULE_MISSING',
      kind: 'config',
      path: ['backfill'],
      message: 'rows that are already there would become no event: no rule of emit takes `read`',
      remedy: `add { on: read, detailType: ${eventName(entry, tableName)}${defaultSuffix.read} } to emit, or take backfill out`,
    });
  }
  if (emit !== undefined) return emit.map((rule, index) => rulePlan({ rule, index, shared }, resolver));
  const name = eventName(entry, tableName);
  return (Object.keys(defaultSuffix) as RuleOperation[]).map((operation) =>
    builtInRule([operation], `${name}${defaultSuffix[operation]}`, shared),
  );
}

function rulePlan(
  { rule, index, shared }: { rule: EmitRule; index: number; shared: readonly FieldPlan[] },
  resolver: Resolver,
): RulePlan {
  const path: Path = ['emit', index];
  const when = rule.when === undefined ? undefined : compile(rule.when, [...path, 'when'], resolver);
  if (when !== undefined && when.type !== 'bool' && when.type !== 'dyn') {
    resolver.problems.add({
      code: 'CEL_TYPE',
      kind: 'schema-drift',
      path: [...path, 'when'],
      message: `a condition must be true or false, and this is of type ${when.type}`,
      remedy: 'compare it with something, such as row.status == ‘shipped’',
    });
  }
  const changed = rule.changed?.flatMap(
    (column, position) => resolver.columns.find(column, [...path, 'changed', position]) ?? [],
  );
  if (changed !== undefined && !resolver.full) needsFull('changed', [...path, 'changed'], resolver);
  return {
    operations: typeof rule.on === 'string' ? [rule.on] : rule.on,
    when,
    changed,
    detailType: detailTypePlan(rule, path, resolver),
    fields: rule.detail === undefined ? shared : fieldPlans(rule.detail, [...path, 'detail'], resolver),
    schema: rule.schema,
  };
}

function detailTypePlan(rule: EmitRule, path: Path, resolver: Resolver): TextPlan {
  const plan = textPlan(rule.detailType, [...path, 'detailType'], resolver);
  if (typeof plan === 'string' && plan.length > MAX_DETAIL_TYPE_LENGTH) {
    resolver.problems.add({
      code: 'DETAIL_TYPE_TOO_LONG',
      kind: 'config',
      path: [...path, 'detailType'],
      message: `the detail-type has ${plan.length} characters, EventBridge takes ${MAX_DETAIL_TYPE_LENGTH}`,
      remedy: 'shorten it',
    });
  }
  return plan;
}

function fieldPlans(detail: Detail | undefined, path: Path, resolver: Resolver): readonly FieldPlan[] {
  if (detail === undefined) {
    return resolver.columns.visible.map((column) => ({ kind: 'column', name: column.name, column }));
  }
  return Object.entries(detail).flatMap(([name, field]) => fieldPlan(name, { field, path: [...path, name] }, resolver));
}

function fieldPlan(
  name: string,
  { field, path }: { field: DetailField; path: Path },
  resolver: Resolver,
): FieldPlan | readonly [] {
  if (typeof field === 'string' || 'column' in field) {
    const column = resolver.columns.find(typeof field === 'string' ? field : field.column, path);
    return column === undefined ? [] : { kind: 'column', name, column };
  }
  if ('value' in field) return { kind: 'constant', name, json: JSON.stringify(field.value) };
  const expression = compile(field.cel, path, resolver);
  return expression === undefined ? [] : { kind: 'expression', name, expression };
}

function textPlan(template: TextTemplate, path: Path, resolver: Resolver): TextPlan {
  if (typeof template === 'string') return template;
  const expression = compile(template.cel, path, resolver);
  if (expression === undefined) return '';
  if (expression.type !== 'string' && expression.type !== 'dyn') {
    resolver.problems.add({
      code: 'CEL_TYPE',
      kind: 'schema-drift',
      path,
      message: `a text is wanted here, and the expression is of type ${expression.type}`,
      remedy: 'put string(…) around it',
    });
  }
  return expression;
}

function compile(source: string, path: Path, resolver: Resolver): Expression | undefined {
  resolver.expressions += 1;
  const compiled = resolver.scope.compile(source, resolver.problems.pathOf(path));
  if (compiled.ok) {
    if (compiled.expression.uses.old && !resolver.full) needsFull('old', path, resolver);
    return compiled.expression;
  }
  const { message, position, column } = compiled.error;
  const known = resolver.columns.all.find((candidate) => candidate.name === column);
  // A column that is there and still not found is an excluded one.
  if (column !== undefined) {
    if (known?.excluded === true) resolver.columns.find(column, path);
    else
      resolver.problems.unknownColumn(
        column,
        path,
        resolver.columns.visible.map(({ name }) => name),
      );
    return undefined;
  }
  resolver.problems.add({
    code: 'CEL_INVALID',
    kind: 'schema-drift',
    path,
    message: `at ${positionText(source, position)}: ${message}`,
    remedy:
      'mend the expression; integer columns are int, numeric is decimal, timestamps are timestamps, json is a map, the rest strings',
  });
  return undefined;
}

function needsFull(what: 'old' | 'changed', path: Path, resolver: Resolver): void {
  resolver.problems.add({
    code: 'REPLICA_IDENTITY_NOT_FULL',
    kind: 'schema-drift',
    path,
    message: `\`${what}\` needs the whole old row, which ${resolver.table} sends with REPLICA IDENTITY FULL only`,
    remedy: fullIdentityRemedy(resolver.table),
  });
}
