import { describe, expect, test } from 'vitest';
import type { ChangeOrigin, RowChange, TruncateChange } from '../../src/core/change.ts';
import { BanyanError } from '../../src/core/errors.ts';
import { detailOf, mappingBed, transaction, type Row } from '../support/mapping-bed.ts';

const columns = { id: 'int8', status: 'text', total: 'numeric' } as const;
const row: Row = { id: '42', status: 'placed', total: '10.50' };
const correction: ChangeOrigin = { kind: 'correction', causedBy: 'evt "1"', hops: 1 };
const trigger: ChangeOrigin = { kind: 'trigger', causedBy: 'evt-2', hops: 2 };
const of = (change: RowChange, origin: ChangeOrigin): RowChange => ({ ...change, origin });
/** No rule takes what is placed. */
const shippedOnly = { emit: [{ on: ['insert', 'update'], when: 'row.status == "shipped"', detailType: 'Shipped' }] };

describe('the event of a change that an event of the new system caused', () => {
  test('says so, and which event, and how often it has crossed', () => {
    const mapper = mappingBed({ columns }).compile();
    const bed = mappingBed({ columns });
    const [event] = mapper.map(of(bed.update(row), correction));
    expect(event?.detailType).toBe('OrdersUpdated');
    const { metadata } = detailOf(event);
    expect(metadata).toMatchObject({ origin: 'correction', causedBy: 'evt "1"', hops: 1, unavailable: [] });
    expect(event?.sizeBytes).toBeGreaterThan(Buffer.byteLength(event?.detail ?? ''));
    expect(detailOf(mapper.map(of(bed.insert(row), trigger))[0]).metadata).toMatchObject({
      origin: 'trigger',
      causedBy: 'evt-2',
      hops: 2,
    });
    const legacy = detailOf(mapper.map(bed.insert(row))[0]).metadata;
    expect(legacy).toMatchObject({ origin: 'legacy' });
    expect(legacy).not.toHaveProperty('causedBy');
    expect(legacy).not.toHaveProperty('hops');
  });

  test('keeps what changed and what is unavailable before it', () => {
    const bed = mappingBed({ columns, identity: 'full' });
    const [event] = bed.compile().map(of(bed.update({ ...row, status: 'shipped' }, row), correction));
    expect(detailOf(event).metadata).toMatchObject({ changed: ['status'], unavailable: [], origin: 'correction' });
    const plain = mappingBed({ columns });
    const [partial] = plain.compile().map(of(plain.update({ ...row, status: undefined }), correction));
    expect(detailOf(partial).metadata).toMatchObject({ unavailable: ['status'], origin: 'correction' });
  });

  test('says so of a truncate', () => {
    const bed = mappingBed({ columns });
    const change: TruncateChange = {
      operation: 'truncate',
      transaction,
      ordinal: 0,
      relation: bed.relation,
      origin: trigger,
    };
    expect(detailOf(bed.compile().map(change)[0]).metadata).toMatchObject({ origin: 'trigger', causedBy: 'evt-2' });
  });

  test('says so of what a transform module made', () => {
    const bed = mappingBed({
      columns,
      entry: { transform: './x.ts' },
      transform: ({ row: { id } }) => ({ detailType: 'Made', data: { id: id ?? null } }),
    });
    const [event] = bed.compile().map(of(bed.update(row), correction));
    expect(event?.detailType).toBe('Made');
    expect(detailOf(event).metadata).toMatchObject({ origin: 'correction', hops: 1 });
  });
});

describe('a correction that no rule takes', () => {
  test('leaves with the whole detail, since the two sides would never agree otherwise', () => {
    const bed = mappingBed({ columns, entry: { ...shippedOnly, exclude: ['total'] } });
    const mapper = bed.compile();
    const [event] = mapper.map(of(bed.update(row), correction));
    expect(event).toMatchObject({ detailType: 'OrdersCorrected', source: 'legacy.shop', group: 'public.orders:42' });
    expect(detailOf(event)).toMatchObject({
      metadata: { operation: 'update', key: { id: '42' }, origin: 'correction' },
      data: { id: '42', status: 'placed' },
    });
    expect(detailOf(event).data).not.toHaveProperty('total');
    expect(mapper.counters.dropped).toBe(0);
  });

  test('has the fields and the name that the entry gives its events', () => {
    const bed = mappingBed({
      columns,
      entry: { ...shippedOnly, as: 'order', source: 'legacy.sales', detail: { orderId: 'id', open: { cel: 'true' } } },
    });
    const [event] = bed.compile().map(of(bed.insert(row), correction));
    expect(event).toMatchObject({ detailType: 'OrderCorrected', source: 'legacy.sales' });
    expect(detailOf(event).data).toEqual({ orderId: '42', open: true });
  });

  test('tells of a row that is gone', () => {
    const bed = mappingBed({ columns, entry: shippedOnly });
    const [event] = bed.compile().map(of(bed.delete({ id: '42' }), correction));
    expect(detailOf(event)).toMatchObject({ metadata: { operation: 'delete', key: { id: '42' } }, data: { id: '42' } });
  });

  test('leaves where a transform module made nothing of it', () => {
    const bed = mappingBed({ columns, entry: { transform: './x.ts' }, transform: () => undefined });
    const mapper = bed.compile();
    expect(mapper.map(of(bed.update(row), correction))[0]?.detailType).toBe('OrdersCorrected');
    expect(mapper.map(of(bed.update(row), trigger))).toEqual([]);
    expect(mapper.counters.dropped).toBe(1);
  });

  test('is the only such change: what a trigger or the legacy system did is dropped as before', () => {
    const bed = mappingBed({ columns, entry: shippedOnly });
    const mapper = bed.compile();
    expect(mapper.map(of(bed.update(row), trigger))).toEqual([]);
    expect(mapper.map(bed.update(row))).toEqual([]);
    expect(mapper.counters.dropped).toBe(2);
  });

  test('is parked where its name is longer than a detail-type may be', () => {
    const bed = mappingBed({ columns, entry: { ...shippedOnly, as: 'a'.repeat(120) } });
    const mapper = bed.compile();
    expect(mapper.map(bed.update(row))).toEqual([]);
    expect(() => mapper.map(of(bed.update(row), correction))).toThrow(BanyanError);
  });
});

test('where a change comes from survives dead_letter', () => {
  const bed = mappingBed({ columns });
  const mapper = bed.compile();
  const change = of(bed.update(row), correction);
  const back = mapper.deserialize(mapper.serialize(change));
  expect(back.operation === 'truncate' ? undefined : back.origin).toEqual(correction);
  expect(mapper.map(back)).toEqual(mapper.map(change));
  expect(mapper.map(mapper.deserialize(mapper.serialize(bed.insert(row))))[0]?.detail).toContain('"origin":"legacy"}');
});
