import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import type { Target } from '../../src/reverse/intent.ts';
import { ApplyBed, type Asked, brief } from '../support/apply-bed.ts';

const COLUMNS = ['a', 'b', 'c', 'd'];
const KEYS = ['1', '2'];

type Step = {
  readonly key: string;
  readonly operation: 'upsert' | 'insert' | 'update' | 'delete';
  readonly set: Readonly<Record<string, string | null>>;
};
type Event = Step & { readonly version: number };

const value = fc.option(fc.constantFrom('1', '2.50', '3', '4.25'), { nil: null });
const step: fc.Arbitrary<Step> = fc
  .record({
    key: fc.constantFrom(...KEYS),
    operation: fc.constantFrom('upsert', 'upsert', 'insert', 'update', 'update', 'update', 'delete', 'delete'),
    values: fc.record({ a: value, b: value, c: value, d: value }),
    // Also what makes a row need not set all that others set.
    part: fc.oneof(fc.constant(COLUMNS), fc.subarray(COLUMNS, { minLength: 1 })),
  })
  .map(({ key, operation, values, part }) => {
    const names = operation === 'delete' ? [] : part;
    return { key, operation, set: Object.fromEntries(names.map((name) => [name, values[name as 'a']])) };
  });

let server: EmbeddedPostgres;
let bed: ApplyBed;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
  bed = await ApplyBed.open(
    server,
    'orders',
    'create table rows (id int primary key, a numeric(6,1), b text, c numeric, d numeric(6,2) default 7)',
  );
  // The rights for all of them: each target below is of a configuration of its own.
  await bed.targets([
    { table: 'public.rows', set: COLUMNS },
    { table: 'public.rows', operation: 'delete' },
  ]);
});
afterAll(async () => {
  await bed?.[Symbol.asyncDispose]();
  await server?.stop();
});

const targets = new Map<string, Target>();

async function targetOf({ operation, set }: Step): Promise<Target> {
  const columns = Object.keys(set);
  const name = `${operation} ${columns.join()}`;
  let target = targets.get(name);
  if (target === undefined) {
    const sets = operation === 'delete' ? {} : { set: columns };
    const carries = operation === 'update' ? { carries: 'patch' } : {};
    target = await bed.target({ table: 'public.rows', operation, conflict: 'park', ...sets, ...carries });
    targets.set(name, target);
  }
  return target;
}

async function reset(): Promise<void> {
  await bed.pool.query('truncate rows, banyan.inbox, banyan.applied_version, banyan.conflict');
}

async function table(): Promise<unknown> {
  return bed.rows('select id, a::text, b, c::text, d::text from rows order by id');
}

/** Applies what was delivered, in batches of one transaction; what waits for its row is tried again in order of version. */
async function deliver(delivered: readonly Event[], batchSize: number): Promise<void> {
  let waiting: Event[] = [];
  const tryAll = async (events: readonly Event[]) => {
    const intents = [];
    for (const event of events) {
      const values = Object.values(event.set);
      const asked: Asked = { key: [event.key], values, version: event.version, event: `event ${event.version}` };
      intents.push(bed.intent(await targetOf(event), asked));
    }
    const outcomes = (await bed.apply(intents)).map(brief);
    // Nobody else writes: there are no conflicts, and nothing else fails.
    expect(
      outcomes.filter((each) => !/^(applied \w+( delete_missing)?|stale|duplicate|failed row-missing)$/.test(each)),
    ).toEqual([]);
    return events.filter((_, index) => outcomes[index] === 'failed row-missing');
  };
  for (let from = 0; from < delivered.length; from += batchSize) {
    waiting.push(...(await tryAll(delivered.slice(from, from + batchSize))));
    for (let before = Number.POSITIVE_INFINITY; waiting.length > 0 && waiting.length < before;) {
      before = waiting.length;
      const left: Event[] = [];
      for (const event of waiting.toSorted((one, other) => one.version - other.version))
        left.push(...(await tryAll([event])));
      waiting = left;
    }
  }
}

test('every event twice and in any order leaves the table that they leave once and in order', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 2, maxLength: 8 }).chain((steps) => {
        const events = steps.map((each, index) => ({ ...each, version: index + 1 }));
        const twice = [...events, ...events];
        return fc.record({
          events: fc.constant(events),
          delivered: fc.shuffledSubarray(twice, { minLength: twice.length }),
          batchSize: fc.constantFrom(1, 1, 3, 16),
        });
      }),
      async ({ events, delivered, batchSize }) => {
        await reset();
        await deliver(events, 1);
        const expected = await table();
        await reset();
        await deliver(delivered, batchSize);
        expect(await table()).toEqual(expected);
      },
    ),
    { numRuns: 150 },
  );
}, 240_000);
