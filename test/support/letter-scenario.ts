import { eventually } from './eventually.ts';
import { bodyOf, type ReverseWorkerBed } from './reverse-worker-bed.ts';

/** Orders with a parent, of which the note `bad` is refused. */
export const parentSetup = `
  create table customers (id integer primary key);
  create table orders (id integer primary key, customer_id integer references customers, note text check (note <> 'bad'))`;
export const orderEntry = {
  match: { source: ['shop.orders'] },
  table: 'public.orders',
  operation: 'upsert',
  key: { id: 'detail.id' },
  set: { customer_id: 'detail.customer', note: 'detail.note' },
  version: 'detail.version',
};
export const orderConfig = (more: object = {}) => ({
  capture: [{ table: 'public.orders' }],
  reverse: { apply: [{ ...orderEntry, ...more }] },
});

export const orderEvent = (
  id: number,
  { version = 1, ...more }: { version?: number; customer?: number | null; note?: string; time?: string } = {},
): string => {
  const { time, customer = null, note = 'good' } = more;
  const detail = { id, version, customer, note };
  return bodyOf({ id: `order-${id}-${version}`, type: 'Order', detail, ...(time === undefined ? {} : { time }) });
};

interface LetterRow extends Record<string, unknown> {
  readonly id: number;
  readonly kind: string;
  readonly group_key: string | null;
  readonly status: string;
  readonly waits: boolean;
}

/** All of them, settled ones too. */
export const letters = (bed: ReverseWorkerBed) =>
  bed.sql<LetterRow>(
    `select id::int, kind, group_key, status, waits_until is not null as waits from banyan.dead_letter order by id`,
  );

export async function lettersWhen(bed: ReverseWorkerBed, what: string, holds: (found: LetterRow[]) => boolean) {
  return await eventually(
    async () => {
      const found = await letters(bed);
      return holds(found) && found;
    },
    () => `not so: ${what}`,
    { timeoutMs: 30_000 },
  );
}

export const orderIds = async (bed: ReverseWorkerBed) =>
  (await bed.sql<{ id: number }>('select id from orders order by id')).map(({ id }) => id);
