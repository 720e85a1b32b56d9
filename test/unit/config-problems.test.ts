import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import { BanyanError } from '../../src/core/errors.ts';
import { nearest } from '../../src/core/nearest.ts';

const SECRET = 'correct-horse-battery-staple';

function base(entries: string, rest = ''): string {
  return `name: shop
legacy: { url: "postgresql://u@h/db" }
bus: { type: local }
${rest}
capture:
${entries}`;
}

async function problems(text: string, env: Record<string, string> = {}): Promise<string> {
  try {
    await parseConfig(text, { file: undefined, env });
  } catch (error) {
    if (error instanceof BanyanError && error.kind === 'config') return error.message;
    throw error;
  }
  return '';
}

/** [what is wrong, capture entries, other options, what the message says] */
const mistakes: readonly (readonly [string, string, string, readonly string[]])[] = [
  ['an unknown key names the nearest', '  - { tabel: public.x }', '', ['capture[0].tabel', 'did you mean `table`?']],
  [
    'a key near to nothing lists what may stand there',
    '  - { table: a.b }',
    'log: { colour: red }',
    ['options here: level'],
  ],
  [
    'an unknown key deep in a union',
    '  - { table: a.b, detail: { x: { colum: y } } }',
    '',
    ['capture[0].detail.x.colum', '`column`'],
  ],
  [
    'two options that exclude each other',
    '  - { table: a.b, messages: x }',
    '',
    ['capture[0].messages', 'does not go together with `table`'],
  ],
  ['an entry without table or messages', '  - { source: a }', '', ['capture[0].table', 'missing']],
  ['an entry that is no object', '  - 3', '', ['capture[0] (line 6): a number', '`messages`']],
  [
    'a word that is none of the choices',
    '  - { table: a.b, emit: [{ on: updat, detailType: X }] }',
    '',
    ['capture[0].emit[0].on', 'did you mean `update`?'],
  ],
  [
    'a number without its unit',
    '  - { table: a.b }',
    'shutdownTimeout: 20',
    ['shutdownTimeout (line 4): a number without its unit', '10s'],
  ],
  ['an unknown unit', '  - { table: a.b }', 'shutdownTimeout: 20sec', ['shutdownTimeout', '15min']],
  [
    'a duration out of its bounds',
    '  - { table: a.b }',
    'shutdownTimeout: 1ms',
    ['shutdownTimeout', 'use at least 1s'],
  ],
  ['a number out of range', '  - { table: a.b }', 'http: { port: 70000 }', ['http.port', 'use at most 65535']],
  ['a number with a fraction', '  - { table: a.b }', 'http: { port: 80.5 }', ['http.port', 'whole number']],
  ['a text that is too short', '  - { table: a.b }', `maskKey: short`, ['maskKey', 'use at least 16 characters']],
  [
    'an integer that would be rounded',
    '  - { table: a.b, detail: { x: { value: 12345678901234567890 } } }',
    '',
    ['capture[0].detail.x.value', 'in quotes'],
  ],
  ['an empty field', '  - { table: a.b, detail: { x: } }', '', ['capture[0].detail.x (line 6): empty', '`column`']],
  ['a key with a space', '  - { table: a.b, detail: { "x y": 3 } }', '', ['capture[0].detail["x y"]']],
  ['hash without a key', '  - { table: a.b, mask: { email: hash } }', '', ['capture[0].mask.email', 'maskKey']],
  [
    'hash without a key, in a field',
    '  - { table: a.b, detail: { x: { column: y, mask: hash } } }',
    '',
    ['capture[0].detail.x.mask', 'maskKey'],
  ],
  [
    'a mask on an excluded column',
    '  - { table: a.b, exclude: [x], mask: { x: redact } }',
    '',
    ['capture[0].mask.x', 'excluded'],
  ],
  ['a key column that is excluded', '  - { table: a.b, key: [id], exclude: [id] }', '', ['capture[0].key[0]', 'hash']],
  [
    'a key column that a mask makes ambiguous',
    '  - { table: a.b, key: [id], mask: { id: last4 } }',
    '',
    ['capture[0].mask.id', 'use `hash`'],
  ],
  [
    'an excluded column in the detail',
    '  - { table: a.b, exclude: [x], detail: { y: x } }',
    '',
    ['capture[0].detail.y', 'excluded'],
  ],
  [
    'changed without update',
    '  - { table: a.b, emit: [{ on: [insert, update], changed: [x], detailType: X }] }',
    '',
    ['capture[0].emit[0].changed', 'on: update'],
  ],
  [
    'a condition on a truncate',
    '  - { table: a.b, emit: [{ on: truncate, when: "true", detailType: X }] }',
    '',
    ['capture[0].emit[0].when', 'no row'],
  ],
  [
    'a rule that never matches',
    '  - { table: a.b, emit: [{ on: insert, detailType: X }, { on: insert, when: "true", detailType: Y }] }',
    '',
    ['capture[0].emit[1]', 'emit[0] takes every insert'],
  ],
  [
    'emit beside transform',
    '  - { table: a.b, transform: ./package.json, emit: [{ on: insert, detailType: X }] }',
    '',
    ['capture[0].emit', '`transform`'],
  ],
  [
    'a detail-type that is too long',
    `  - { table: a.b, emit: [{ on: insert, detailType: ${'x'.repeat(129)} }] }`,
    '',
    ['capture[0].emit[0].detailType', '128'],
  ],
  ['a source that belongs to AWS', '  - { table: a.b, source: aws.orders }', '', ['capture[0].source', 'aws.']],
  ['a table without its schema', '  - { table: orders }', '', ['capture[0].table', 'public.orders']],
  [
    'a prefix taken twice',
    '  - { messages: outbox }\n  - { messages: outbox }',
    '',
    ['capture[1].messages (line 7)', 'already'],
  ],
  ['columnList without exclude', '  - { table: a.b, columnList: true }', '', ['capture[0].columnList', '`exclude`']],
  ['the same port twice', '  - { table: a.b }', 'http: { port: 4010 }', ['bus.port', 'http.port']],
];

test.each(mistakes)('%s', async (_, entries, rest, expected) => {
  const message = await problems(base(entries, rest));
  for (const part of expected) expect(message).toContain(part);
  // One mistake is one problem.
  expect(message).toContain('has a problem:');
});

test.each([
  ['legacy: { url: "mysql://u@h/db" }', ['legacy.url', 'postgresql://']],
  ['legacy: { url: "postgresql://u@h" }', ['legacy.url', 'names no database']],
  [
    'legacy: { url: "postgresql://u@h/db", slot: { manage: false }, onWalBudget: drop-slot }',
    ['legacy.onWalBudget (line 2)', 'legacy.slot.manage: true'],
  ],
  ['legacy: { url: "not a url" }', ['legacy.url', 'not a connection URL']],
  ['legacy: { url: "postgresql://u@h/db", tls: { mode: verify-ca } }', ['legacy.tls.ca', 'authority']],
  ['legacy: { url: "postgresql://u@h/db", slot: { name: "Shop" } }', ['legacy.slot.name', 'lower-case']],
])('a connection that can not be: %s', async (legacy, expected) => {
  const message = await problems(base('  - { table: a.b }').replace('legacy: { url: "postgresql://u@h/db" }', legacy));
  for (const part of expected) expect(message).toContain(part);
});

function withBus(bus: string): string {
  return base('  - { table: a.b }').replace('{ type: local }', bus);
}

test('an option that is not built yet is refused as that', async () => {
  const message = await problems(withBus('{ type: local, claimCheck: { bucket: x } }'));
  expect(message).toContain('bus.claimCheck (line 3): the claim check');
  expect(message).toContain('not yet supported');
});

async function region(bus: string, env: Record<string, string> = {}): Promise<string | undefined> {
  return (await parseConfig(withBus(bus), { file: undefined, env })).config.bus.region;
}

describe('the region of the bus', () => {
  const arn = 'arn:aws:events:eu-west-1:123456789012:event-bus/shop';

  test('comes from the option, the ARN, or the environment', async () => {
    expect(await region('{ region: eu-north-1 }', { AWS_REGION: 'us-east-1' })).toBe('eu-north-1');
    expect(await region(`{ name: "${arn}" }`, { AWS_REGION: 'us-east-1' })).toBe('eu-west-1');
    expect(await region('{ name: shop }', { AWS_REGION: 'us-east-1' })).toBe('us-east-1');
  });

  test('is asked for where none of them says it', async () => {
    expect(await problems(withBus('{ name: shop }'))).toContain('bus.region (line 3): missing, and neither AWS_REGION');
  });

  test('may not contradict the ARN', async () => {
    expect(await problems(withBus(`{ name: "${arn}", region: us-east-1 }`))).toContain('write eu-west-1');
  });

  test('an ARN of something else is refused', async () => {
    expect(await problems(withBus('{ name: "arn:aws:sqs:eu-west-1:123456789012:shop", region: a }'))).toContain(
      'bus.name',
    );
  });
});

test('all problems come at once, in the order of the file, also those between options', async () => {
  const message = await problems(
    base('  - { tabel: public.x }\n  - { table: a.b, mask: { x: hash } }', 'http: { port: x }\nlgo: {}'),
  );
  const order = ['http.port', 'lgo', 'capture[0].tabel', 'capture[1].mask.x'].map((path) => message.indexOf(path));
  expect(order.every((at) => at > 0)).toBe(true);
  expect(order).toEqual(order.toSorted((a, b) => a - b));
  expect(message).toContain('has 4 problems');
});

test('a mistake in YAML has line and column', async () => {
  expect(await problems('name: shop\nname: shop2\n')).toMatch(/line 2, column 1: Map keys must be unique/);
  expect(await problems('name: [shop\n')).toMatch(/line \d, column \d/);
  expect(await problems('')).toContain('empty');
  expect(await problems('- a\n')).toContain('not an object');
});

test('anchors, aliases and merge keys work', async () => {
  const { config } = await parseConfig(
    base('  - { <<: &common { exclude: [secret], order: relaxed }, table: a.b }\n  - { <<: *common, table: a.c }'),
    { file: undefined, env: {} },
  );
  expect(config.capture[1]).toMatchObject({ table: 'a.c', exclude: ['secret'], order: 'relaxed' });
});

test('no problem ever quotes a value', async () => {
  const places = [
    `name: ${SECRET}!`,
    `legacy: { url: "http://${SECRET}" }`,
    `bus: { type: ${SECRET} }`,
    `bus: { type: local, concurrency: ${SECRET} }`,
    `http: { host: "${SECRET}" }`,
    `maskKey: [${SECRET}]`,
  ];
  for (const place of places) {
    const key = place.split(':')[0] ?? '';
    const text = base('  - { table: a.b }')
      .split('\n')
      .map((line) => (line.startsWith(`${key}:`) ? place : line));
    if (!text.includes(place)) text.splice(3, 0, place);
    const message = await problems(text.join('\n'));
    expect(message).toContain('problem');
    expect(message).not.toContain(SECRET);
  }
});

test('whatever JSON a file holds, it is read or refused, never a crash', async () => {
  const keys = fc.constantFrom(
    'name',
    'legacy',
    'bus',
    'capture',
    'http',
    'table',
    'emit',
    'detail',
    'on',
    'url',
    'x',
    'value',
  );
  const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 5 },
      fc.constantFrom<unknown>('public.a', '${X:-}', '${Y:-1}', 'insert', '5ms', 7, true, null, 'x'),
      fc.array(tie('tree'), { maxLength: 3 }),
      fc.dictionary(keys, tie('tree'), { maxKeys: 5 }),
    ),
  }));
  await fc.assert(
    fc.asyncProperty(tree, async (document) => {
      expect(await problems(JSON.stringify(document))).toBeTypeOf('string');
    }),
    { numRuns: 300 },
  );
});

describe('nearest', () => {
  test.each([
    ['tabel', ['table', 'detail'], 'table'],
    ['detaiType', ['detail', 'detailType'], 'detailType'],
    ['DETAIL', ['detail'], 'detail'],
    ['xyz', ['table', 'detail'], undefined],
    ['', ['table'], undefined],
  ])('%s among %j is %s', (word, candidates, expected) => {
    expect(nearest(word, candidates)).toBe(expected);
  });

  test('finds a word after any single edit', () => {
    fc.assert(
      fc.property(
        fc.stringMatching(/^[a-z]{4,12}$/),
        fc.nat(),
        fc.constantFrom('drop', 'double', 'swap'),
        (word, at, edit) => {
          const index = at % (word.length - 1);
          const letters = Array.from(word);
          if (edit === 'drop') letters.splice(index, 1);
          if (edit === 'double') letters.splice(index, 0, letters[index] ?? '');
          if (edit === 'swap') letters.splice(index, 2, letters[index + 1] ?? '', letters[index] ?? '');
          expect(nearest(letters.join(''), [word, 'zzzzzzzzzzzzzzzzzzzzzz'])).toBe(word);
        },
      ),
    );
  });
});
