import type { Path, Problem } from './problem.ts';
import type { Detail, EmitRule, Mask, MessageCapture, TableCapture, TextTemplate } from './schema.ts';

type Entry = TableCapture | MessageCapture;

/** EventBridge's own limit for DetailType. */
const MAX_DETAIL_TYPE = 128;

export function captureRules(entries: readonly (Entry | undefined)[], context: { hasMaskKey: boolean }): Problem[] {
  const prefixes = new Set<string>();
  return entries.flatMap((entry, index) => {
    const path = ['capture', index];
    if (entry === undefined) return [];
    if ('table' in entry) return tableRules(entry, { path, ...context });
    const problems = sourceRules(entry.source, [...path, 'source']);
    if (prefixes.has(entry.messages)) {
      problems.push({
        path: [...path, 'messages'],
        message: 'a prefix that an entry before this one takes already',
        remedy: 'remove one of the two',
      });
    }
    prefixes.add(entry.messages);
    return problems;
  });
}

interface Place {
  readonly path: Path;
  readonly hasMaskKey: boolean;
}

function tableRules(entry: TableCapture, place: Place): Problem[] {
  const { path } = place;
  const problems: Problem[] = [
    ...nameRules(entry.table, [...path, 'table']),
    ...sourceRules(entry.source, [...path, 'source']),
    ...keyRules(entry, path),
    ...maskRules(entry, place),
    ...detailRules(entry, { path, detail: entry.detail, at: [...path, 'detail'] }),
    ...emitRules(entry, path),
  ];
  if (entry.columnList && entry.exclude.length === 0) {
    problems.push({
      path: [...path, 'columnList'],
      message: 'has nothing to keep out of the WAL stream',
      remedy: 'name the columns in `exclude`, or leave columnList out',
    });
  }
  return problems;
}

/** A name needs its schema: search paths differ from session to session, and the WAL knows none. */
export function nameRules(table: string, path: Path): Problem[] {
  const parts = table.replaceAll(/"(?:[^"]|"")*"/g, '_').split('.');
  if (parts.length === 2 && parts.every((part) => part !== '' && !part.includes('"'))) return [];
  return [
    {
      path,
      message: 'not a table with its schema',
      remedy: 'write `schema.table`, such as `public.orders`; quote as in SQL where a name holds a dot or capitals',
    },
  ];
}

function sourceRules(source: TextTemplate | undefined, path: Path): Problem[] {
  if (typeof source !== 'string' || !source.startsWith('aws.')) return [];
  return [{ path, message: 'begins with `aws.`, which EventBridge keeps to itself', remedy: 'name your own system' }];
}

function keyRules(entry: TableCapture, path: Path): Problem[] {
  return (entry.key ?? []).flatMap((column, index) =>
    entry.exclude.includes(column)
      ? [
          {
            path: [...path, 'key', index],
            message: 'a key column that is excluded',
            remedy: 'events need it for their order; mask it with `hash` instead of excluding it',
          },
        ]
      : [],
  );
}

function maskRules(entry: TableCapture, place: Place): Problem[] {
  const fields = [entry.detail, ...(entry.emit ?? []).map((rule) => rule.detail)];
  const at = [
    [...place.path, 'detail'],
    ...(entry.emit ?? []).map((_, index) => [...place.path, 'emit', index, 'detail']),
  ];
  const masks: { path: Path; column: string; mask: Mask }[] = Object.entries(entry.mask).map(([column, mask]) => ({
    path: [...place.path, 'mask', column],
    column,
    mask,
  }));
  fields.forEach((detail, index) => {
    for (const [name, field] of Object.entries(detail ?? {})) {
      if (typeof field === 'string' || !('column' in field) || field.mask === undefined) continue;
      masks.push({ path: [...(at[index] ?? []), name, 'mask'], column: field.column, mask: field.mask });
    }
  });
  const problems: Problem[] = [];
  for (const { path, column, mask } of masks) {
    if (mask === 'hash' && !place.hasMaskKey) {
      problems.push({
        path,
        message: '`hash` without a key: a hash without one is undone by trying all values',
        remedy: 'write `maskKey: ${BANYAN_MASK_KEY}` at the top and set it to 16 or more random characters',
      });
    }
    const isKeyMask = path.at(-2) === 'mask' && path.length === place.path.length + 2;
    if (isKeyMask && mask !== 'hash' && entry.key?.includes(column) === true) {
      problems.push({
        path,
        message: `\`${mask}\` on a key column makes different rows look like one`,
        remedy: 'use `hash`, which keeps keys apart',
      });
    }
    if (entry.exclude.includes(column)) {
      problems.push({
        path,
        message: 'a mask for a column that is excluded',
        remedy: 'an excluded column is never sent; remove it from `exclude`, or remove the mask',
      });
    }
  }
  return problems;
}

function detailRules(entry: TableCapture, place: { path: Path; detail: Detail | undefined; at: Path }): Problem[] {
  return Object.entries(place.detail ?? {}).flatMap(([name, field]) => {
    const column = typeof field === 'string' ? field : 'column' in field ? field.column : undefined;
    if (column === undefined || !entry.exclude.includes(column)) return [];
    if (typeof field !== 'string' && 'column' in field && field.mask !== undefined) return [];
    return [
      {
        path: [...place.at, name],
        message: 'a column that is excluded',
        remedy: 'remove it from `exclude` or from `detail`',
      },
    ];
  });
}

function emitRules(entry: TableCapture, path: Path): Problem[] {
  const problems: Problem[] = [];
  if (entry.transform !== undefined) {
    for (const option of ['detail', 'emit'] as const) {
      if (entry[option] === undefined) continue;
      problems.push({
        path: [...path, option],
        message: 'does not go together with `transform`, which makes the events itself',
        remedy: `keep one of \`transform\` and \`${option}\``,
      });
    }
  }
  /** Operations that a rule before takes without a condition: no rule behind it ever sees them. */
  const taken = new Map<string, number>();
  (entry.emit ?? []).forEach((rule, index) => {
    const at = [...path, 'emit', index];
    problems.push(
      ...ruleProblems(rule, at),
      ...detailRules(entry, { path, detail: rule.detail, at: [...at, 'detail'] }),
    );
    const operations = operationsOf(rule);
    const by = operations.map((operation) => taken.get(operation));
    if (by.every((earlier) => earlier !== undefined)) {
      problems.push({
        path: at,
        message: `never matches: emit[${by[0] ?? 0}] takes every ${operations.join(' and ')} already`,
        remedy: 'put the rule with a condition (`when`, `changed`) first; the first match wins',
      });
    }
    if (rule.when !== undefined || rule.changed !== undefined) return;
    for (const operation of operations) if (!taken.has(operation)) taken.set(operation, index);
  });
  return problems;
}

function ruleProblems(rule: EmitRule, path: Path): Problem[] {
  const problems: Problem[] = [];
  if (rule.changed !== undefined && operationsOf(rule).some((operation) => operation !== 'update')) {
    problems.push({
      path: [...path, 'changed'],
      message: 'only updates have changed columns, and `on` names another operation',
      remedy: 'write `on: update`, and a rule of its own for the other operations',
    });
  }
  if (operationsOf(rule).includes('truncate') && (rule.when !== undefined || rule.detail !== undefined)) {
    problems.push({
      path: [...path, rule.when === undefined ? 'detail' : 'when'],
      message: 'a truncate has no row to look at',
      remedy: 'give `truncate` a rule of its own, without `when` and `detail`',
    });
  }
  if (typeof rule.detailType === 'string' && Array.from(rule.detailType).length > MAX_DETAIL_TYPE) {
    problems.push({
      path: [...path, 'detailType'],
      message: 'a text that is too long for EventBridge',
      remedy: `use at most ${MAX_DETAIL_TYPE} characters`,
    });
  }
  return problems;
}

function operationsOf(rule: EmitRule): readonly string[] {
  return typeof rule.on === 'string' ? [rule.on] : rule.on;
}
