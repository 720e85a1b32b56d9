import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type ApplyMessage,
  applyPrefix,
  formatMessage,
  parseMessage,
  shortXid,
  type TagMessage,
} from '../../src/postgres/apply-tag.ts';

const key = { secret: Buffer.alloc(32, 7), xid: 740 };

const tag: TagMessage = {
  kind: 'tag',
  event: 'evt-1',
  producer: 'shop.orders',
  hops: 0,
  table: 16_400,
  columns: ['id', 'Straße'],
  key: ['42', 'ä"\\'],
  op: 'update',
};

const messages: readonly ApplyMessage[] = [
  tag,
  { kind: 'echo', event: 'evt-1' },
  { kind: 'correction', event: 'evt "1"' },
  {
    kind: 'refusal',
    event: 'evt-1',
    producer: 'shop.orders',
    hops: 2,
    table: 4_294_967_295,
    columns: ['id'],
    key: ['1'],
    op: 'update',
    row: { id: '1', note: null, emoji: '🌳' },
  },
  {
    kind: 'refusal',
    event: 'e',
    producer: 'p',
    hops: 0,
    table: 1,
    columns: ['id'],
    key: ['1'],
    op: 'delete',
    row: null,
  },
  { kind: 'selftest', token: 'abc' },
  {
    kind: 'stage',
    move: 7,
    table: 'public.Bestellungen für "Süd"',
    from: 'shadow',
    to: 'dual',
    actor: 'Zoë 🌳',
    at: '2026-03-01T12:00:00.000Z',
    gates: [{ code: 'PARITY', result: 'unknown', waived: true }],
  },
];

describe('a message of the apply transaction', () => {
  test.for(messages)('is read as it was written: $kind', (message) => {
    expect(parseMessage(formatMessage(message, key), key)).toEqual(message);
  });

  test('is ASCII, whatever is in it', () => {
    for (const message of messages) expect(formatMessage(message, key)).toMatch(/^[\x20-\x7e]+$/);
  });

  test('is whole for any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string(), (event, producer) => {
        const message = { ...tag, event, producer };
        expect(parseMessage(formatMessage(message, key), key)).toEqual(message);
      }),
    );
  });

  test('is not accepted when it was copied into another transaction', () => {
    expect(parseMessage(formatMessage(tag, key), { ...key, xid: 741 })).toBeUndefined();
  });

  test('is not accepted under another secret', () => {
    const forged = formatMessage(tag, { ...key, secret: Buffer.alloc(32, 8) });
    expect(parseMessage(forged, key)).toBeUndefined();
  });

  test('is not accepted with any one character changed', () => {
    const content = formatMessage(tag, key);
    for (let at = 0; at < content.length; at++) {
      const other = content[at] === 'x' ? 'y' : 'x';
      expect(parseMessage(content.slice(0, at) + other + content.slice(at + 1), key)).toBeUndefined();
    }
  });

  test('is not accepted when a part of it is hidden behind a second hash', () => {
    const content = formatMessage({ kind: 'echo', event: 'e' }, key);
    const appended = `${content.slice(0, -1)},"kind":"tag","mac":"${'A'.repeat(22)}"}`;
    expect(parseMessage(appended, key)).toBeUndefined();
  });

  test.for([
    '',
    '{}',
    'null',
    '[]',
    '{"mac":"AAAAAAAAAAAAAAAAAAAAAA"}',
    '{"v":1,"mac":"AAAAAAAAAAAAAAAAAAAAAA"}',
    '\0',
  ])('is not made out of %j', (content) => {
    expect(parseMessage(content, key)).toBeUndefined();
  });

  test('goes by the low half of the transaction id, as the stream shows it', () => {
    expect(shortXid('740')).toBe(740);
    expect(shortXid('4294967296')).toBe(0);
    expect(shortXid('8589934591')).toBe(4_294_967_295);
  });

  test('has a prefix of its own for each connector', () => {
    expect(applyPrefix('shop')).toBe('banyan.shop.reverse');
  });
});
