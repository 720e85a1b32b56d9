import type { SeenEvent, WorkerBed } from './worker-harness.ts';

/**
 * What the forward path is asked everywhere, whatever server and bus are at its ends: every operation, single and composite keys, keys that
 * change, values that only text keeps exact, a value that PostgreSQL leaves out of the stream, a rollback, and a message.
 */
export const FORWARD_SETUP = `
  create table orders (id int primary key, total numeric(12,2), note text, tags text[]);
  create table order_lines (order_id bigint, line int, sku text not null, quantity int, primary key (order_id, line));
  create table documents (id int primary key, title text, body text);
  alter table documents alter column body set storage external;
  alter table order_lines replica identity full;
`;

export const FORWARD_CAPTURE: readonly object[] = [
  { table: 'public.orders' },
  { table: 'public.order_lines' },
  { table: 'public.documents' },
  { messages: 'outbox' },
];

/** Each one a transaction. */
const TRANSACTIONS: readonly string[] = [
  `insert into orders values (1, 10.50, 'Grüße, "quoted"', '{a,"b c"}'), (2, null, '', '{}')`,
  `begin;
   insert into order_lines values (9007199254740993, 1, 'tea', 2), (9007199254740993, 2, 'cup', 1);
   update order_lines set quantity = 3 where line = 1;
   commit`,
  `begin; insert into orders values (99, 1, 'rolled back'); delete from order_lines; rollback`,
  `update orders set id = 3, total = 0.10 where id = 2`,
  `insert into documents values (1, 'long', (select string_agg(md5(g::text), '') from generate_series(1, 300) g))`,
  `update documents set title = 'longer'`,
  `delete from order_lines where line = 2`,
  `select pg_logical_emit_message(true, 'outbox', '{"detail-type": "OrderShipped", "detail": {"order": 1234567890123456789}}')`,
  `delete from orders where id = 1`,
];

export async function runTransactions(bed: Pick<WorkerBed, 'sql'>): Promise<void> {
  for (const transaction of TRANSACTIONS) await bed.sql(transaction);
}

const LINE = { order_id: '9007199254740993', line: 1 };
const CUP = { order_id: '9007199254740993', line: 2 };

/** What must come of them, in the order of the commits. */
export const FORWARD_EVENTS: readonly ForwardEvent[] = [
  {
    change: 'insert public.orders',
    key: { id: 1 },
    data: { id: 1, total: '10.50', note: 'Grüße, "quoted"', tags: ['a', 'b c'] },
  },
  { change: 'insert public.orders', key: { id: 2 }, data: { id: 2, total: null, note: '', tags: [] } },
  { change: 'insert public.order_lines', key: LINE, data: { ...LINE, sku: 'tea', quantity: 2 } },
  { change: 'insert public.order_lines', key: CUP, data: { ...CUP, sku: 'cup', quantity: 1 } },
  { change: 'update public.order_lines', key: LINE, data: { ...LINE, sku: 'tea', quantity: 3 } },
  {
    change: 'update public.orders',
    key: { id: 3 },
    previousKey: { id: 2 },
    data: { id: 3, total: '0.10', note: '', tags: [] },
  },
  { change: 'insert public.documents', key: { id: 1 }, data: { id: 1, title: 'long', body: '9600 characters' } },
  { change: 'update public.documents', key: { id: 1 }, data: { id: 1, title: 'longer' }, unavailable: ['body'] },
  { change: 'delete public.order_lines', key: CUP, data: { ...CUP, sku: 'cup', quantity: 1 } },
  { change: 'message OrderShipped', order: '1234567890123456789' },
  {
    change: 'delete public.orders',
    key: { id: 1 },
    data: { id: 1 },
    unavailable: ['total', 'note', 'tags'],
  },
];

export interface ForwardEvent {
  readonly change: string;
  readonly key?: Readonly<Record<string, unknown>>;
  readonly previousKey?: Readonly<Record<string, unknown>>;
  readonly data?: Readonly<Record<string, unknown>>;
  readonly unavailable?: readonly string[];
  /** Digits as they stand in the JSON text, which a parsed number would lose. */
  readonly order?: string | undefined;
}

/** Events in the form of `FORWARD_EVENTS`, each id once, in the order of the commits: a bus may repeat them and deliver them in any order. */
export function told(events: readonly SeenEvent[]): ForwardEvent[] {
  const byId = new Map(events.map((event) => [event.metadata.id, event]));
  return [...byId.values()]
    .toSorted((left, right) => (left.metadata.sequence < right.metadata.sequence ? -1 : 1))
    .map(tell);
}

function tell({ detailType, metadata, data, detail }: SeenEvent): ForwardEvent {
  if (metadata.operation === 'message') {
    return { change: `message ${detailType}`, order: /"order":\s*(\d+)/.exec(detail)?.[1] };
  }
  const { operation, table, key, previousKey, unavailable } = metadata;
  const { body } = data;
  return {
    change: `${operation} ${table}`,
    key,
    ...(previousKey === undefined ? {} : { previousKey }),
    data: typeof body === 'string' ? { ...data, body: `${body.length} characters` } : data,
    ...(unavailable.length === 0 ? {} : { unavailable }),
  };
}
