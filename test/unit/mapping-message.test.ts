import { describe, expect, test } from 'vitest';
import { mapMessage } from '../../src/mapping/message.ts';
import { detailOf, transaction } from '../support/mapping-bed.ts';

const options = {
  name: 'shop',
  capture: { messages: 'outbox' },
  identity: { systemId: '7412345678901234567', epoch: 1 },
} as const;

const map = (content: unknown) =>
  mapMessage(
    {
      operation: 'message',
      prefix: 'outbox',
      content: typeof content === 'string' ? content : JSON.stringify(content),
      transaction,
      ordinal: 3,
    },
    options,
  );

const groupOf = (key?: unknown) => map({ 'detail-type': 'X', detail: {}, ...(key === undefined ? {} : { key }) }).group;

describe('a logical message', () => {
  test('becomes the event that it says, with metadata', () => {
    const event = map({ 'detail-type': 'OrderPaid', key: { id: 4 }, detail: { orderId: 4 } });
    expect(event).toMatchObject({
      id: '7412345678901234567-1-0000000001A2B3C8-3',
      source: 'legacy.shop',
      detailType: 'OrderPaid',
      bus: undefined,
      sizeBytes: 14 + Buffer.byteLength(`legacy.shopOrderPaid${event.resources.join('')}${event.detail}`),
    });
    expect(detailOf(event)).toMatchObject({
      metadata: {
        id: event.id,
        sequence: event.sequence,
        operation: 'message',
        key: { id: 4 },
        transaction: { id: 740, lsn: '0/1A2B3C8' },
        origin: 'legacy',
      },
      data: { orderId: 4 },
    });
  });

  test('names source, bus and resources itself where it wants to', () => {
    const content = { 'detail-type': 'X', detail: {}, source: 'own', bus: 'other', resources: ['r'] };
    expect(map(content)).toMatchObject({ source: 'own', bus: 'other', resources: ['r'] });
  });

  test('keeps the digits of its numbers', () => {
    const event = map('{"detail-type": "X", "detail": {"a": 9007199254740993, "b": 12.50, "c": [1e400]}}');
    expect(event.detail).toContain('"data":{"a":9007199254740993,"b":12.50,"c":[1e400]}');
  });

  test('stays in order with the others of its key', () => {
    expect(groupOf({ id: 4 })).toBe(groupOf({ id: 4 }));
    expect(new Set([groupOf({ id: 4 }), groupOf({ id: 5 }), groupOf('a'), groupOf()]).size).toBe(4);
  });

  test.each([
    ['it is no JSON', 'secret'],
    ['it is no JSON object', '[1]'],
    ['no text `detail-type`', { detail: {} }],
    ['`detail` is no object', { 'detail-type': 'X', detail: 'secret' }],
    ['a field detailType', { detailType: 'X', detail: {} }],
    ['`bus` is no text', { 'detail-type': 'X', detail: {}, bus: 1 }],
    ['`resources` is no list', { 'detail-type': 'X', detail: {}, resources: [1] }],
  ])('is parked with the reason: %s', (message, content) => {
    expect(() => map(content)).toThrow(
      expect.objectContaining({ kind: 'mapping-failed', message: expect.stringContaining(message) as string }),
    );
    expect(() => map(content)).not.toThrow('secret');
  });
});
