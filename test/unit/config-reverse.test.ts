import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import { formatPath } from '../../src/config/problem.ts';
import { ENVELOPE_FIELDS, parseReference } from '../../src/config/reference.ts';
import type { Config } from '../../src/config/schema.ts';
import { BanyanError } from '../../src/core/errors.ts';

const QUEUE = 'https://sqs.eu-west-1.amazonaws.com/123456789012/back';

function withReverse(apply: string, rest: { options?: string; top?: string; queue?: string } = {}): string {
  return `name: shop
legacy: { url: "postgresql://u@h/db" }
bus: { type: local }
capture: [{ table: public.orders }]
${rest.top ?? ''}
reverse:
  queue: "${rest.queue ?? QUEUE}"
  ${rest.options ?? ''}
  apply:
${apply}`;
}

const MATCH = 'match: { source: [shop.orders] }';
const UPDATE = `${MATCH}, table: public.orders, operation: update, key: { id: detail.id }`;
const FULL = `    - { ${UPDATE}, set: { status: detail.status } }`;

async function load(text: string, env: Record<string, string> = {}): Promise<Config> {
  return (await parseConfig(text, { file: undefined, env })).config;
}

async function problems(text: string): Promise<string> {
  try {
    await load(text);
  } catch (error) {
    if (error instanceof BanyanError && error.kind === 'config') return error.message;
    throw error;
  }
  return '';
}

test('an entry has defaults that lose nothing', async () => {
  const { reverse } = await load(withReverse(FULL));
  expect(reverse).toEqual({
    queue: QUEUE,
    region: 'eu-west-1',
    concurrency: 8,
    visibilityTimeout: 60_000,
    waitFor: 600_000,
    horizon: 14 * 86_400_000,
    maxParkedPerMinute: 1_000,
    apply: [
      {
        match: { source: ['shop.orders'] },
        table: 'public.orders',
        operation: 'update',
        key: { id: 'detail.id' },
        set: { status: 'detail.status' },
        carries: 'full',
        conflict: 'stage',
        gaps: 'ignore',
        replay: 'park',
      },
    ],
  });
});

test('without the section there is no reverse sync', async () => {
  expect((await load(withReverse(FULL).split('\nreverse:')[0] ?? '')).reverse).toBeUndefined();
});

describe('the region of the queue', () => {
  test.each([
    ['its option', 'region: eu-north-1', 'http://127.0.0.1:4010/000000000000/back', 'eu-north-1'],
    ['its URL', '', 'https://sqs.us-gov-west-1.amazonaws.com/123456789012/back.fifo', 'us-gov-west-1'],
    ['the older form of its URL', '', 'https://eu-west-3.queue.amazonaws.com/123456789012/back', 'eu-west-3'],
    ['the region of the bus', '', 'http://127.0.0.1:4010/000000000000/back', 'eu-central-1'],
  ])('comes from %s', async (_, options, queue, expected) => {
    const { reverse } = await load(withReverse(FULL, { options, queue }), { AWS_REGION: 'eu-central-1' });
    expect(reverse?.region).toBe(expected);
  });

  test('is nobody’s where the queue is an embedded one', async () => {
    const { reverse } = await load(withReverse(FULL, { queue: 'http://127.0.0.1:4010/000000000000/back' }));
    expect(reverse?.region).toBeUndefined();
  });
});

/** [what is wrong, entries, other options, what the message says] */
const mistakes: readonly (readonly [string, string, Parameters<typeof withReverse>[1], readonly string[]])[] = [
  [
    'state in another database',
    FULL,
    { top: 'state: { url: "postgresql://u@h/other" }' },
    ['state.url (line 5): does not go together with `reverse`', 'leave state.url out'],
  ],
  ['a queue that is no URL', FULL, { queue: 'back' }, ['reverse.queue', 'get-queue-url']],
  ['a queue by its ARN', FULL, { queue: 'arn:aws:sqs:eu-west-1:123456789012:back' }, ['reverse.queue', 'an ARN where']],
  ['another region than the queue’s', FULL, { options: 'region: us-east-1' }, ['reverse.region', 'write eu-west-1']],
  ['an endpoint without its scheme', FULL, { options: 'endpoint: "localhost:4566"' }, ['reverse.endpoint', 'http']],
  ['a horizon that forgets at once', FULL, { options: 'horizon: 1s' }, ['reverse.horizon', 'use at least 1min']],
  ['a mistyped option', FULL, { options: 'waitfor: 1min' }, ['reverse.waitfor', 'did you mean `waitFor`?']],
  [
    'a mistyped option of an entry',
    `    - { ${UPDATE}, sett: { a: detail.a }, set: { b: detail.b } }`,
    {},
    ['reverse.apply[0].sett'],
  ],
  [
    'a match expression that EventBridge does not know',
    FULL.replace('[shop.orders]', '[{ prefixx: shop }]'),
    {},
    ['reverse.apply[0].match.source[0].prefixx (line 10): not a pattern', 'Unrecognized match type prefixx'],
  ],
  ['a pattern without a list', FULL.replace('[shop.orders]', 'shop.orders'), {}, ['apply[0].match.source', 'an array']],
  ['an empty pattern', FULL.replace('{ source: [shop.orders] }', '{}'), {}, ['apply[0].match', 'Empty objects']],
  [
    'a table without its schema',
    FULL.replace('public.orders', 'orders'),
    {},
    ['reverse.apply[0].table', 'public.orders'],
  ],
  ['a pattern of tables', FULL.replace('public.orders', 'tenant_*.orders'), {}, ['apply[0].table', 'one table']],
  [
    'a path that begins nowhere',
    FULL.replace('detail.status', 'details.status'),
    {},
    ['reverse.apply[0].set.status', 'did you mean `detail`?'],
  ],
  [
    'a path that is none',
    FULL.replace('detail.status', '"detail..status"'),
    {},
    ['reverse.apply[0].set.status', 'at character 7', '`detail.lines[0].sku`'],
  ],
  [
    'a version that is a constant',
    FULL.replace(', set:', ', version: 3, set:'),
    {},
    ['reverse.apply[0].version', '`cel`'],
  ],
  ['an empty key', FULL.replace('{ id: detail.id }', '{}'), {}, ['reverse.apply[0].key', 'primary key']],
  [
    'a key that is NULL',
    FULL.replace('{ id: detail.id }', '{ id: { value: null } }'),
    {},
    ['apply[0].key.id', 'no row'],
  ],
  [
    'a key column that is set',
    FULL.replace('{ status:', '{ id: detail.id, status:'),
    {},
    ['reverse.apply[0].set.id', 'a column of the key'],
  ],
  ['a delete that sets', FULL.replace('update', 'delete'), {}, ['reverse.apply[0].set', '`operation: delete`']],
  ['an update that sets nothing', `    - { ${UPDATE} }`, {}, ['reverse.apply[0]', 'sets nothing']],
  ['an update with an empty set', `    - { ${UPDATE}, set: {} }`, {}, ['reverse.apply[0].set', 'sets nothing']],
  [
    'a patch that inserts',
    FULL.replace('update', 'upsert').replace(', set:', ', carries: patch, set:'),
    {},
    ['reverse.apply[0].carries', '`operation: upsert`'],
  ],
  ['gaps without a version', FULL.replace(', set:', ', gaps: park, set:'), {}, ['reverse.apply[0].gaps', 'no gap can']],
  [
    'gaps between times',
    FULL.replace(', set:', ', gaps: park, version: time, set:'),
    {},
    ['reverse.apply[0].gaps', 'times have gaps'],
  ],
  [
    'an insert that expects a row',
    FULL.replace('update', 'insert').replace(', set:', ', expect: { a: detail.a }, set:'),
    {},
    ['reverse.apply[0].expect', '`operation: insert`'],
  ],
  [
    'the same entry twice',
    `${FULL}\n${FULL.replace('detail.status', 'detail.newStatus')}`,
    {},
    ['reverse.apply[1] (line 11): the same events', 'apply[0]'],
  ],
  [
    'a table found by two keys',
    `${FULL}\n${FULL.replace('{ id: detail.id }', '{ number: detail.number }')}`,
    {},
    ['reverse.apply[1].key', 'neither would know the other’s versions'],
  ],
];

test.each(mistakes)('%s', async (_, entries, rest, expected) => {
  const message = await problems(withReverse(entries, rest));
  for (const part of expected) expect(message).toContain(part);
  // One mistake is one problem.
  expect(message).toContain('has a problem:');
});

test('one broken entry does not hide what is wrong with another', async () => {
  const message = await problems(
    withReverse(`    - { table: 3 }\n${FULL.replace('public.orders', 'orders')}`, { queue: 'nowhere' }),
  );
  for (const path of ['apply[0].match', 'apply[0].table', 'apply[1].table', 'reverse.queue']) {
    expect(message).toContain(path);
  }
});

test('two entries may write other columns, or take other events, of one table', async () => {
  const text = `${FULL}
${FULL.replace('{ status: detail.status }', '{ note: detail.note }')}
${FULL.replace('[shop.orders]', '[shop.billing]')}
    - { ${MATCH}, table: public.orders, operation: delete, key: { id: detail.id } }`;
  expect((await load(withReverse(text))).reverse?.apply).toHaveLength(4);
});

describe('a reference', () => {
  test.each([
    ['time', ['time']],
    ['detail-type', ['detail-type']],
    ['detail.orderId', ['detail', 'orderId']],
    ['detail.lines[0].sku', ['detail', 'lines', 0, 'sku']],
    ['detail["a.b"][12]["c d"].e', ['detail', 'a.b', 12, 'c d', 'e']],
    ['detail.grün.$x', ['detail', 'grün', '$x']],
    [String.raw`detail["say \"hi\" ]"]`, ['detail', 'say "hi" ]']],
    ['detail.__proto__', ['detail', '__proto__']],
  ])('%s', (text, path) => {
    expect(parseReference(text)).toEqual({ ok: true, path });
  });

  test.each([
    '',
    '.',
    '.detail',
    'detail.',
    'detail..a',
    'detail[',
    'detail[-1]',
    'detail[01]',
    'detail[a]',
    'detail a',
  ])('%j is none', (text) => expect(parseReference(text).ok).toBe(false));

  test('reads back what messages print', () => {
    const step = fc.oneof(fc.nat({ max: 1000 }), fc.string());
    fc.assert(
      fc.property(fc.constantFrom(...ENVELOPE_FIELDS), fc.array(step), (first, rest) => {
        const path = [first, ...rest];
        expect(parseReference(formatPath(path))).toEqual({ ok: true, path });
      }),
    );
  });

  test('is refused or read, whatever it is, in no time', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => void parseReference(text)));
    const long = `detail${'["'.repeat(50_000)}`;
    expect(parseReference(long).ok).toBe(false);
  });
});
