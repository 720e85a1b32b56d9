import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { LaneItem } from '../../src/flow/lanes.ts';
import { laneLinks, Lanes } from '../../src/flow/lanes.ts';

interface Item extends LaneItem {
  readonly name: string;
}

interface ItemOptions {
  readonly previousLane?: string | undefined;
  readonly fence?: string;
  readonly exclusive?: boolean;
}

function item(name: string, lane: string | undefined, options: ItemOptions = {}): Item {
  const { previousLane, fence = 'orders', exclusive = false } = options;
  return { ...laneLinks, name, lane, previousLane, fence, exclusive };
}

function recorder() {
  const ready: string[] = [];
  const lanes = new Lanes<Item>((out) => ready.push(out.name));
  return { lanes, ready };
}

describe('Lanes', () => {
  test('lets one item of a key out at a time, in order, while other keys go on', () => {
    const { lanes, ready } = recorder();
    const [a1, a2, b1] = [item('a1', 'a'), item('a2', 'a'), item('b1', 'b')];
    for (const each of [a1, a2, b1]) lanes.add(each);
    expect(ready).toEqual(['a1', 'b1']);
    lanes.settle(b1);
    lanes.settle(a1);
    expect(ready).toEqual(['a1', 'b1', 'a2']);
  });

  test('lets relaxed items of one table out together', () => {
    const { lanes, ready } = recorder();
    lanes.add(item('r1', undefined));
    lanes.add(item('r2', undefined));
    expect(ready).toEqual(['r1', 'r2']);
  });

  test('holds both keys of a primary-key update', () => {
    const { lanes, ready } = recorder();
    const [old, moved] = [item('old', 'a'), item('moved', 'b', { previousLane: 'a' })];
    const [newKey, reused] = [item('newKey', 'b'), item('reused', 'a')];
    for (const each of [old, moved, newKey, reused]) lanes.add(each);
    expect(ready).toEqual(['old']);
    lanes.settle(old);
    expect(ready).toEqual(['old', 'moved']);
    lanes.settle(moved);
    expect(ready).toEqual(['old', 'moved', 'newKey', 'reused']);
  });

  test('a truncate waits for everything of its table and holds only that table', () => {
    const { lanes, ready } = recorder();
    const [a, b] = [item('a', 'a'), item('b', 'b')];
    const truncate = item('truncate', undefined, { exclusive: true });
    const [later, other] = [item('later', 'c'), item('other', 'x', { fence: 'customers' })];
    for (const each of [a, b, truncate, later, other]) lanes.add(each);
    expect(ready).toEqual(['a', 'b', 'other']);
    lanes.settle(a);
    lanes.settle(b);
    expect(ready).toEqual(['a', 'b', 'other', 'truncate']);
    lanes.settle(truncate);
    expect(ready).toEqual(['a', 'b', 'other', 'truncate', 'later']);
  });

  test('two truncates in a row stay in order, and a table without rows truncates at once', () => {
    const { lanes, ready } = recorder();
    const [first, second] = [item('1', undefined, { exclusive: true }), item('2', undefined, { exclusive: true })];
    const row = item('row', 'a');
    for (const each of [first, second, row]) lanes.add(each);
    expect(ready).toEqual(['1']);
    lanes.settle(first);
    expect(ready).toEqual(['1', '2']);
    lanes.settle(second);
    expect(ready).toEqual(['1', '2', 'row']);
    lanes.settle(row);
    expect(lanes.size).toBe(0);
  });

  test('forgets no one who waits while tens of thousands of other keys pass', () => {
    const { lanes, ready } = recorder();
    const waiting = [item('a1', 'a'), item('a2', 'a'), item('moved', 'b', { previousLane: 'a' }), item('b1', 'b')];
    for (const each of waiting) lanes.add(each);
    for (let key = 0; key < 20_000; key += 1) {
      const passing = item('passing', `key-${key}`);
      lanes.add(passing);
      lanes.settle(passing);
    }
    lanes.add(item('a3', 'a'));
    for (const each of waiting) lanes.settle(each);
    expect(ready.filter((name) => name !== 'passing')).toEqual(['a1', 'a2', 'moved', 'b1', 'a3']);
    expect(lanes.size).toBe(1);
  });

  test('refuses to settle what is not out', () => {
    const { lanes } = recorder();
    const [first, second] = [item('first', 'a'), item('second', 'a')];
    lanes.add(first);
    lanes.add(second);
    expect(() => lanes.settle(second)).toThrow('not out');
    lanes.settle(first);
    expect(() => lanes.settle(first)).toThrow('not out');
  });

  test('agrees with a model that scans everything before an item, under any schedule', () => {
    const key = fc.constantFrom('a', 'b', 'c');
    const step = fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({
          do: fc.constant('add' as const),
          lane: fc.option(key, { nil: undefined, freq: 5 }),
          previousLane: fc.option(key, { nil: undefined, freq: 1 }),
          fence: fc.constantFrom('orders', 'customers'),
          exclusive: fc.constant(false),
        }),
      },
      {
        weight: 1,
        arbitrary: fc.record({
          do: fc.constant('add' as const),
          lane: fc.constant(undefined),
          previousLane: fc.constant(undefined),
          fence: fc.constantFrom('orders', 'customers'),
          exclusive: fc.constant(true),
        }),
      },
      { weight: 5, arbitrary: fc.record({ do: fc.constant('settle' as const), which: fc.nat() }) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const out: Item[] = [];
        const lanes = new Lanes<Item>((ready) => out.push(ready));
        const unsettled: Item[] = [];
        let added = 0;
        for (const each of steps) {
          if (each.do === 'add') {
            added += 1;
            const next = item(`${added}`, each.lane && `${each.fence}/${each.lane}`, {
              ...each,
              previousLane: each.previousLane && `${each.fence}/${each.previousLane}`,
            });
            unsettled.push(next);
            lanes.add(next);
          } else if (out.length > 0) {
            settle(out[each.which % out.length]);
          }
          expect(names(out)).toEqual(names(unsettled.filter((one, index) => isFree(one, unsettled.slice(0, index)))));
        }
        while (out.length > 0) settle(out[0]);
        expect(unsettled).toEqual([]);
        expect(lanes.size).toBe(0);

        function settle(one: Item | undefined): void {
          if (one === undefined) return;
          out.splice(out.indexOf(one), 1);
          unsettled.splice(unsettled.indexOf(one), 1);
          lanes.settle(one);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  test('calls ready items of a lane in the order they were added', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 60 }), fc.nat(), (keys, seed) => {
        const out: Item[] = [];
        const order = new Map<string, number[]>();
        const lanes = new Lanes<Item>((ready) => {
          out.push(ready);
          order.set(ready.lane ?? '', [...(order.get(ready.lane ?? '') ?? []), Number(ready.name)]);
        });
        for (const [index, lane] of keys.entries()) lanes.add(item(`${index}`, lane));
        for (let turn = seed; out.length > 0; turn += 7) {
          const [one] = out.splice(turn % out.length, 1);
          if (one !== undefined) lanes.settle(one);
        }
        for (const numbers of order.values()) expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
        expect([...order.values()].flat()).toHaveLength(keys.length);
      }),
    );
  });
});

/** The rule itself, written as slowly and plainly as possible. */
function isFree(one: Item, before: readonly Item[]): boolean {
  const keys = [one.lane, one.previousLane].filter((key) => key !== undefined);
  return before.every((earlier) => {
    if (keys.some((key) => key === earlier.lane || key === earlier.previousLane)) return false;
    return earlier.fence !== one.fence || (!one.exclusive && !earlier.exclusive);
  });
}

function names(items: readonly Item[]): string[] {
  return items.map(({ name }) => name).toSorted((a, b) => Number(a) - Number(b));
}
