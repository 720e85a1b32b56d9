import type { RowChange, TableChange, Tuple, TruncateChange } from '../core/change.ts';
import { BanyanError } from '../core/errors.ts';
import type { Event } from '../core/event.ts';
import { sortableLsn } from '../core/lsn.ts';
import { jsonString } from '../postgres/values/json-string.ts';
import { analyseEntry } from './analyse.ts';
import { restoreChange, storeChange } from './change-text.ts';
import { buildEvent, checkHead, type EventHead, headBytesOf } from './event-builder.ts';
import { ABSENT_VALUE, NULL_VALUE } from './expression.ts';
import type { Mapper } from './mapper.ts';
import { compileReads } from './compile-reads.ts';
import {
  checkContract,
  type CompiledRule,
  compileRule,
  type CompileOptions,
  draftHead,
  draftJson,
  DRAFT_RULE,
  fullOld,
  hasChanged,
  neededColumns,
  NO_RESOURCES,
  optionalText,
  originJson,
  text,
} from './compile-rule.ts';
import { encodePart, isUnique, orderingKey } from './ordering-key.ts';
import { chunkTexts, type TransactionText, transactionTexts } from './transaction-text.ts';
import { rowChangeView, runTransform } from './transform.ts';
import type { Transform } from './transform-types.ts';

const NO_EVENTS: readonly Event[] = [];
const NO_COLUMNS: readonly number[] = [];
const NO_NAMES: readonly string[] = [];

/**
 * One capture entry for one shape of one table. Everything that does not depend on the row is done here, once: columns found,
 * expressions parsed and type-checked, JSON fragments made.
 *
 * Throws `schema-drift` where the entry names a column that the relation does not have (in `exclude` and `mask` too: a column
 * that vanished may have been renamed, and would leave unmasked) or an expression does not fit the columns' types, and
 * `config` where the entry could be right for no table.
 */
export function compileMapper(options: CompileOptions): Mapper {
  const { plan, problems } = analyseEntry(options);
  problems.throwFirst();
  const { entry, relation, range } = options;
  const { table, columns, scope } = plan;
  const rules = plan.rules.map((rule) => compileRule(rule, options));
  const rulesOf = {
    insert: rules.filter((rule) => rule.operations.includes('insert')),
    update: rules.filter((rule) => rule.operations.includes('update')),
    delete: rules.filter((rule) => rule.operations.includes('delete')),
    truncate: rules.filter((rule) => rule.operations.includes('truncate')),
    read: rules.filter((rule) => rule.operations.includes('read')),
  };
  const key = orderingKey(plan.key, columns.visible);
  const tellsApart = key.wholeRow || isUnique(plan.key, options);
  const streamText = transactionTexts(options.identity);
  const readText = chunkTexts(options.identity);
  const relaxed = entry.order === 'relaxed';
  const groupPrefix = `${encodePart(relation.schema)}.${encodePart(relation.name)}:`;
  const resourcePrefix = `banyan:${encodePart(options.name)}:${groupPrefix}`;
  const beforeKey = (operation: string) => `","operation":"${operation}","table":${jsonString(table)},"key":`;
  const before = {
    insert: beforeKey('insert'),
    update: beforeKey('update'),
    delete: beforeKey('delete'),
    truncate: `${beforeKey('truncate')}{},`,
    read: beforeKey('read'),
  };
  const changedNames = columns.visible.map((column) => ({ index: column.index, json: jsonString(column.name) }));
  const needed = neededColumns(plan, entry.detail === undefined);
  const restored = new WeakMap<TableChange, ReadonlySet<number>>();
  const counters = { dropped: 0, nullConditions: 0 };
  // Made when it is needed: a table that no event of the new system writes never does.
  let corrected: CompiledRule | undefined;
  const { transform } = options;
  if (entry.transform !== undefined && transform === undefined) {
    throw new BanyanError('config', `capture[${options.entryIndex}].transform: ${entry.transform} was not loaded`);
  }

  /** Sets the state that masks and expressions read; every way into the mapper begins with it. */
  function enter(change: TableChange): void {
    if (columns.masked.length > 0) columns.maskedAlready.columns = restored.get(change);
    if (!plan.hasExpressions) return;
    const { operation } = change;
    if (operation === 'truncate') scope.load({ operation, row: undefined, fallback: undefined, old: undefined });
    else scope.load({ operation, row: change.new ?? change.old, fallback: fullOld(change), old: change.old });
  }

  function takes(rule: CompiledRule, change: TableChange): boolean {
    if (rule.changed !== undefined && !hasChanged(change, rule.changed)) return false;
    if (rule.when === undefined) return true;
    const holds = rule.when.evaluate();
    if (holds === true) return true;
    if (holds === NULL_VALUE || holds === ABSENT_VALUE) counters.nullConditions += 1;
    else if (holds !== false) throw new BanyanError('mapping-failed', 'a condition gave neither true nor false');
    return false;
  }

  function headOf(rule: CompiledRule, keyParts: string): EventHead {
    const source = rule.source ?? text(plan.source, 'source');
    const detailType = typeof rule.detailType === 'string' ? rule.detailType : text(rule.detailType, 'detailType');
    const bus = plan.bus === undefined ? undefined : optionalText(plan.bus, 'bus');
    if (rule.headBytes === undefined) checkHead(source, detailType);
    if (plan.resources !== undefined) {
      const resources = plan.resources.map((resource) => text(resource, 'resources'));
      return { source, detailType, bus, resources, headBytes: headBytesOf(source, detailType, resources) };
    }
    // Percent-encoded, so that its characters are its bytes.
    const resource = key.wholeRow ? resourcePrefix.slice(0, -1) : resourcePrefix + keyParts;
    const headBytes = (rule.headBytes ?? headBytesOf(source, detailType, NO_RESOURCES)) + resource.length;
    return { source, detailType, bus, resources: [resource], headBytes };
  }

  function checkCount(events: number): void {
    if (events <= range.size) return;
    throw new BanyanError(
      'mapping-failed',
      `capture[${options.entryIndex}] makes more than ${range.size} events of one change of ${table}`,
    );
  }

  function rowEvent(change: RowChange, rule: CompiledRule): Event {
    const { operation } = change;
    const fallback = fullOld(change);
    const row = (change.new ?? change.old) as Tuple;
    const unavailable: string[] = [];
    const data = rule.detail.write(row, fallback, unavailable);
    if (rule.contract !== undefined) checkContract(rule.contract, data);
    const parts = key.parts(row, fallback);
    const moved = key.movedFrom(change);
    const isFullUpdate = operation === 'update' && fallback !== undefined;
    const previous = isFullUpdate ? previousData(change, rule) : undefined;
    const head = headOf(rule, parts);
    const group = groupPrefix + parts;
    return buildEvent({
      transaction: textOf(change),
      ordinal: change.ordinal,
      index: range.first,
      idEnd: idEndOf(change, group, range.first),
      head,
      before: before[operation] + key.json(row, fallback) + previousKey(moved),
      after: (isFullUpdate ? changedJson(change) : '') + originJson(unavailable, change.origin),
      data,
      previous,
      group: relaxed ? undefined : group,
      previousGroup: relaxed || moved === undefined ? undefined : groupPrefix + key.parts(moved, undefined),
    });
  }

  function textOf(change: TableChange): TransactionText {
    return change.operation === 'read' ? readText(change.transaction, change.run ?? 0) : streamText(change.transaction);
  }

  /**
   * A read is told apart by its key: a row has one id in every repeat of its chunk. Where rows may share the key, by its place as well. What is
   * put behind the key can not be part of one, since it would be percent-encoded.
   */
  function idEndOf(change: TableChange, group: string, index: number): string | undefined {
    if (change.operation !== 'read') return undefined;
    if (tellsApart && index === 0) return group;
    const place = tellsApart ? '' : `@${sortableLsn(change.transaction.commitLsn)}-${change.ordinal}`;
    return group + place + (index === 0 ? '' : `#${index}`);
  }

  function previousKey(moved: Tuple | undefined): string {
    return moved === undefined || key.wholeRow ? ',' : `,"previousKey":${key.json(moved, undefined)},`;
  }

  /** The same mapping of the old row: expressions see it as `row`, and nothing as `old`. */
  function previousData(change: RowChange, rule: CompiledRule): string {
    if (!rule.hasExpressions) return rule.detail.write(change.old as Tuple, undefined, []);
    scope.load({ operation: change.operation, row: change.old, fallback: undefined, old: undefined });
    const previous = rule.detail.write(change.old as Tuple, undefined, []);
    enter(change);
    return previous;
  }

  function changedJson(change: RowChange): string {
    let names = '';
    const { old, new: row } = change as { old: Tuple; new: Tuple };
    for (const { index, json } of changedNames) {
      const cell = row[index];
      if (cell !== undefined && cell !== old[index]) names += names === '' ? json : `,${json}`;
    }
    return `,"changed":[${names}]`;
  }

  function truncateEvent(change: TruncateChange, rule: CompiledRule): Event {
    const head = headOf(rule, '');
    return buildEvent({
      transaction: textOf(change),
      ordinal: change.ordinal,
      index: range.first,
      idEnd: undefined,
      head,
      before: before.truncate,
      after: originJson(NO_NAMES, change.origin),
      data: '{}',
      previous: undefined,
      group: relaxed ? undefined : groupPrefix,
      previousGroup: undefined,
    });
  }

  /** What nobody asked for. A correction leaves all the same: the two sides would never agree otherwise. */
  function untaken(change: TableChange): readonly Event[] {
    if (change.operation === 'truncate' || change.origin?.kind !== 'correction') {
      counters.dropped += 1;
      return NO_EVENTS;
    }
    corrected ??= compileRule(plan.corrected, options);
    checkCount(1);
    return [rowEvent(change, corrected)];
  }

  function transformed(change: TableChange): readonly Event[] {
    const isRow = change.operation !== 'truncate';
    const row = isRow ? ((change.new ?? change.old) as Tuple) : undefined;
    const fallback = isRow ? fullOld(change) : undefined;
    const keyJson = row === undefined ? '{}' : key.json(row, fallback);
    const drafts = runTransform(transform as Transform, rowChangeView(change, { table, columns, keyJson }));
    if (drafts.length === 0) return untaken(change);
    checkCount(drafts.length);
    const parts = row === undefined ? '' : key.parts(row, fallback);
    const moved = isRow ? key.movedFrom(change) : undefined;
    const end = originJson(NO_NAMES, change.origin);
    return drafts.map((draft, index) => {
      const rule: CompiledRule = { ...DRAFT_RULE, source: draft.source, detailType: draft.detailType };
      const head = draft.resources === undefined ? headOf(rule, parts) : draftHead(draft, text(plan.source, 'source'));
      return buildEvent({
        transaction: textOf(change),
        ordinal: change.ordinal,
        index: range.first + index,
        idEnd: idEndOf(change, groupPrefix + parts, range.first + index),
        head: draft.bus === undefined ? head : { ...head, bus: draft.bus },
        before: isRow ? before[change.operation] + keyJson + previousKey(moved) : before.truncate,
        after: isRow && change.operation === 'update' && fallback !== undefined ? changedJson(change) + end : end,
        data: draftJson(draft),
        previous: undefined,
        group: relaxed ? undefined : groupPrefix + parts,
        previousGroup: relaxed || moved === undefined ? undefined : groupPrefix + key.parts(moved, undefined),
      });
    });
  }

  return {
    entry: options.entryIndex,
    table,
    counters,
    firstIndex: range.first,
    reads:
      transform === undefined && range.size > 0
        ? compileReads(plan, rulesOf.read[0], {
            columns: relation.columns.length,
            resourcePrefix,
            groupPrefix,
            isRelaxed: relaxed,
            tellsApart,
            index: range.first,
            before: before.read,
            textOf: readText,
          })
        : undefined,
    takesReads: transform !== undefined || rulesOf.read.length > 0,
    isPlain: transform === undefined && entry.emit === undefined,
    map(change) {
      enter(change);
      if (transform !== undefined) return transformed(change);
      for (const rule of rulesOf[change.operation]) {
        if (!takes(rule, change)) continue;
        checkCount(1);
        return [change.operation === 'truncate' ? truncateEvent(change, rule) : rowEvent(change, rule)];
      }
      return untaken(change);
    },
    groups(change) {
      if (relaxed) return { group: undefined, previousGroup: undefined };
      if (columns.masked.length > 0) columns.maskedAlready.columns = restored.get(change);
      const moved = key.movedFrom(change);
      return {
        group: groupPrefix + key.parts((change.new ?? change.old) as Tuple, fullOld(change)),
        previousGroup: moved === undefined ? undefined : groupPrefix + key.parts(moved, undefined),
      };
    },
    unavailable(change) {
      if (!entry.reselectUnavailable || change.operation !== 'update' || change.oldKind === 'full') return NO_COLUMNS;
      if (change.new?.includes(undefined) !== true) return NO_COLUMNS;
      return needed.sent.filter((index) => change.new?.[index] === undefined);
    },
    serialize(change) {
      enter(change);
      return storeChange(
        change,
        columns.visible.map(({ name, index, mask, reveal }) => ({ name, index, reveal, masked: mask !== undefined })),
      );
    },
    deserialize(stored) {
      const { change, masked } = restoreChange(stored, { relation, needs: needed.named });
      const indexes = columns.all.filter(({ name }) => masked.includes(name)).map(({ index }) => index);
      if (indexes.length > 0) restored.set(change, new Set(indexes));
      return change;
    },
  };
}
