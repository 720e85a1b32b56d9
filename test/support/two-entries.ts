import { bodyOf } from './reverse-worker-bed.ts';

/** Two tables that one event is for. */
export const twoTables = `create table orders (id integer primary key, quantity integer);
  create table copies (id integer primary key, quantity text)`;

const entry = {
  match: { source: ['shop.orders'] },
  operation: 'upsert',
  key: { id: 'detail.id' },
  set: { quantity: 'detail.quantity' },
};
/** Without a version, so that nothing but the order of the lane keeps an older event from coming last. */
export const orders = { ...entry, table: 'public.orders' };
/** Takes any value as its text. */
export const copies = { ...entry, table: 'public.copies', set: { quantity: { cel: 'string(detail.quantity)' } } };
export const bothCaptured = [{ table: 'public.orders' }, { table: 'public.copies' }];

let number = 0;

/** Each is an event of its own. */
export function ordered(id: number, detail: object): string {
  return bodyOf({ id: `order-${(number += 1)}`, type: 'OrderChanged', detail: { id, ...detail } });
}
