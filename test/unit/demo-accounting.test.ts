import { expect, test } from 'vitest';
import { Accounting, type Expectation, nearestRank, type SeenEvent } from '../../src/demo/accounting.ts';

const order = (version: number, detailType: string) => ({ table: 'shop.orders', key: ['1'], version, detailType });
const seen = (id: string, what: Expectation): SeenEvent => ({ id, operation: 'update', ...what });
const read = (id: string, version: number, key = '1'): SeenEvent => ({
  id,
  operation: 'read',
  table: 'shop.orders',
  key: [key],
  version,
  detailType: 'OrderImported',
});
const about = (detailType: string): SeenEvent => ({
  ...seen(detailType, { table: 'shop.orders', key: [], version: '-', detailType }),
  operation: 'backfill',
});

test('what was committed and never received is missing, however many events the bus accepted', () => {
  const books = new Accounting();
  books.committed(1, [order(1, 'OrderPlaced')]);
  books.committed(1, [order(2, 'OrderShipped')]);
  books.accepted(seen('a', order(1, 'OrderPlaced')), 3);
  books.accepted(seen('b', order(2, 'OrderShipped')), 4);
  books.received(seen('a', order(1, 'OrderPlaced')));
  expect(books.now.missing).toBe(1);
  expect(books.report()).toMatchObject({
    eventsExpected: 2,
    eventsAccepted: 2,
    received: 1,
    missing: 1,
    unexpected: 0,
  });
});

test('an event that arrives before its COMMIT has returned is not missing afterwards', () => {
  const books = new Accounting();
  books.received(seen('a', order(1, 'OrderPlaced')));
  books.committed(1, [order(1, 'OrderPlaced')]);
  expect(books.now.missing).toBe(0);
  expect(books.report()).toMatchObject({ missing: 0, unexpected: 0 });
});

test('the wrong event in place of the expected one is both missing and unexpected', () => {
  const books = new Accounting();
  books.committed(1, [order(2, 'OrderShipped')]);
  books.received(seen('a', order(2, 'OrderCancelled')));
  expect(books.report()).toMatchObject({ received: 1, missing: 1, unexpected: 1 });
});

test('the same id again is a repeat; the same change under a second id is unexpected', () => {
  const books = new Accounting();
  books.committed(1, [order(1, 'OrderPlaced')]);
  books.received(seen('a', order(1, 'OrderPlaced')));
  books.received(seen('a', order(1, 'OrderPlaced')));
  books.received(seen('b', order(1, 'OrderPlaced')));
  expect(books.report()).toMatchObject({ received: 2, repeated: 1, missing: 0, unexpected: 1 });
});

test('order is judged per key by the row’s own version, and a repeat is not a disorder', () => {
  const books = new Accounting();
  books.accepted(seen('a', order(1, 'OrderPlaced')), 1);
  books.accepted(seen('c', order(3, 'OrderDelivered')), 1);
  books.accepted(seen('a', order(1, 'OrderPlaced')), 1);
  books.accepted(seen('z', { ...order(1, 'OrderPlaced'), key: ['2'] }), 1);
  expect(books.report().outOfOrder).toBe(0);
  books.accepted(seen('b', order(2, 'OrderShipped')), 1);
  expect(books.report().outOfOrder).toBe(1);
});

test('a delete comes after everything else of its key', () => {
  const books = new Accounting();
  const line = { table: 'shop.order_lines', key: ['1', '1'], version: '-' as const };
  books.accepted(seen('b', { ...line, detailType: 'OrderLineRemoved' }), 1);
  books.accepted(seen('a', { ...line, detailType: 'OrderLineAdded' }), 1);
  expect(books.report().outOfOrder).toBe(1);
});

test('a row from before arrives by its read, or by an event of a later change', () => {
  const books = new Accounting();
  books.wasThere(['1', '2', '3'].map((key) => ({ table: 'shop.orders', key: [key] })));
  expect(books.report()).toMatchObject({ backfilled: 0, notBackfilled: 3 });
  books.received(read('r1', 1));
  books.committed(1, [{ ...order(2, 'OrderShipped'), key: ['2'] }]);
  books.received(seen('a', { ...order(2, 'OrderShipped'), key: ['2'] }));
  expect(books.now.notBackfilled).toBe(1);
  expect(books.report()).toMatchObject({
    received: 1,
    reads: 1,
    repeated: 0,
    unexpected: 0,
    backfilled: 2,
    notBackfilled: 1,
  });
});

test('the end of a backfill is no arrival of its rows', () => {
  const books = new Accounting();
  books.wasThere([{ table: 'shop.orders', key: ['1'] }]);
  books.received(about('BackfillStarted'));
  expect(books.now.backfillsCompleted).toBe(0);
  books.received(about('BackfillCompleted'));
  expect(books.now.backfillsCompleted).toBe(1);
  expect(books.report()).toMatchObject({ received: 0, unexpected: 0, notBackfilled: 1 });
});

test('a read repeats no change and stands for none; the same read again is a repeat', () => {
  const books = new Accounting();
  books.committed(1, [order(1, 'OrderPlaced')]);
  books.received(read('r1', 1));
  expect(books.report()).toMatchObject({ reads: 1, missing: 1, repeated: 0, unexpected: 0 });
  books.received(seen('a', order(1, 'OrderPlaced')));
  books.received(read('r1', 1));
  expect(books.report()).toMatchObject({ received: 1, reads: 1, missing: 0, repeated: 1, unexpected: 0 });
});

test('a read of a row that nobody wrote is unexpected', () => {
  const books = new Accounting();
  books.wasThere([{ table: 'shop.orders', key: ['1'] }]);
  books.received(read('r1', 1));
  books.received(read('r2', 1, '2'));
  expect(books.report()).toMatchObject({ reads: 2, backfilled: 1, unexpected: 1 });
});

test('a read of an older row behind a newer event is a disorder, one of the same row is none', () => {
  const books = new Accounting();
  books.accepted(seen('a', order(2, 'OrderShipped')), 1);
  books.accepted(read('r1', 2), undefined);
  books.accepted(about('BackfillCompleted'), undefined);
  expect(books.report()).toMatchObject({ eventsAccepted: 3, outOfOrder: 0, latencyMs: { p50: 1, p99: 1 } });
  books.accepted(read('r2', 1), undefined);
  expect(books.report().outOfOrder).toBe(1);
});

test('a percentile is a value that was measured, and of no values there is none', () => {
  expect(nearestRank([], 0.5)).toBeNull();
  expect(nearestRank([1], 0.99)).toBe(1);
  expect(nearestRank([1, 2, 3, 4], 0.5)).toBe(2);
  expect(nearestRank([1, 2, 3, 4.04], 0.99)).toBe(4);
});
