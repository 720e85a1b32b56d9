import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RowChange } from '../../src/core/change.ts';
import { storeUnmappedChange } from '../../src/mapping/change-text.ts';
import { dataOf, detailOf, mappingBed, MASK_KEY, tableEntry, type Row } from '../support/mapping-bed.ts';

const columns = { id: 'int8', email: 'text', card: 'text', pin: 'text', amount: 'numeric' } as const;
const row: Row = { id: '42', email: 'ada@example.com', card: '4111111111111234', pin: '0000', amount: '10.50' };
const HASH = /^[0-9a-f]{32}$/;

const hashOf = (maskKey: string, entry: Record<string, unknown>) => {
  const bed = mappingBed({ columns, maskKey, entry });
  return (dataOf(bed.compile().map(bed.insert(row))) as { email: string }).email;
};

describe('a masked column', () => {
  test('leaves masked in data, previous, resources and expressions alike', () => {
    const bed = mappingBed({
      columns,
      identity: 'full',
      entry: {
        mask: { email: 'hash', card: 'last4', pin: 'redact' },
        resources: [{ cel: "'card/' + row.card" }],
        bus: { cel: 'row.pin' },
        detail: { email: 'email', card: 'card', again: { cel: 'row.card + old.card' }, pin: 'pin' },
      },
    });
    const [event] = bed.compile().map(bed.update({ ...row, card: '4111111111119999' }, row));
    expect(event).toMatchObject({ resources: ['card/****9999'], bus: '[redacted]' });
    const detail = detailOf(event);
    expect(detail.data).toEqual({
      email: expect.stringMatching(HASH) as string,
      card: '****9999',
      again: '****9999****1234',
      pin: '[redacted]',
    });
    expect(JSON.stringify(event)).not.toMatch(/ada@|41111|0000"/);
  });

  test('in one field of the detail is masked everywhere in the entry', () => {
    const bed = mappingBed({
      columns,
      entry: { detail: { last: { column: 'card', mask: 'last4' }, plain: 'card', shout: { cel: "row.card + '!'" } } },
    });
    expect(dataOf(bed.compile().map(bed.insert(row)))).toEqual({
      last: '****1234',
      plain: '****1234',
      shout: '****1234!',
    });
  });

  test('that is the key keeps keys apart by its hash', () => {
    const bed = mappingBed({ columns, primaryKey: ['email'], entry: { mask: { email: 'hash' } } });
    const mapper = bed.compile();
    const [event] = mapper.map(bed.update({ ...row, email: 'eve@example.com' }, { email: 'ada@example.com' }));
    const { key, previousKey } = detailOf(event).metadata as { key: { email: string }; previousKey: { email: string } };
    expect(key.email).toMatch(HASH);
    expect(previousKey.email).toMatch(HASH);
    expect(event).toMatchObject({
      group: `public.orders:${key.email}`,
      previousGroup: `public.orders:${previousKey.email}`,
      resources: [`banyan:shop:public.orders:${key.email}`],
    });
    expect(key.email).not.toBe(previousKey.email);
  });

  test('is hashed under the mask key and nothing else', () => {
    const first = hashOf(MASK_KEY, { mask: { email: 'hash' } });
    expect(hashOf(MASK_KEY, { mask: { email: 'hash' }, detail: { email: 'email' } })).toBe(first);
    expect(hashOf('another key of enough characters', { mask: { email: 'hash' } })).not.toBe(first);
  });

  test('of a short text shows nothing of it, and NULL stays NULL', () => {
    const bed = mappingBed({ columns, entry: { mask: { card: 'last4', email: 'redact', pin: 'hash' } } });
    const data = dataOf(bed.compile().map(bed.insert({ ...row, card: '1234567', email: null, pin: null })));
    expect(data).toMatchObject({ card: '****', email: null, pin: null });
  });
});

test('an excluded column leaves in nothing, not even its name among the changed ones', () => {
  const bed = mappingBed({ columns, identity: 'full', entry: { exclude: ['pin'] } });
  const mapper = bed.compile();
  const change = bed.update({ ...row, pin: '1111', amount: '11' }, row);
  const [event] = mapper.map(change);
  expect(detailOf(event).metadata['changed']).toEqual(['amount']);
  expect(event?.detail).not.toContain('pin');
  expect(mapper.serialize(change)).not.toMatch(/pin|1111"|0000"/);
});

describe('a change in dead_letter', () => {
  test('comes back as it was, for every row', () => {
    const bed = mappingBed({ columns, identity: 'full' });
    const mapper = bed.compile();
    const cell = fc.option(fc.option(fc.string({ unit: 'binary' }), { nil: undefined }), { nil: null });
    const anyRow = fc.record({ id: fc.bigInt().map(String), email: cell, card: cell, pin: cell, amount: cell });
    fc.assert(
      fc.property(anyRow, anyRow, (after, before) => {
        const change = bed.update(after, before);
        expect(mapper.deserialize(mapper.serialize(change))).toEqual(change);
      }),
    );
    const insert = bed.insert(row);
    expect(mapper.deserialize(mapper.serialize(insert))).toEqual(insert);
  });

  test('is stored masked, and makes the same event when it comes back', () => {
    const bed = mappingBed({ columns, primaryKey: ['email'], entry: { mask: { email: 'hash', card: 'last4' } } });
    const mapper = bed.compile();
    const change = bed.insert(row);
    const [event] = mapper.map(change);
    const stored = mapper.serialize(change);
    expect(stored).not.toMatch(/ada@|41111/);
    const restored = mapper.deserialize(stored) as RowChange;
    expect(mapper.map(restored)).toEqual([event]);
    expect(mapper.groups(restored)).toEqual(mapper.groups(change));
    expect(mapper.deserialize(mapper.serialize(restored))).toEqual(restored);
    // And what comes after it from the stream is masked again.
    expect(mapper.map(change)).toEqual([event]);
  });

  test('is refused where the mapping now names a column that it did not have', () => {
    const before = mappingBed({ columns });
    const stored = before.compile().serialize(before.insert(row));
    const after = mappingBed({ columns: { ...columns, e_mail: 'text' }, entry: { detail: { mail: 'e_mail' } } });
    expect(() => after.compile().deserialize(stored)).toThrow(
      expect.objectContaining({
        kind: 'schema-drift',
        message: expect.stringContaining('no column e_mail; the nearest that it had is email') as string,
      }),
    );
  });

  test('gets a column that the table got meanwhile as unavailable where nobody names it', () => {
    const before = mappingBed({ columns });
    const stored = before.compile().serialize(before.insert(row));
    const after = mappingBed({ columns: { ...columns, added: 'text' } }).compile();
    expect(detailOf(after.map(after.deserialize(stored))[0]).metadata['unavailable']).toEqual(['added']);
  });

  test('of a table whose mapping can not be compiled is stored masked too', () => {
    const bed = mappingBed({ columns });
    const entry = tableEntry({
      mask: { email: 'hash' },
      exclude: ['pin'],
      emit: [{ on: 'insert', detailType: 'X', detail: { card: { column: 'card', mask: 'last4' }, gone: 'vanished' } }],
    });
    const stored = storeUnmappedChange(bed.insert(row), entry, { maskKey: MASK_KEY });
    expect(stored).not.toMatch(/ada@|41111|0000|pin/);
    expect(stored).toContain('****1234');
  });

  test('keeps a truncate', () => {
    const bed = mappingBed({ columns });
    const mapper = bed.compile();
    const { relation, transaction } = bed.insert(row);
    const change = {
      operation: 'truncate',
      relation,
      transaction: { ...transaction, origin: 'elsewhere' },
      ordinal: 3,
    } as const;
    expect(mapper.deserialize(mapper.serialize(change))).toEqual(change);
  });
});

describe('columns to be read again', () => {
  const update: Row = { ...row, email: undefined, pin: undefined };

  test('are those that were not sent and leave in an event', () => {
    const bed = mappingBed({ columns, entry: { reselectUnavailable: true, exclude: ['pin'] } });
    expect(bed.compile().unavailable(bed.update(update))).toEqual([1]);
  });

  test('are none where nobody asked for it, or the old row has them', () => {
    const bed = mappingBed({ columns });
    expect(bed.compile().unavailable(bed.update(update))).toEqual([]);
    const full = mappingBed({ columns, identity: 'full', entry: { reselectUnavailable: true } });
    expect(full.compile().unavailable(full.update(update, row))).toEqual([]);
  });
});
