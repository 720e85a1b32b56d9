import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Batcher } from '../../src/flow/batch.ts';

interface Item {
  readonly bytes: number;
  readonly bus?: string;
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

function batcher(onDue: () => void = () => {}) {
  return new Batcher<Item>({
    maxEntries: 3,
    maxBytes: 100,
    lingerMs: 5,
    sizeOf: ({ bytes }) => bytes,
    keyOf: ({ bus }) => bus,
    onDue,
  });
}

const small: Item = { bytes: 1 };

describe('Batcher', () => {
  test('gives a batch as soon as it is full by count, and nothing before', () => {
    const batches = batcher();
    expect(batches.add(small)).toBe(false);
    expect(batches.add(small)).toBe(false);
    expect(batches.take()).toBeUndefined();
    expect(batches.add(small)).toBe(true);
    expect(batches.take()).toHaveLength(3);
    expect(batches.size).toBe(0);
  });

  test('closes a batch that the next item does not fit into', () => {
    const batches = batcher();
    batches.add({ bytes: 60 });
    expect(batches.add({ bytes: 41 })).toBe(true);
    expect(batches.take()).toEqual([{ bytes: 60 }]);
    expect(batches.take()).toBeUndefined();
    expect(batches.size).toBe(1);
  });

  test('never mixes items of different keys', () => {
    const batches = batcher();
    for (const bus of ['a', 'b', 'a', 'b', 'a']) batches.add({ bytes: 1, bus });
    expect(batches.take()).toEqual([1, 2, 3].map(() => ({ bytes: 1, bus: 'a' })));
    expect(batches.take()).toBeUndefined();
    expect(batches.takeAny()).toHaveLength(2);
  });

  test('tells once when a batch has waited its time, by one timer for all batches', () => {
    const onDue = vi.fn<() => void>();
    const batches = batcher(onDue);
    batches.add({ bytes: 1, bus: 'a' });
    vi.advanceTimersByTime(2);
    batches.add({ bytes: 1, bus: 'b' });
    expect(vi.getTimerCount()).toBe(1);
    vi.advanceTimersByTime(3);
    expect(onDue).toHaveBeenCalledTimes(1);
    expect(batches.take()).toEqual([{ bytes: 1, bus: 'a' }]);
    expect(batches.take()).toBeUndefined();
    vi.advanceTimersByTime(2);
    expect(onDue).toHaveBeenCalledTimes(2);
    expect(batches.take()).toEqual([{ bytes: 1, bus: 'b' }]);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('goes on filling a due batch that nobody takes', () => {
    const batches = batcher();
    batches.add(small);
    vi.advanceTimersByTime(20);
    batches.add(small);
    expect(batches.take()).toHaveLength(2);
  });

  test('leaves no timer behind when closed', () => {
    const batches = batcher();
    batches.add(small);
    batches.close();
    expect(vi.getTimerCount()).toBe(0);
    expect(batches.takeAny()).toHaveLength(1);
  });

  test('loses nothing, keeps order per key, and respects both limits', () => {
    const item = fc.record({ bytes: fc.integer({ min: 1, max: 100 }), bus: fc.constantFrom('a', 'b') });
    fc.assert(
      fc.property(fc.array(item, { maxLength: 100 }), fc.array(fc.boolean(), { maxLength: 100 }), (items, takes) => {
        const batches = batcher();
        const taken: Item[][] = [];
        for (const [index, each] of items.entries()) {
          batches.add(each);
          const batch = takes[index] === true ? batches.take() : undefined;
          if (batch !== undefined) taken.push(batch);
        }
        for (let batch = batches.takeAny(); batch !== undefined; batch = batches.takeAny()) taken.push(batch);
        batches.close();
        expect(batches.size).toBe(0);
        for (const bus of ['a', 'b']) {
          expect(taken.flat().filter((each) => each.bus === bus)).toEqual(items.filter((each) => each.bus === bus));
        }
        for (const batch of taken) {
          expect(batch.length).toBeLessThanOrEqual(3);
          expect(batch.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThanOrEqual(100);
          expect(new Set(batch.map(({ bus }) => bus)).size).toBe(1);
        }
      }),
    );
  });
});
