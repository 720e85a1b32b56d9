import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decide } from '../../src/reverse/decide.ts';
import { marksAfter, type Texts, valuesToInsert } from '../../src/reverse/marks.ts';
import type { AppliedVersion } from '../../src/state/applied-versions.ts';

const COLUMNS = ['a', 'b', 'c'];
const DEFAULTS: Texts = { a: null, b: null, c: '7' };

/** What the producer did to one row, in the order of its versions. */
type Step = { readonly operation: 'upsert' | 'insert' | 'update' | 'delete'; readonly set: Texts };
type Event = Step & { readonly version: bigint };

const step: fc.Arbitrary<Step> = fc
  .record({
    operation: fc.constantFrom('upsert', 'upsert', 'insert', 'update', 'update', 'update', 'delete', 'delete'),
    values: fc.record({ a: text(), b: text(), c: text() }),
    part: fc.subarray(COLUMNS),
    one: fc.constantFrom(...COLUMNS),
  })
  .map(({ operation, values, part, one }) => {
    // What makes a row may set anything, also nothing but its key; an update sets something.
    const some = operation === 'update' && part.length === 0 ? [one] : part;
    const names = operation === 'delete' ? [] : some;
    const set = Object.fromEntries(names.map((name) => [name, values[name as 'a'] ?? null]));
    return { operation, set };
  });

function text(): fc.Arbitrary<string | null> {
  return fc.option(fc.constantFrom('1', '2', '3', '4'), { nil: null });
}

/** Each event once and in order. An update of a row that is not there waits for it, and for what the event that makes it does not set. */
function inOrder(events: readonly Event[]): Texts | undefined {
  let row: Texts | undefined;
  let waiting: Texts = {};
  for (const { operation, set } of events) {
    if (operation === 'delete') [row, waiting] = [undefined, {}];
    else if (row !== undefined) row = { ...row, ...set };
    else if (operation === 'update') waiting = { ...waiting, ...set };
    else [row, waiting] = [{ ...DEFAULTS, ...waiting, ...set }, {}];
  }
  return row;
}

class Side {
  row: Texts | undefined;
  known: AppliedVersion = { created: undefined, deleted: undefined, last: undefined, columns: {}, told: false };
  readonly #waiting: Event[] = [];

  take(event: Event): void {
    if (!this.#apply(event)) {
      this.#waiting.push(event);
      return;
    }
    // What waits is tried again in order of version, until nothing of it passes any more.
    for (let passed = true; passed;) {
      passed = false;
      for (const each of this.#waiting.toSorted((one, other) => (one.version < other.version ? -1 : 1))) {
        if (!this.#apply(each)) continue;
        this.#waiting.splice(this.#waiting.indexOf(each), 1);
        passed = true;
      }
    }
  }

  #apply({ operation, set, version }: Event): boolean {
    const { row, known } = this;
    const names = Object.keys(set);
    const decision = decide({
      operation,
      set: names,
      version,
      known,
      gaps: 'ignore',
      carries: operation === 'update' ? 'patch' : 'full',
      replayed: false,
      decided: undefined,
      policy: 'park',
      row: row && {
        hashes: Object.fromEntries(Object.entries(row).map(([name, value]) => [name, hash(value)])),
        same: new Set(names.filter((name) => row[name] === set[name])),
        expected: undefined,
      },
      basedOn: undefined,
      legacy: undefined,
    });
    switch (decision.do) {
      case 'ask':
      case 'refuse':
        throw new Error(`nobody else writes, but: ${decision.do}`);
      case 'fail':
        if (decision.kind !== 'row-missing') throw new Error(`nothing is promised or replayed, but: ${decision.kind}`);
        return false;
      case 'insert': {
        const columns = [...decision.columns, ...(decision.restored ?? [])];
        const values = valuesToInsert(columns, { own: set, known: known.columns, version });
        this.row = { ...DEFAULTS, ...Object.fromEntries(columns.map((name, index) => [name, values[index] ?? null])) };
        break;
      }
      case 'update': {
        const own = decision.columns.map((name) => [name, set[name] ?? null]);
        const reset = (decision.reset ?? []).map((name) => [name, DEFAULTS[name] ?? null]);
        this.row = { ...row, ...Object.fromEntries([...own, ...reset]) };
        break;
      }
      case 'delete':
        this.row = undefined;
        break;
      case 'stale':
      case 'nothing':
    }
    const texts = decision.do === 'delete' ? row : this.row;
    this.known = {
      ...decision.next,
      told: false,
      columns: marksAfter({
        decision,
        version,
        key: [],
        set: names,
        known: known.columns,
        texts,
        hash,
        isBased: false,
      }),
    };
    return true;
  }
}

function hash(value: string | null): string {
  return value === null ? 'null' : `=${value}`;
}

describe('any order and repetition of the events of a row', () => {
  test('leaves the row that they leave once and in order', () => {
    fc.assert(
      fc.property(
        fc.array(step, { minLength: 1, maxLength: 8 }).chain((steps) => {
          const events = steps.map((each, index) => ({ ...each, version: BigInt(index + 1) }));
          const twice = [...events, ...events];
          return fc.record({
            events: fc.constant(events),
            delivered: fc.shuffledSubarray(twice, { minLength: twice.length }),
          });
        }),
        ({ events, delivered }) => {
          const side = new Side();
          for (const event of delivered) side.take(event);
          expect(side.row).toEqual(inOrder(events));
        },
      ),
      { numRuns: 20_000 },
    );
  });
});
