import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Event, eventRange } from '../../src/core/event.ts';
import type { TruncateChange } from '../../src/core/change.ts';
import { dataOf, detailOf, mappingBed, transaction, type Row } from '../support/mapping-bed.ts';

const columns = { id: 'int8', status: 'text', quantity: 'int4', total: 'numeric' } as const;
const row: Row = { id: '42', status: 'placed', quantity: '3', total: '10.50' };

describe('the event of an insert', () => {
  test('has exactly the documented form', () => {
    const bed = mappingBed({ columns });
    const [event] = bed.compile().map(bed.insert(row));
    expect({ ...event, detail: detailOf(event) }).toEqual({
      id: '7412345678901234567-1-0000000001A2B3C8-0',
      sequence: '0001-00000001-0000000001A2B3C8-0000000000-00',
      source: 'legacy.shop',
      detailType: 'OrdersInserted',
      timeSeconds: 1_772_366_400,
      resources: ['banyan:shop:public.orders:42'],
      bus: undefined,
      group: 'public.orders:42',
      previousGroup: undefined,
      sizeBytes: sizeOf(event),
      detail: {
        metadata: {
          id: '7412345678901234567-1-0000000001A2B3C8-0',
          sequence: '0001-00000001-0000000001A2B3C8-0000000000-00',
          operation: 'insert',
          table: 'public.orders',
          key: { id: '42' },
          transaction: { id: 740, lsn: '0/1A2B3C8', committedAt: '2026-03-01T12:00:00.123456Z' },
          unavailable: [],
          origin: 'legacy',
        },
        data: { id: '42', status: 'placed', quantity: 3, total: '10.50' },
      },
    });
  });

  test('numbers a second entry of the same table behind all that the first one may make', () => {
    const bed = mappingBed({ columns, range: eventRange(1, 2) });
    const mapper = bed.compile();
    const [event] = mapper.map(bed.insert(row));
    expect(mapper.firstIndex).toBe(50);
    expect(event?.id.endsWith('-0.50')).toBe(true);
    expect(event?.sequence.endsWith('-0000000000-50')).toBe(true);
  });

  test('writes bigint and numeric as JSON numbers where numbers says json', () => {
    const bed = mappingBed({ columns, entry: { numbers: 'json' } });
    const [event] = bed.compile().map(bed.insert({ ...row, id: '9007199254740993' }));
    expect(event?.detail).toContain('"id":9007199254740993');
    expect(event?.detail).toContain('"total":10.50');
  });

  test('keeps its detail JSON and its size true for every text, key and NULL', () => {
    const bed = mappingBed({ columns: { id: 'text', 'näme "quoted"': 'text' } });
    const mapper = bed.compile();
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.option(fc.string({ unit: 'binary' })), (id, name) => {
        const [event] = mapper.map(bed.insert({ id, 'näme "quoted"': name }));
        expect(detailOf(event).data).toEqual({ id, 'näme "quoted"': name });
        expect(detailOf(event).metadata['key']).toEqual({ id });
        expect(event?.sizeBytes).toBe(sizeOf(event));
        expect(decodeURIComponent(event?.group?.slice('public.orders:'.length) ?? '')).toBe(id);
      }),
    );
  });
});

describe('the event of an update', () => {
  test('names what changed and carries the old row where the old row is known', () => {
    const bed = mappingBed({ columns, identity: 'full' });
    const [event] = bed.compile().map(bed.update({ ...row, status: 'shipped' }, row));
    expect(detailOf(event).metadata).toMatchObject({ operation: 'update', changed: ['status'], unavailable: [] });
    expect(detailOf(event).data).toMatchObject({ status: 'shipped' });
    expect(detailOf(event).previous).toEqual({ id: '42', status: 'placed', quantity: 3, total: '10.50' });
  });

  test('says neither where only the new row is known', () => {
    const bed = mappingBed({ columns });
    const detail = detailOf(bed.compile().map(bed.update(row))[0]);
    expect(detail.metadata).not.toHaveProperty('changed');
    expect(detail).not.toHaveProperty('previous');
  });

  test('names an unchanged TOAST value as unavailable instead of sending null', () => {
    const bed = mappingBed({ columns, entry: { detail: { orderId: 'id', state: 'status' } } });
    const [event] = bed.compile().map(bed.update({ ...row, status: undefined }));
    expect(detailOf(event).data).toEqual({ orderId: '42' });
    expect(detailOf(event).metadata['unavailable']).toEqual(['state']);
  });

  test('takes an unchanged TOAST value from the old row where that is known', () => {
    const bed = mappingBed({ columns, identity: 'full' });
    const [event] = bed.compile().map(bed.update({ ...row, status: undefined }, row));
    expect(detailOf(event).data).toMatchObject({ status: 'placed' });
    expect(detailOf(event).metadata).toMatchObject({ changed: [], unavailable: [] });
  });

  test('of the key holds both keys and both groups', () => {
    const bed = mappingBed({ columns });
    const mapper = bed.compile();
    const change = bed.update({ ...row, id: '43' }, { id: '42' });
    const [event] = mapper.map(change);
    expect(detailOf(event).metadata).toMatchObject({ key: { id: '43' }, previousKey: { id: '42' } });
    expect(event).toMatchObject({ group: 'public.orders:43', previousGroup: 'public.orders:42' });
    expect(mapper.groups(change)).toEqual({ group: 'public.orders:43', previousGroup: 'public.orders:42' });
  });

  test('has no previous key where the old row is known and its key stayed', () => {
    const bed = mappingBed({ columns, identity: 'full' });
    const [event] = bed.compile().map(bed.update({ ...row, status: 'x' }, row));
    expect(detailOf(event).metadata).not.toHaveProperty('previousKey');
    expect(event?.previousGroup).toBeUndefined();
  });

  test('to NULL in a key column does not take the old value for the new one', () => {
    const bed = mappingBed({ columns, identity: 'full', entry: { key: ['status'] } });
    const [event] = bed.compile().map(bed.update({ ...row, status: null }, row));
    expect(detailOf(event).metadata).toMatchObject({ key: { status: null }, previousKey: { status: 'placed' } });
  });
});

describe('the event of a delete', () => {
  test('has the identity only, and names the rest as unavailable', () => {
    const bed = mappingBed({ columns });
    const [event] = bed.compile().map(bed.delete({ id: '42' }));
    expect(detailOf(event).data).toEqual({ id: '42' });
    expect(detailOf(event).metadata['unavailable']).toEqual(['status', 'quantity', 'total']);
    expect(detailOf(event)).not.toHaveProperty('previous');
  });

  test('has the whole row with REPLICA IDENTITY FULL', () => {
    const bed = mappingBed({ columns, identity: 'full' });
    expect(dataOf(bed.compile().map(bed.delete(row)))).toEqual({
      id: '42',
      status: 'placed',
      quantity: 3,
      total: '10.50',
    });
  });
});

test('a truncate becomes one event without key and data', () => {
  const bed = mappingBed({ columns });
  const change: TruncateChange = { operation: 'truncate', relation: bed.relation, transaction, ordinal: 7 };
  const [event] = bed.compile().map(change);
  expect(event).toMatchObject({ detailType: 'OrdersTruncated', sizeBytes: sizeOf(event) });
  expect(detailOf(event)).toMatchObject({ metadata: { operation: 'truncate', key: {} }, data: {} });
});

describe('the ordering key', () => {
  test('of several columns is their percent-encoded values joined by commas', () => {
    const bed = mappingBed({ columns: { a: 'text', b: 'text' }, primaryKey: ['a', 'b'] });
    const mapper = bed.compile();
    expect(mapper.map(bed.insert({ a: 'x,y', b: 'ü' }))[0]).toMatchObject({
      group: 'public.orders:x%2Cy,%C3%BC',
      resources: ['banyan:shop:public.orders:x%2Cy,%C3%BC'],
    });
  });

  test('tells NULL from an empty text and from the word null', () => {
    const bed = mappingBed({ columns, entry: { key: ['status'] }, identity: 'full' });
    const mapper = bed.compile();
    const groups = [null, '', 'null'].map((status) => mapper.groups(bed.insert({ ...row, status })).group);
    expect(new Set(groups).size).toBe(3);
  });

  test('is there for inserts of a table without any identity', () => {
    const bed = mappingBed({ columns, identity: 'nothing' });
    expect(bed.compile().groups(bed.insert(row)).group).toBe('public.orders:42');
  });

  test('is absent where the order is relaxed', () => {
    const bed = mappingBed({ columns, entry: { order: 'relaxed' } });
    const mapper = bed.compile();
    expect(mapper.map(bed.update({ ...row, id: '1' }, { id: '2' }))[0]).toMatchObject({
      group: undefined,
      previousGroup: undefined,
    });
    expect(mapper.groups(bed.insert(row)).group).toBeUndefined();
  });

  test('of a table with no key leads from row to row, so that changes of one row follow each other', () => {
    const bed = mappingBed({ columns, identity: 'full', primaryKey: [], entry: { exclude: ['total'] } });
    const mapper = bed.compile();
    const inserted = mapper.groups(bed.insert(row)).group;
    const update = bed.update({ ...row, status: 'shipped' }, row);
    expect(mapper.groups(update).previousGroup).toBe(inserted);
    expect(mapper.groups(bed.delete({ ...row, status: 'shipped' })).group).toBe(mapper.groups(update).group);
    expect(mapper.groups(bed.insert({ ...row, id: '43' })).group).not.toBe(inserted);
    expect(detailOf(mapper.map(update)[0]).metadata['key']).toEqual({});
    // What comes back from dead_letter lacks the excluded column, and must wait behind the same group.
    expect(mapper.groups(mapper.deserialize(mapper.serialize(update)) as typeof update)).toEqual(mapper.groups(update));
  });
});

describe('emit', () => {
  test('takes the first rule that matches and counts what none takes', () => {
    const bed = mappingBed({
      columns,
      entry: {
        emit: [
          { on: 'insert', when: 'row.quantity > 100', detailType: 'Large' },
          { on: ['insert', 'delete'], when: 'row.quantity > 10', detailType: 'Medium' },
        ],
      },
    });
    const mapper = bed.compile();
    const typeOf = (quantity: string | null) => mapper.map(bed.insert({ ...row, quantity }))[0]?.detailType;
    expect([typeOf('101'), typeOf('11'), typeOf('1')]).toEqual(['Large', 'Medium', undefined]);
    expect(mapper.counters).toEqual({ dropped: 1, nullConditions: 0 });
    expect(typeOf(null)).toBeUndefined();
    expect(mapper.counters).toEqual({ dropped: 2, nullConditions: 2 });
  });

  test('by changed columns takes only updates that changed one of them', () => {
    const bed = mappingBed({
      columns,
      identity: 'full',
      entry: { emit: [{ on: 'update', changed: ['status', 'total'], detailType: 'Changed' }] },
    });
    const mapper = bed.compile();
    expect(mapper.map(bed.update({ ...row, quantity: '4' }, row))).toHaveLength(0);
    expect(mapper.map(bed.update({ ...row, status: undefined }, row))).toHaveLength(0);
    expect(mapper.map(bed.update({ ...row, status: null }, row))).toHaveLength(1);
  });

  test('parks a detail-type that EventBridge would refuse', () => {
    const bed = mappingBed({ columns, entry: { emit: [{ on: 'insert', detailType: { cel: 'row.status' } }] } });
    const mapper = bed.compile();
    for (const status of ['x'.repeat(129), '', null])
      expect(() => mapper.map(bed.insert({ ...row, status }))).toThrow(
        expect.objectContaining({ kind: 'mapping-failed' }),
      );
    expect(mapper.map(bed.insert({ ...row, status: 'x'.repeat(128) }))).toHaveLength(1);
  });

  test('routes by row, and to the configured bus where the expression gives null', () => {
    const bed = mappingBed({
      columns,
      entry: { bus: { cel: "'tenant-' + row.status" }, source: { cel: "'legacy.' + table" } },
    });
    const mapper = bed.compile();
    expect(mapper.map(bed.insert(row))[0]).toMatchObject({ bus: 'tenant-placed', source: 'legacy.public.orders' });
    expect(mapper.map(bed.insert({ ...row, status: null }))[0]?.bus).toBeUndefined();
  });
});

function sizeOf(event: Event | undefined): number {
  if (event === undefined) throw new Error('there is no event');
  const texts = [event.source, event.detailType, event.detail, ...event.resources];
  return texts.reduce((bytes, text) => bytes + Buffer.byteLength(text), 14);
}
