import { expect, test } from 'vitest';
import type { Envelope } from '../../src/demo/consumer.ts';
import { Deliveries, type Decided, type Decision } from '../../src/demo/deliveries.ts';

const NOW = Date.parse('2026-03-02T10:00:00Z');
const LATER = NOW + 5_000;

let sequence = 0;
const about = (detailType: string, orderId: string, more: Partial<Envelope['detail']['metadata']> = {}): Envelope => {
  const table = detailType === 'PaymentReceived' ? 'shop.payments' : 'shop.orders';
  sequence += 1;
  return {
    'detail-type': detailType,
    detail: {
      metadata: {
        id: `id-${sequence}`,
        sequence: `${sequence}`.padStart(4, '0'),
        operation: 'update',
        table,
        key: { id: table === 'shop.orders' ? orderId : `payment-${orderId}` },
        origin: 'legacy',
        ...more,
      },
      data: { orderId },
    },
  };
};

const row = (orderId: string, data: object, more: Partial<Envelope['detail']['metadata']> = {}): Envelope => {
  const event = about('DeliveryRescheduled', orderId, {
    table: 'shop.deliveries',
    key: { order_id: orderId },
    ...more,
  });
  const whole = { promisedOn: '2026-04-01', slot: 'noon', promisedBy: 'clerk', tracking: null, ...data };
  return { ...event, detail: { ...event.detail, data: whole } };
};
const correction = (orderId: string, data: object, causedBy: string) =>
  row(orderId, data, { origin: 'correction', causedBy, hops: 1 });

/** An order whose first promise was not overtaken by a better one: that is by the dice. */
function promised(deliveries: Deliveries): { readonly orderId: string; readonly first: Decision } {
  for (let n = 1; n < 1_000; n += 1) {
    const { decisions, late } = deliveries.handle(about('OrderPlaced', `${n}`), NOW);
    const [first] = decisions;
    if (late.length === 0 && first !== undefined) return { orderId: `${n}`, first };
  }
  throw new Error('the dice are loaded');
}

test('an order is promised once, however often its event comes', () => {
  const deliveries = new Deliveries();
  const placed = about('OrderPlaced', '7');
  const decided = deliveries.handle(placed, NOW);
  expect(decided.decisions.length).toBeGreaterThan(0);
  expect(decided.decisions[0]).toMatchObject({
    detailType: 'DeliveryPromised',
    orderId: '7',
    basedOn: placed.detail.metadata.sequence,
    causedBy: placed.detail.metadata.id,
    hops: 0,
  });
  expect(deliveries.handle(placed, NOW).decisions).toEqual([]);
});

test('a better promise overtakes the first: it is sent before it, with the higher version, and is what counts', () => {
  const deliveries = new Deliveries();
  let decided: Decided | undefined;
  let orderId = '';
  for (let n = 1; n < 1_000 && decided === undefined; n += 1) {
    orderId = `${n}`;
    const one = deliveries.handle(about('OrderPlaced', orderId), NOW);
    if (one.late.length > 0) decided = one;
  }
  expect(decided?.decisions.map(({ version }) => version)).toEqual([2, 1]);
  expect(decided?.late.map(({ version }) => version)).toEqual([1]);
  expect(deliveries.all.get(orderId)).toMatchObject(decided?.decisions[0]?.values ?? {});
});

test('a correction is taken and never answered', () => {
  const deliveries = new Deliveries();
  const { orderId, first } = promised(deliveries);
  const answer = correction(orderId, { ...first.values, promisedOn: '2026-03-09' }, first.id);
  expect(deliveries.handle(answer, NOW).decisions).toEqual([]);
  expect(deliveries.all.get(orderId)).toEqual({ ...first.values, promisedOn: '2026-03-09', tracking: null });
});

test('the answer to a decision that a newer one has replaced changes nothing, but the next decision knows of it', () => {
  const deliveries = new Deliveries();
  const { orderId, first } = promised(deliveries);
  deliveries.handle(about('PaymentReceived', orderId), NOW);
  const [second] = deliveries.due(LATER).decisions;
  const answer = correction(orderId, { ...first.values, promisedOn: '2026-03-09' }, first.id);
  deliveries.handle(answer, LATER);
  expect(deliveries.all.get(orderId)).toMatchObject(second?.values ?? {});
  const [shipped] = deliveries.handle(about('OrderShipped', orderId), LATER).decisions;
  expect(shipped).toMatchObject({
    detailType: 'DeliveryShipped',
    version: 3,
    basedOn: answer.detail.metadata.sequence,
  });
});

test('a plan is based on what was known when it was begun, and a refusal of it brings the clerk’s word back', () => {
  const deliveries = new Deliveries();
  const { orderId, first } = promised(deliveries);
  deliveries.handle(about('PaymentReceived', orderId), NOW);
  deliveries.handle(row(orderId, { slot: 'morning' }), NOW);
  expect(deliveries.due(NOW).decisions).toEqual([]);
  expect(deliveries.planning).toBe(1);
  const [plan] = deliveries.due(LATER).decisions;
  expect(plan).toMatchObject({ orderId, version: 2, basedOn: first.basedOn });
  expect(deliveries.all.get(orderId)?.promisedBy).toBe('service');
  deliveries.handle(correction(orderId, { slot: 'morning' }, plan?.id ?? ''), LATER);
  expect(deliveries.all.get(orderId)).toMatchObject({ promisedBy: 'clerk', promisedOn: '2026-04-01', slot: 'morning' });
});

test('a clerk’s change takes everything but the parcel’s number, which is the service’s', () => {
  const deliveries = new Deliveries();
  const { orderId } = promised(deliveries);
  const [shipped] = deliveries.handle(about('OrderShipped', orderId), NOW).decisions;
  deliveries.handle(row(orderId, {}), NOW);
  expect(deliveries.all.get(orderId)).toEqual({
    promisedOn: '2026-04-01',
    slot: 'noon',
    promisedBy: 'clerk',
    tracking: shipped?.values.tracking,
  });
});

test('an older event of a row changes nothing behind a newer one', () => {
  const deliveries = new Deliveries();
  const { orderId } = promised(deliveries);
  const older = row(orderId, { slot: 'morning' });
  deliveries.handle(row(orderId, { slot: 'evening' }), NOW);
  deliveries.handle(older, NOW);
  expect(deliveries.all.get(orderId)?.slot).toBe('evening');
});

test('an answer that comes behind a newer one still says that its decision was decided about: the newest row knows how', () => {
  const deliveries = new Deliveries();
  const { orderId, first } = promised(deliveries);
  const [shipped] = deliveries.handle(about('OrderShipped', orderId), NOW).decisions;
  // A weekend: the trigger moved the promise, and both decisions are answered.
  const moved = { ...first.values, promisedOn: '2026-03-09' };
  const toFirst = correction(orderId, moved, first.id);
  deliveries.handle(correction(orderId, { ...moved, ...shipped?.values }, shipped?.id ?? ''), LATER);
  deliveries.handle(toFirst, LATER);
  expect(deliveries.all.get(orderId)).toEqual({ ...moved, ...shipped?.values });
});

test('a parcel’s number that was refused is none, also where the clerk’s next change is heard before the refusal', () => {
  const deliveries = new Deliveries();
  const { orderId } = promised(deliveries);
  const [shipped] = deliveries.handle(about('OrderShipped', orderId), NOW).decisions;
  const refusal = correction(orderId, { slot: 'morning' }, shipped?.id ?? '');
  deliveries.handle(row(orderId, { slot: 'evening' }), LATER);
  deliveries.handle(refusal, LATER);
  expect(deliveries.all.get(orderId)).toMatchObject({ slot: 'evening', tracking: null });
});

test('a withdrawal that was refused is taken back to the newest row, also where that is heard before the refusal', () => {
  const deliveries = new Deliveries();
  const { orderId } = promised(deliveries);
  const [withdrawn] = deliveries.handle(about('OrderCancelled', orderId), NOW).decisions;
  const refusal = correction(orderId, { slot: 'morning' }, withdrawn?.id ?? '');
  deliveries.handle(row(orderId, { slot: 'evening' }), LATER);
  expect(deliveries.all.get(orderId)).toBeUndefined();
  deliveries.handle(refusal, LATER);
  expect(deliveries.all.get(orderId)).toMatchObject({ slot: 'evening', promisedBy: 'clerk' });
});

test('a cancelled order’s delivery is withdrawn, its plan is dropped, and what was still on its way does not bring it back', () => {
  const deliveries = new Deliveries();
  const { orderId, first } = promised(deliveries);
  deliveries.handle(about('PaymentReceived', orderId), NOW);
  const [withdrawn] = deliveries.handle(about('OrderCancelled', orderId), NOW).decisions;
  expect(withdrawn).toMatchObject({ detailType: 'DeliveryWithdrawn', version: 2 });
  expect(deliveries.due(LATER).decisions).toEqual([]);
  deliveries.handle(correction(orderId, first.values, first.id), LATER);
  expect(deliveries.all.has(orderId)).toBe(true);
  expect(deliveries.all.get(orderId)).toBeUndefined();
  deliveries.handle(correction(orderId, { slot: 'noon' }, withdrawn?.id ?? ''), LATER);
  expect(deliveries.all.get(orderId)?.slot).toBe('noon');
});
