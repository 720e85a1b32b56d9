/** What the new system says in the benchmark of the way back: orders that are placed, and then change. */
export interface ReverseEvent {
  readonly id: string;
  readonly orderId: number;
  /** 1: the row is made; later ones change it. */
  readonly version: number;
  readonly customerId: number;
  readonly status: string;
  readonly quantity: number;
  readonly unitPrice: string;
  readonly paid: boolean;
  readonly placedAt: string;
  readonly note: string | null;
}

/** One row in so many events is new; the others change it, each once the whole table has gone by. */
const VERSIONS = 4;
const STATUSES = ['placed', 'paid', 'shipped', 'delivered'];
const FIRST_PLACED = Date.parse('2026-03-01T00:00:00Z');

/** The n-th of `count` events, from 0 on: always the same. */
export function reverseEvent(n: number, count: number): ReverseEvent {
  const rows = Math.ceil(count / VERSIONS);
  const orderId = 1 + (n % rows);
  const version = 1 + Math.floor(n / rows);
  return {
    id: `order-${orderId}-${version}`,
    orderId,
    version,
    customerId: orderId % 50_000,
    status: STATUSES[version - 1] ?? 'delivered',
    quantity: version + (orderId % 9),
    unitPrice: ((orderId % 100_000) / 100).toFixed(2),
    paid: version > 1,
    placedAt: new Date(FIRST_PLACED + orderId * 1_001).toISOString(),
    note: orderId % 5 === 0 ? null : `order ${orderId}, leave it at the door`,
  };
}

export const SOURCE = 'shop.orders';
export const DETAIL_TYPE = 'OrderChanged';

/** Older events than the inbox remembers would be set aside. */
const NOW = new Date().toISOString();

/** As EventBridge puts it into a queue. */
export function envelopeOf({ id, ...data }: ReverseEvent): string {
  return JSON.stringify({
    version: '0',
    id: `00000000-0000-4000-8000-${`${data.orderId}`.padStart(9, '0')}${`${data.version}`.padStart(3, '0')}`,
    'detail-type': DETAIL_TYPE,
    source: SOURCE,
    account: '000000000000',
    time: NOW,
    region: 'eu-west-1',
    resources: [],
    detail: { metadata: { id }, ...data },
  });
}
