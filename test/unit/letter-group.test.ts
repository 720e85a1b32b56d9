import { expect, test } from 'vitest';
import { groupForPeople } from '../../src/cli/letter-group.ts';
import { configSchema } from '../../src/config/schema.ts';
import { masker } from '../../src/mapping/mask.ts';

const maskKey = 'a key of sixteen characters';

function groups(capture: object, key: readonly string[] = ['email']): (group: string) => string {
  return groupForPeople(
    configSchema.parse({
      name: 'shop',
      legacy: { url: 'unused' },
      maskKey,
      capture: [{ table: 'public.customers', ...capture }],
      reverse: {
        queue: 'unused',
        apply: [
          {
            match: { source: ['shop'] },
            table: 'public.customers',
            operation: 'delete',
            key: Object.fromEntries(key.map((name) => [name, `detail.${name}`])),
          },
        ],
      },
    }),
  );
}

const GROUP = 'public.customers:ada%40example.org';

test('the key in a group is masked as the table’s events mask it', () => {
  expect(groups({ mask: { email: 'redact' } })(GROUP)).toBe('public.customers:%5Bredacted%5D');
  expect(groups({ mask: { email: 'last4' } })(GROUP)).toBe('public.customers:****.org');
  expect(groups({ mask: { email: 'hash' } })(GROUP)).toBe(
    `public.customers:${masker('hash', maskKey)('ada@example.org')}`,
  );
  expect(groups({ mask: { name: 'redact' } })(GROUP)).toBe(GROUP);
  expect(groups({ exclude: ['email'] })(GROUP)).toBe('public.customers:…');
});

test('a part of a key is hidden where nobody knows which column it is, and the mask would tell them apart', () => {
  const key = ['shop', 'email'];
  expect(groups({ mask: { email: 'redact' } }, key)('public.customers:1,ada')).toBe('public.customers:…,…');
  expect(groups({ mask: { email: 'redact', shop: 'redact' } }, key)('public.customers:1,ada')).toBe(
    'public.customers:%5Bredacted%5D,%5Bredacted%5D',
  );
  expect(groups({}, key)('public.customers:1,ada')).toBe('public.customers:1,ada');
});

test('of a table that no entry names any more the key is hidden; held tables and single messages have none', () => {
  const groupOf = groups({});
  expect(groupOf('public.orders:1')).toBe('public.orders:…');
  expect(groupOf('table:public.customers')).toBe('table:public.customers');
  expect(groupOf('letter 7')).toBe('letter 7');
});
