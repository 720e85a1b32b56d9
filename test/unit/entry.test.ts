import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { entrySizeBytes, toEntry } from '../../src/bus/entry.ts';
import type { Event } from '../../src/core/event.ts';

const event: Event = {
  id: '1-1-0-0',
  sequence: '0001',
  source: 'legacy.shop',
  detailType: 'OrderShipped',
  timeSeconds: 1_772_366_400,
  resources: ['banyan:shop:public.orders:42'],
  detail: '{"data":{"name":"Zoë"}}',
  bus: undefined,
  group: 'g',
  previousGroup: undefined,
  sizeBytes: 0,
};

describe('toEntry', () => {
  test('carries the detail verbatim and the commit time in whole seconds', () => {
    expect(toEntry(event, 'shop-legacy')).toEqual({
      EventBusName: 'shop-legacy',
      Source: 'legacy.shop',
      DetailType: 'OrderShipped',
      Detail: '{"data":{"name":"Zoë"}}',
      Resources: ['banyan:shop:public.orders:42'],
      Time: new Date('2026-03-01T12:00:00Z'),
    });
  });

  test('goes to the bus that the mapping chose', () => {
    expect(toEntry({ ...event, bus: 'tenant-a' }, 'shop-legacy').EventBusName).toBe('tenant-a');
  });
});

describe('entrySizeBytes', () => {
  test('counts UTF-8 bytes, and 14 for the time', () => {
    expect(entrySizeBytes(event)).toBe(14 + 11 + 12 + 24 + 28);
  });

  test('counts every resource and nothing else', () => {
    const text = fc.string({ unit: 'grapheme', maxLength: 50 });
    fc.assert(
      fc.property(text, text, text, fc.array(text, { maxLength: 4 }), (source, detailType, detail, resources) => {
        const parts = [source, detailType, detail, ...resources];
        const expected = 14 + parts.reduce((bytes, part) => bytes + new TextEncoder().encode(part).length, 0);
        expect(entrySizeBytes({ source, detailType, detail, resources })).toBe(expected);
      }),
    );
  });
});
