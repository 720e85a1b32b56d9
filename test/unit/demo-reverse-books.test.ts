import { expect, test } from 'vitest';
import type { Decision, Delivery } from '../../src/demo/deliveries.ts';
import { type BackEvent, compare, ReverseBooks } from '../../src/demo/reverse-books.ts';

const delivery: Delivery = { promisedOn: '2026-03-04', slot: 'noon', promisedBy: 'service', tracking: null };
const decision = (id: string, more: Partial<Decision> = {}): Decision => ({
  detailType: 'DeliveryPromised',
  id,
  orderId: '1',
  version: 1,
  basedOn: '1',
  causedBy: 'x',
  hops: 0,
  values: { promisedOn: '2026-03-07', slot: 'noon', promisedBy: 'service' },
  ...more,
});
const event = (id: string, more: Partial<BackEvent> = {}): BackEvent => ({
  id,
  operation: 'update',
  table: 'shop.deliveries',
  key: ['1'],
  version: '-',
  detailType: 'DeliveryRescheduled',
  origin: 'correction',
  causedBy: 'd1',
  data: { ...delivery },
  ...more,
});
const caused = (id: string, key: string, causedBy = 'd1') =>
  event(id, { table: 'shop.order_log', key: [key], detailType: 'OrderLogged', origin: 'trigger', causedBy });

const isVersionOne = ({ version }: BackEvent) => version === 1;

function booksOf(...decisions: Decision[]): ReverseBooks {
  const books = new ReverseBooks();
  books.sent({ decisions, late: [], repeats: [] });
  return books;
}
const reportOf = (books: ReverseBooks, logged: readonly string[] = []) =>
  books.report(new Map(), { legacy: { deliveries: new Map(), logged }, explains: () => false });

test('copies and late ones are counted beside the decisions, which count once', () => {
  const books = booksOf(decision('d1'), decision('d2'));
  books.sent({ decisions: [], late: [], repeats: [decision('d1')] });
  books.sent({ decisions: [decision('d4'), decision('d3')], late: [decision('d3')], repeats: [] });
  expect(reportOf(books)).toMatchObject({ decisions: 4, sentTwice: 1, sentLate: 1 });
});

test('a correction with the decision’s mark was changed by a trigger, or tells what was decided; without it, the decision was refused', () => {
  const ship = decision('d3', { detailType: 'DeliveryShipped', values: { tracking: 'BX-1' } });
  const withdraw = (id: string) => decision(id, { detailType: 'DeliveryWithdrawn', values: {} });
  const books = booksOf(decision('d1'), decision('d2'), ship, withdraw('d4'), withdraw('d5'), decision('d6'));
  books.received(event('a', { causedBy: 'd1' }));
  books.received(event('b', { causedBy: 'd2', data: { ...delivery, promisedBy: 'clerk' } }));
  books.received(event('c', { causedBy: 'd3' }));
  books.received(event('d', { causedBy: 'd4' }));
  expect(reportOf(books)).toMatchObject({ corrected: 1, announced: 0, refused: 3, unexplained: 0 });
  books.received(event('e', { causedBy: 'd5', operation: 'delete', data: { orderId: '1' } }));
  books.received(event('f', { causedBy: 'd6', data: { ...delivery, promisedOn: '2026-03-07' } }));
  expect(reportOf(books)).toMatchObject({ corrected: 1, announced: 2, refused: 3, unexplained: 0 });
});

test('the same correction again is a repeat; a second one of a decision, or of none, has no explanation', () => {
  const books = booksOf(decision('d1'));
  books.received(event('a'));
  books.received(event('a'));
  expect(reportOf(books)).toMatchObject({ corrected: 1, unexplained: 0 });
  books.received(event('b'));
  books.received(event('c', { causedBy: 'nobody’s' }));
  expect(reportOf(books)).toMatchObject({ corrected: 1, unexplained: 2 });
});

test('a row that a trigger wrote is missing until its event has come, and names a decision', () => {
  const books = booksOf(decision('d1'));
  books.received(caused('a', '10'));
  expect(reportOf(books, ['10', '11'])).toMatchObject({ caused: 1, causedMissing: 1, unexplained: 0 });
  books.received(caused('b', '11', 'nobody’s'));
  expect(reportOf(books, ['10', '11'])).toMatchObject({ caused: 1, causedMissing: 1, unexplained: 1 });
});

test('an event that says legacy of what no clerk did is an echo, as is a second one of what a clerk did once', () => {
  const books = booksOf();
  books.received(event('a', { origin: 'legacy', version: 1 }));
  expect(books.echoes(isVersionOne)).toBe(0);
  books.received(event('b', { origin: 'legacy', version: 1 }));
  books.received(event('c', { origin: 'legacy', detailType: 'DeliveryAdded' }));
  books.received(event('d', { origin: 'legacy', table: 'shop.orders' }));
  expect(books.echoes(isVersionOne)).toBe(2);
});

test('rows are compared both ways, and a withdrawn delivery has none', () => {
  const decided = new Map<string, Delivery | undefined>([
    ['equal', delivery],
    ['other', delivery],
    ['absent', delivery],
    ['withdrawn', undefined],
    ['resurrected', undefined],
  ]);
  const rows = new Map([
    ['equal', { ...delivery }],
    ['other', { ...delivery, tracking: 'BX-1' }],
    ['resurrected', delivery],
    ['nobody’s', delivery],
  ]);
  expect(compare(decided, rows)).toEqual({ equal: 2, differing: 4 });
});
