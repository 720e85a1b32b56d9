import { compilePattern, InvalidPatternError } from '../core/pattern.ts';
import { nameRules } from './capture-rules.ts';
import type { Path, Problem } from './problem.ts';
import { parseReference } from './reference.ts';
import type { ApplyEntry, Derived, EventField, Reverse } from './reverse-schema.ts';

/** What of `reverse` satisfies the schema; undefined: that part is not usable. */
export interface ReverseParts {
  readonly queue: string | undefined;
  readonly region: string | undefined;
  readonly endpoint: string | undefined;
  readonly apply: readonly (ApplyEntry | undefined)[];
}

export function reverseRules(reverse: ReverseParts, { hasStateUrl }: { hasStateUrl: boolean }): Problem[] {
  const problems = queueRules(reverse);
  if (hasStateUrl) {
    problems.push({
      path: ['state', 'url'],
      message: 'does not go together with `reverse`, which writes row and state in one transaction',
      remedy: 'leave state.url out: the state is then kept in the legacy database',
    });
  }
  reverse.apply.forEach((entry, index) => {
    if (entry !== undefined) problems.push(...entryRules(entry, ['reverse', 'apply', index]));
  });
  return [...problems, ...rulesBetween(reverse.apply)];
}

/** Where the queue is: the option, else what its URL says, else the region of the bus. */
export function queueRegion(
  reverse: Pick<Reverse, 'queue' | 'region'>,
  busRegion: string | undefined,
): string | undefined {
  return reverse.region ?? regionOfUrl(reverse.queue) ?? busRegion;
}

/** `https://sqs.eu-west-1.amazonaws.com/123456789012/back`, and the older form with the region first. */
function regionOfUrl(url: string): string | undefined {
  const host = URL.parse(url)?.hostname ?? '';
  return /^(?:sqs(?:-fips)?\.([a-z0-9-]+)|([a-z0-9-]+)\.queue)\.amazonaws\.com(?:\.cn)?$/
    .exec(host)
    ?.slice(1)
    .find((region) => region !== undefined);
}

function queueRules({ queue, region, endpoint }: ReverseParts): Problem[] {
  const problems: Problem[] = [];
  if (endpoint !== undefined && !isHttp(endpoint)) {
    problems.push({
      path: ['reverse', 'endpoint'],
      message: 'a text that is not an http or https URL',
      remedy: 'write it with its scheme, such as `https://sqs.eu-west-1.amazonaws.com`',
    });
  }
  if (queue === undefined) return problems;
  if (!isHttp(queue) || !/^\/[^/]+\/[^/]+$/.test(URL.parse(queue)?.pathname ?? '')) {
    problems.push({
      path: ['reverse', 'queue'],
      message: queue.startsWith('arn:')
        ? 'an ARN where the URL of a queue belongs'
        : 'a text that is not the URL of a queue',
      remedy:
        'write `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`; `aws sqs get-queue-url --queue-name NAME` prints it',
    });
    return problems;
  }
  const named = regionOfUrl(queue);
  if (region !== undefined && named !== undefined && region !== named) {
    problems.push({
      path: ['reverse', 'region'],
      message: 'another region than the one in the queue’s URL',
      remedy: `write ${named}, or leave reverse.region out`,
    });
  }
  return problems;
}

function entryRules(entry: ApplyEntry, path: Path): Problem[] {
  return [
    ...patternRules(entry, [...path, 'match']),
    ...tableRules(entry, [...path, 'table']),
    ...referenceRules(entry, path),
    ...columnRules(entry, path),
    ...guardRules(entry, path),
  ];
}

function patternRules(entry: ApplyEntry, path: Path): Problem[] {
  try {
    compilePattern(entry.match);
    return [];
  } catch (error) {
    if (!(error instanceof InvalidPatternError)) throw error;
    const steps = error.path
      .split(/[.[\]]+/)
      .filter((step) => step !== '')
      .map((step) => (/^\d+$/.test(step) ? Number(step) : step));
    return [
      {
        path: [...path, ...steps],
        message: `not a pattern that EventBridge would take: ${error.reason}`,
        remedy: 'write it as in a rule, such as `{ source: [shop.orders], detail-type: [OrderShipped] }`',
      },
    ];
  }
}

function tableRules({ table }: ApplyEntry, path: Path): Problem[] {
  if (/[*?]/.test(table.replaceAll(/"(?:[^"]|"")*"/g, '_'))) {
    return [
      { path, message: 'a pattern, and an event is written to one table', remedy: 'write an entry for each table' },
    ];
  }
  return nameRules(table, path);
}

function referenceRules(entry: ApplyEntry, path: Path): Problem[] {
  const fields: (readonly [Path, EventField | Derived])[] = [];
  for (const option of ['key', 'set', 'expect'] as const) {
    for (const [column, field] of Object.entries(entry[option] ?? {})) fields.push([[...path, option, column], field]);
  }
  for (const option of ['version', 'basedOn', 'id', 'hops'] as const) {
    const field = entry[option];
    if (field !== undefined) fields.push([[...path, option], field]);
  }
  return fields.flatMap(([at, field]) => {
    if (typeof field !== 'string') return [];
    const parsed = parseReference(field);
    return parsed.ok ? [] : [{ path: at, message: parsed.message, remedy: parsed.remedy }];
  });
}

function columnRules(entry: ApplyEntry, path: Path): Problem[] {
  const problems: Problem[] = [];
  const keys = Object.keys(entry.key);
  const set = Object.keys(entry.set ?? {});
  if (keys.length === 0) {
    problems.push({
      path: [...path, 'key'],
      message: 'an empty object',
      remedy: 'name the columns of the primary key, such as `{ id: detail.orderId }`',
    });
  }
  for (const column of keys) {
    const field = entry.key[column];
    if (typeof field === 'object' && 'value' in field && field.value === null) {
      problems.push({
        path: [...path, 'key', column],
        message: 'a key that is always NULL finds no row',
        remedy: 'name the path in the event that tells the row',
      });
    }
  }
  for (const column of set.filter((name) => keys.includes(name))) {
    problems.push({
      path: [...path, 'set', column],
      message: 'a column of the key, and the key of a row is never changed',
      remedy: 'take it out of `set`; it is in `key` already',
    });
  }
  if (entry.operation === 'delete' && entry.set !== undefined) {
    problems.push({
      path: [...path, 'set'],
      message: 'does not go together with `operation: delete`',
      remedy: 'take `set` out, or write `operation: update`',
    });
  }
  if (entry.operation === 'update' && set.length === 0) {
    problems.push({
      path: entry.set === undefined ? path : [...path, 'set'],
      message: 'an update that sets nothing',
      remedy: 'name in `set` the columns that the event writes',
    });
  }
  return problems;
}

/** Versions, conflicts, and what they go together with. */
function guardRules(entry: ApplyEntry, path: Path): Problem[] {
  const problems: Problem[] = [];
  if (entry.carries === 'patch' && entry.operation !== 'update') {
    problems.push({
      path: [...path, 'carries'],
      message: `\`patch\` does not go together with \`operation: ${entry.operation}\``,
      remedy: 'a patch changes a row that is there: write `operation: update`, or leave `carries` out',
    });
  }
  if (entry.gaps === 'park' && entry.version === undefined) {
    problems.push({
      path: [...path, 'gaps'],
      message: '`park` without a version: no gap can be seen',
      remedy: 'name in `version` the path of a number that grows by one with every change of the key',
    });
  }
  if (entry.gaps === 'park' && entry.version === 'time') {
    problems.push({
      path: [...path, 'gaps'],
      message: '`park` with a time as version: times have gaps always',
      remedy: 'name in `version` the path of a number that grows by one, or leave `gaps` out',
    });
  }
  for (const option of ['basedOn', 'expect'] as const) {
    if (entry.operation !== 'insert' || entry[option] === undefined) continue;
    problems.push({
      path: [...path, option],
      message: 'does not go together with `operation: insert`, which knows of no row before',
      remedy: `take \`${option}\` out, or write \`operation: upsert\``,
    });
  }
  return problems;
}

/** Rules between entries of one table. */
function rulesBetween(entries: readonly (ApplyEntry | undefined)[]): Problem[] {
  const problems: Problem[] = [];
  const keyOf = new Map<string, { readonly columns: string; readonly index: number }>();
  const seen = new Map<string, number>();
  entries.forEach((entry, index) => {
    if (entry === undefined) return;
    const path = ['reverse', 'apply', index];
    const columns = Object.keys(entry.key).toSorted();
    const first = keyOf.get(entry.table);
    if (first === undefined) keyOf.set(entry.table, { columns: columns.join('\n'), index });
    else if (first.columns !== columns.join('\n')) {
      problems.push({
        path: [...path, 'key'],
        message: `other columns than those of apply[${first.index}], which writes the same table: neither would know the other’s versions`,
        remedy: 'find the rows of a table by the same key in all its entries',
      });
    }
    const identity = JSON.stringify([
      entry.match,
      entry.table,
      entry.operation,
      columns.map((column) => [column, entry.key[column]]),
      Object.keys(entry.set ?? {}).toSorted(),
    ]);
    const twin = seen.get(identity);
    if (twin !== undefined) {
      problems.push({
        path,
        message: `the same events, table, operation, key and columns as apply[${twin}]`,
        remedy: 'remove one of the two',
      });
    }
    seen.set(identity, twin ?? index);
  });
  return problems;
}

function isHttp(url: string): boolean {
  return /^https?:$/.test(URL.parse(url)?.protocol ?? '');
}
