import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Detail, ReferenceConsumer, type Row } from '../support/reference-consumer.ts';
import { deliveryOf, history, LegacyTable } from '../support/legacy-history.ts';

const TABLE = 'public.orders';

function contentAfter(events: readonly Detail[]): Row[] {
  const consumer = new ReferenceConsumer();
  for (const event of events) consumer.apply(event);
  return sorted(consumer.rows(TABLE));
}

function sorted(rows: Iterable<Row>): Row[] {
  return [...rows].toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
}

/** `sequence` is a number here, so that an example says in which order things happened. */
function event(
  sequence: number,
  operation: string,
  rest: Partial<Detail['metadata']> & Omit<Partial<Detail>, 'metadata'>,
): Detail {
  const { data = {}, previous, ...metadata } = rest;
  return {
    metadata: {
      sequence: `0001-00000001-${`${sequence}`.padStart(16, '0')}-0000000000-00`,
      operation,
      table: TABLE,
      ...metadata,
    },
    data,
    ...(previous === undefined ? {} : { previous }),
  };
}

/** Every order, each of them once more with every event twice. */
function everyDelivery(events: readonly Detail[]): (readonly Detail[])[] {
  if (events.length === 0) return [[]];
  const orders = events.flatMap((first, at) => everyDelivery(events.toSpliced(at, 1)).map((rest) => [first, ...rest]));
  return orders.flatMap((order) => [order, [...order, ...order]]);
}

interface Example {
  readonly name: string;
  readonly events: readonly Detail[];
  readonly rows: readonly Row[];
}

const one = { id: 1 };
const two = { id: 2 };

const examples: readonly Example[] = [
  {
    name: 'fills what an update left out from the insert',
    events: [
      event(1, 'insert', { key: one, data: { id: 1, status: 'new', notes: 'long' } }),
      event(2, 'update', { key: one, data: { id: 1, status: 'paid' }, unavailable: ['notes'] }),
    ],
    rows: [{ id: 1, status: 'paid', notes: 'long' }],
  },
  {
    name: 'fills each column from the newest event that has it',
    events: [
      event(1, 'insert', { key: one, data: { id: 1, notes: 'a', doc: 'a' } }),
      event(2, 'update', { key: one, data: { id: 1, doc: 'b' }, unavailable: ['notes'] }),
      event(3, 'update', { key: one, data: { id: 1, notes: null }, unavailable: ['doc'] }),
      event(4, 'update', { key: one, data: { id: 1 }, unavailable: ['notes', 'doc'] }),
    ],
    rows: [{ id: 1, notes: null, doc: 'b' }],
  },
  {
    name: 'forgets a column that the table has no longer',
    events: [
      event(1, 'insert', { key: one, data: { id: 1, notes: 'long' } }),
      event(2, 'update', { key: one, data: { id: 1 } }),
    ],
    rows: [{ id: 1 }],
  },
  {
    name: 'leaves a deleted row dead, whatever older comes',
    events: [
      event(1, 'insert', { key: one, data: { id: 1, notes: 'long' } }),
      event(2, 'update', { key: one, data: { id: 1 }, unavailable: ['notes'] }),
      event(3, 'delete', { key: one, data: { id: 1 }, unavailable: ['notes'] }),
    ],
    rows: [],
  },
  {
    name: 'fills nothing from a row that had the key before',
    events: [
      event(1, 'insert', { key: one, data: { id: 1, notes: 'of the first' } }),
      event(2, 'delete', { key: one, data: { id: 1 }, unavailable: ['notes'] }),
      event(4, 'update', { key: one, data: { id: 1 }, unavailable: ['notes'] }),
    ],
    rows: [{ id: 1 }],
  },
  {
    name: 'takes a row along when its key changes, with what the event left out',
    events: [
      event(1, 'insert', { key: one, data: { id: 1, notes: 'of the first' } }),
      event(2, 'update', { key: two, previousKey: one, data: { id: 2 }, unavailable: ['notes'] }),
      event(3, 'insert', { key: one, data: { id: 1, notes: 'of another' } }),
      event(4, 'update', { key: two, data: { id: 2 }, unavailable: ['notes'] }),
    ],
    rows: [
      { id: 1, notes: 'of another' },
      { id: 2, notes: 'of the first' },
    ],
  },
  {
    name: 'empties a table with a truncate, and not what came after it',
    events: [
      event(1, 'insert', { key: one, data: { id: 1, notes: 'before' } }),
      event(2, 'truncate', { key: {} }),
      event(3, 'update', { key: one, data: { id: 1 }, unavailable: ['notes'] }),
      event(4, 'insert', { key: two, data: { id: 2, notes: 'after' } }),
    ],
    rows: [{ id: 1 }, { id: 2, notes: 'after' }],
  },
  {
    name: 'goes by the newest of several truncates',
    events: [
      event(1, 'truncate', { key: {} }),
      event(2, 'insert', { key: one, data: { id: 1 } }),
      event(3, 'truncate', { key: {} }),
      event(4, 'insert', { key: two, data: { id: 2 } }),
    ],
    rows: [{ id: 2 }],
  },
  {
    name: 'sweeps after a run what the run did not meet',
    events: [
      event(1, 'insert', { key: one, data: { id: 1 } }),
      event(2, 'insert', { key: two, data: { id: 2 } }),
      event(3, 'backfill', { data: { run: 7, table: TABLE } }),
      event(4, 'read', { key: two, data: { id: 2 } }),
      event(5, 'backfill', { data: { run: 7, table: TABLE, rows: 1 } }),
    ],
    rows: [{ id: 2 }],
  },
  {
    name: 'sweeps nothing after a run over some of the rows, or before the run is completed',
    events: [
      event(1, 'insert', { key: one, data: { id: 1 } }),
      event(2, 'backfill', { data: { run: 7, table: TABLE, where: 'id > 1' } }),
      event(3, 'backfill', { data: { run: 7, table: TABLE, where: 'id > 1', rows: 0 } }),
      event(4, 'backfill', { data: { run: 8, table: TABLE } }),
      event(5, 'backfill', { data: { run: 9, table: TABLE, where: 'id > 1', rows: 0 } }),
    ],
    rows: [{ id: 1 }],
  },
  {
    name: 'takes the newer one of two reads of a row',
    events: [
      event(1, 'read', { key: one, data: { id: 1, status: 'new' } }),
      event(3, 'read', { key: one, data: { id: 1, status: 'paid' } }),
      event(2, 'update', { key: one, data: { id: 1, status: 'paid' } }),
    ],
    rows: [{ id: 1, status: 'paid' }],
  },
  {
    name: 'knows the rows of a table without a key by what is in them',
    events: [
      event(1, 'insert', { key: {}, data: { a: 1 } }),
      event(2, 'update', { key: {}, data: { a: 2 }, previous: { a: 1 } }),
      event(3, 'update', { key: {}, data: { a: 2 }, previous: { a: 2 } }),
      event(4, 'insert', { key: {}, data: { a: 3 } }),
      event(5, 'delete', { key: {}, data: { a: 3 } }),
    ],
    rows: [{ a: 2 }],
  },
  {
    name: 'leaves out what is not about a row: an outbox message',
    events: [event(1, 'message', { table: TABLE, key: one, data: { id: 1 } })],
    rows: [],
  },
];

describe('the reference consumer', () => {
  test('is the one that docs/consuming.md shows', async () => {
    const document = await readFile(new URL('../../docs/consuming.md', import.meta.url), 'utf8');
    const source = await readFile(new URL('../support/reference-consumer.ts', import.meta.url), 'utf8');
    const shown = /^```ts\n(.*?)^```$/ms.exec(document)?.[1];
    const marked = /^\/\/ docs: begin\n(.*?)^\/\/ docs: end$/ms.exec(source)?.[1];
    expect(marked).toContain('class ReferenceConsumer');
    expect(shown).toBe(marked);
  });

  test.each(examples)('$name', ({ events, rows }) => {
    for (const order of everyDelivery(events)) expect(contentAfter(order)).toEqual(rows);
  });

  test('goes by the text of the sequence: epoch, then timeline, then position', () => {
    const sequences = [
      '0001-00000001-00000000FFFFFFFF-0000000009-00',
      '0001-00000001-0000000100000000-0000000009-00',
      '0001-00000001-0000000100000000-0000000010-00',
      '0001-00000002-00000000AAAAAAAA-0000000000-00',
      '0002-00000001-0000000000000001-0000000000-00',
    ];
    const events = sequences.map((sequence, at) => {
      const { metadata, data } = event(0, 'update', { key: one, data: { at } });
      return { metadata: { ...metadata, sequence }, data };
    });
    for (const order of everyDelivery(events)) expect(contentAfter(order)).toEqual([{ at: 4 }]);
  });

  const kinds = [
    { kind: 'with a primary key', keyless: false },
    { kind: 'without a key', keyless: true },
  ];
  describe.each(kinds)('of a table $kind', ({ keyless }) => {
    const played = history.map((from) => {
      const legacy = new LegacyTable({ name: TABLE, keyless });
      legacy.play(from);
      return legacy;
    });

    test('ends with what is in the table, in whatever order and however often the events come', () => {
      const seen: Record<string, number> = {};
      const delivered = played.chain((legacy) => fc.tuple(fc.constant(legacy), deliveryOf(legacy.events)));
      fc.assert(
        fc.property(delivered, ([legacy, events]) => {
          expect(contentAfter(events)).toEqual(sorted(legacy.rows.values()));
          for (const [what, times] of Object.entries(legacy.seen)) seen[what] = (seen[what] ?? 0) + times;
        }),
        { numRuns: 2_000 },
      );
      const rare = Object.entries(seen).filter(([, times]) => times < 200);
      // Whatever makes it hard did happen; nothing is unavailable where the replica identity is FULL.
      expect(rare.map(([what]) => what)).toEqual(keyless ? ['unavailable', 'unavailableInMove'] : []);
    });

    test('ends with what is in the table when all events come backwards', () => {
      fc.assert(
        fc.property(played, (legacy) => {
          expect(contentAfter(legacy.events.toReversed())).toEqual(sorted(legacy.rows.values()));
        }),
      );
    });
  });
});
