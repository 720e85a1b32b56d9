import type { ChangeOrigin, Operation, RowChange, TableChange, Tuple } from '../core/change.ts';
import { BanyanError } from '../core/errors.ts';
import type { EventRange, StreamIdentity } from '../core/event.ts';
import { jsonString } from '../postgres/values/json-string.ts';
import type { AnalyseOptions, EntryPlan, FieldPlan, RulePlan, TextPlan } from './analyse.ts';
import type { MappedColumn } from './columns.ts';
import { contractViolated, type Contract, type ContractSet } from './contract.ts';
import { detailWriter, type DetailWriter } from './detail.ts';
import { checkHead, type EventHead, headBytesOf } from './event-builder.ts';
import { ABSENT_VALUE, NULL_VALUE, type Expression } from './expression.ts';
import { NOTHING_UNAVAILABLE } from './transaction-text.ts';
import type { EventDraft, Transform } from './transform-types.ts';

export interface CompileOptions extends AnalyseOptions {
  readonly identity: StreamIdentity;
  /** The entry's share of the numbers of a change's events: see `eventRange`. */
  readonly range: EventRange;
  /** Where the entry names a transform module. */
  readonly transform?: Transform | undefined;
  readonly contracts: ContractSet;
}

export const NO_RESOURCES: readonly string[] = [];

export interface CompiledRule {
  readonly operations: readonly Operation[];
  readonly when: Expression | undefined;
  readonly changed: readonly number[] | undefined;
  /** undefined: the entry's. */
  readonly source: string | undefined;
  readonly detailType: TextPlan;
  /** Where source and detail-type are the same for all rows, and so were checked once. */
  readonly headBytes: number | undefined;
  readonly detail: DetailWriter;
  readonly fields: readonly FieldPlan[];
  readonly hasExpressions: boolean;
  readonly contract: Contract | undefined;
}

/** Every draft of a transform module is checked, since it may name another detail-type each time. */
export const DRAFT_RULE: CompiledRule = {
  operations: [],
  when: undefined,
  changed: undefined,
  source: undefined,
  detailType: '',
  headBytes: undefined,
  detail: { write: () => '{}' },
  fields: [],
  hasExpressions: false,
  contract: undefined,
};

/** The end of the metadata. The constant by itself where it can be: it is what the transaction's text was made for. */
export function originJson(names: readonly string[], origin: ChangeOrigin | undefined): string {
  if (origin === undefined) {
    return names.length === 0 ? NOTHING_UNAVAILABLE : `,"unavailable":${JSON.stringify(names)},"origin":"legacy"`;
  }
  const { kind, causedBy, hops } = origin;
  return `,"unavailable":${JSON.stringify(names)},"origin":"${kind}","causedBy":${jsonString(causedBy)},"hops":${hops}`;
}

export function compileRule(rule: RulePlan, options: CompileOptions): CompiledRule {
  const { entry, name, contracts } = options;
  const source = entry.source ?? `legacy.${name}`;
  const isStatic = typeof source === 'string' && typeof rule.detailType === 'string';
  if (isStatic) checkHead(source, rule.detailType);
  const contract = rule.schema === undefined ? undefined : contracts.contracts.get(rule.schema);
  if (rule.schema !== undefined && contract === undefined) {
    throw new BanyanError(
      'config',
      `capture[${options.entryIndex}]: ${contracts.problems.get(rule.schema) ?? `the schema ${rule.schema} was not loaded`}`,
    );
  }
  return {
    operations: rule.operations,
    when: rule.when,
    changed: rule.changed?.map(({ index }) => index),
    source: typeof source === 'string' ? source : undefined,
    detailType: rule.detailType,
    headBytes: isStatic ? headBytesOf(source, rule.detailType, NO_RESOURCES) : undefined,
    detail: detailWriter(rule.fields, entry.numbers),
    fields: rule.fields,
    hasExpressions: rule.fields.some(({ kind }) => kind === 'expression'),
    contract,
  };
}

/** The whole old row, which also has what an update did not send again (unchanged TOAST). */
export function fullOld(change: RowChange): Tuple | undefined {
  return change.oldKind === 'full' ? change.old : undefined;
}

export function hasChanged(change: TableChange, columns: readonly number[]): boolean {
  if (change.operation !== 'update' || change.oldKind !== 'full') return false;
  const { old, new: row } = change;
  return columns.some((index) => row?.[index] !== undefined && row[index] !== old?.[index]);
}

export function text(plan: TextPlan, what: string): string {
  const value = optionalText(plan, what);
  if (value === undefined)
    throw new BanyanError('mapping-failed', `the expression of ${what} came out of NULL or a value that was not sent`);
  return value;
}

/** undefined where the expression gives null, or has no value because of one. */
export function optionalText(plan: TextPlan, what: string): string | undefined {
  if (typeof plan === 'string') return plan;
  const value = plan.evaluate();
  if (typeof value === 'string') return value;
  if (value === null || value === NULL_VALUE) return undefined;
  throw new BanyanError(
    'mapping-failed',
    value === ABSENT_VALUE
      ? `the expression of ${what} needs a value that was not sent`
      : `the expression of ${what} gave no text`,
  );
}

export function checkContract(contract: Contract, data: string): void {
  const violation = contract.violation(JSON.parse(data));
  if (violation !== undefined) throw contractViolated(contract, violation);
}

export function draftHead(draft: EventDraft, defaultSource: string): EventHead {
  const source = draft.source ?? defaultSource;
  checkHead(source, draft.detailType);
  const resources = draft.resources ?? NO_RESOURCES;
  const headBytes = headBytesOf(source, draft.detailType, resources);
  return { source, detailType: draft.detailType, bus: draft.bus, resources, headBytes };
}

export function draftJson(draft: EventDraft): string {
  let json: string | undefined;
  let cause: unknown;
  try {
    // undefined for a function or a symbol, whatever its type says.
    json = JSON.stringify(draft.data) as string | undefined;
  } catch (error) {
    cause = error;
  }
  if (json !== undefined) return json;
  throw new BanyanError('mapping-failed', 'the data of the transform module has no JSON form', {
    cause,
    remedy:
      'JSON knows no BigInt, no functions and no cycles: make texts of them, restart, then `banyan dead-letters redrive`',
  });
}

/** `named`: columns that the entry names, which a stored change must have had. `sent`: indexes of the columns whose values leave. */
export function neededColumns(
  plan: EntryPlan,
  allColumns: boolean,
): { readonly named: readonly string[]; readonly sent: readonly number[] } {
  const named = new Set(plan.key.map(({ name }) => name));
  const sent = new Set<number>();
  const addColumn = (column: MappedColumn) => {
    named.add(column.name);
    sent.add(column.index);
  };
  const addExpression = (expression: Expression) => {
    for (const use of expression.uses.columns) {
      const column = plan.columns.visible.find(({ name }) => name === use.column);
      if (column !== undefined) addColumn(column);
    }
  };
  const texts = [plan.source, plan.bus, ...(plan.resources ?? [])];
  for (const rule of plan.rules) {
    texts.push(rule.detailType);
    rule.changed?.forEach(addColumn);
    if (rule.when !== undefined) addExpression(rule.when);
    for (const field of rule.fields) {
      if (field.kind === 'expression') addExpression(field.expression);
      else if (field.kind === 'column' && allColumns) sent.add(field.column.index);
      else if (field.kind === 'column') addColumn(field.column);
    }
  }
  for (const plan of texts) if (typeof plan === 'object') addExpression(plan);
  if (plan.rules.length === 0) for (const column of plan.columns.visible) sent.add(column.index);
  return { named: [...named], sent: [...sent] };
}
