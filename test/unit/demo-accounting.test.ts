import { expect, test } from 'vitest';
import { Accounting, nearestRank, type SeenEvent } from '../../src/demo/accounting.ts';

const order = (version: number, detailType: string) => ({ table: 'shop.orders', key: ['1'], version, detailType });
const seen = (id: string, what: Omit<SeenEvent, 'id'>): SeenEvent => ({ id, ...what });

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

test('a percentile is a value that was measured, and of no values there is none', () => {
  expect(nearestRank([], 0.5)).toBeNull();
  expect(nearestRank([1], 0.99)).toBe(1);
  expect(nearestRank([1, 2, 3, 4], 0.5)).toBe(2);
  expect(nearestRank([1, 2, 3, 4.04], 0.99)).toBe(4);
});
