import type { Envelope } from './consumer.ts';
import { between, pick } from './shop.ts';

/** What the new order service knows and decides: no clock, no network. Its events, and how they are sent, are in order-service.ts. */

/** A delivery as the service sees it: what it decided, or what the legacy side said since. */
export interface Delivery {
  readonly promisedOn: string;
  readonly slot: string;
  readonly promisedBy: string;
  readonly tracking: string | null;
}

export interface Decision {
  readonly detailType: 'DeliveryPromised' | 'DeliveryShipped' | 'DeliveryWithdrawn';
  /** The same whenever it is sent. */
  readonly id: string;
  readonly orderId: string;
  /** Grows with every decision about this order. */
  readonly version: number;
  /** Sequence of the newest legacy event about the delivery that the service had seen: how a conflict is told from a change. */
  readonly basedOn: string;
  /** Id of the event that led to it. */
  readonly causedBy: string;
  readonly hops: number;
  readonly values: Partial<Delivery>;
}

/** Decisions in the order in which they are to be sent, which need not be that of their versions. */
export interface Decided {
  readonly decisions: readonly Decision[];
  /** Those that are sent behind a newer one. */
  readonly late: readonly Decision[];
}

/** What the planner has before it: the order as it was known when the planning began. */
interface Plan {
  readonly order: OrderState;
  readonly basedOn: string;
  readonly cause: Envelope;
  readonly dueAtMs: number;
}

interface OrderState {
  readonly id: string;
  version: number;
  /** Of the newest event about the delivery; before there is one, of the event that the order was met by. */
  seen: string;
  /** What that event says the legacy table has; undefined: no row, or nothing is known of one. */
  row: Delivery | undefined;
  delivery: Delivery | undefined;
  /** Per field, the decision that set it last; undefined: the legacy side. */
  readonly decidedBy: Map<keyof Delivery, string | undefined>;
  withdrawnBy: string | undefined;
  isShipped: boolean;
}

const NOTHING: Decided = { decisions: [], late: [] };
const FIELDS = ['promisedOn', 'slot', 'promisedBy', 'tracking'] as const;
const SLOTS = ['morning', 'afternoon', 'evening'];
const DAY_MS = 86_400_000;
/** The planner takes its time, and clerks do not wait for it: some of its plans meet a delivery that has changed meanwhile. */
const PLANNING_MS = 2_000;

export class Deliveries {
  readonly #orders = new Map<string, OrderState>();
  /** By row, the newest sequence: what docs/consuming.md asks of every consumer. */
  readonly #newest = new Map<string, string>();
  readonly #plans: Plan[] = [];

  /** Deliveries that were decided about, by order; undefined: withdrawn. */
  get all(): ReadonlyMap<string, Delivery | undefined> {
    return new Map([...this.#orders].map(([id, { delivery }]) => [id, delivery]));
  }

  /** Plans that were begun and are not made yet. */
  get planning(): number {
    return this.#plans.length;
  }

  /** A repeat, and what is older than what the service knows of this row, changes nothing, except that an answer is one. */
  handle(event: Envelope, nowMs: number): Decided {
    const { table, key, sequence } = event.detail.metadata;
    const row = `${table} ${JSON.stringify(key)}`;
    const isNews = sequence > (this.#newest.get(row) ?? '');
    if (isNews) this.#newest.set(row, sequence);
    if (table === 'shop.deliveries') this.#take(event, isNews);
    else if (isNews) return this.#decide(event, nowMs);
    return NOTHING;
  }

  /** The plans that are made by now. */
  due(nowMs: number): Decided {
    const decisions: Decision[] = [];
    while ((this.#plans[0]?.dueAtMs ?? Infinity) <= nowMs) {
      const plan = this.#plans.shift();
      // What was shipped or cancelled meanwhile needs no plan.
      if (plan === undefined || plan.order.isShipped || plan.order.delivery === undefined) continue;
      decisions.push(promise(plan.order, { cause: plan.cause, nowMs, days: between(1, 4), basedOn: plan.basedOn }));
    }
    return { decisions, late: [] };
  }

  #decide(event: Envelope, nowMs: number): Decided {
    const orderId = String(event.detail.data['orderId']);
    const known = this.#orders.get(orderId);
    switch (event['detail-type']) {
      case 'OrderPlaced':
        return known === undefined ? this.#meet(orderId, { event, nowMs }) : NOTHING;
      case 'PaymentReceived': {
        const decided = known === undefined ? this.#meet(orderId, { event, nowMs }) : NOTHING;
        const order = this.#orders.get(orderId);
        if (order === undefined || order.delivery === undefined) return decided;
        this.#plans.push({ order, basedOn: order.seen, cause: event, dueAtMs: nowMs + PLANNING_MS });
        return decided;
      }
      case 'OrderShipped':
        return known?.delivery === undefined ? NOTHING : one(ship(known, event));
      case 'OrderCancelled':
        return known?.delivery === undefined ? NOTHING : one(withdraw(known, event));
      default:
        return NOTHING;
    }
  }

  /** The first promise. For some orders a better one is found at once, and overtakes it on its way. */
  #meet(id: string, { event, nowMs }: { event: Envelope; nowMs: number }): Decided {
    const order: OrderState = {
      id,
      version: 0,
      seen: event.detail.metadata.sequence,
      row: undefined,
      delivery: undefined,
      decidedBy: new Map(),
      withdrawnBy: undefined,
      isShipped: false,
    };
    this.#orders.set(id, order);
    const first = promise(order, { cause: event, nowMs, days: between(3, 7), basedOn: order.seen });
    if (between(1, 4) > 1) return one(first);
    const better = promise(order, { cause: event, nowMs, days: between(2, 5), basedOn: order.seen });
    return { decisions: [better, first], late: [first] };
  }

  /**
   * The legacy side has spoken: its word is taken, and nothing is answered, or the two would never come to an end. An answer to a decision counts for what that
   * decision was the last to set: a newer one is still on its way, and gets its own answer if it needs one. Where the answer comes behind what is newer, the row as it is
   * known by then has what became of the decision.
   */
  #take({ detail: { metadata, data } }: Envelope, isNews: boolean): void {
    const order = this.#orders.get(Object.values(metadata.key).map(String)[0] ?? '');
    if (order === undefined) return;
    const answersTo = metadata.origin === 'correction' ? metadata.causedBy : undefined;
    if (isNews) {
      order.seen = metadata.sequence;
      order.row = metadata.operation === 'delete' ? undefined : rowOf(data);
    } else if (answersTo === undefined) return;
    if (order.withdrawnBy !== undefined && order.withdrawnBy !== answersTo) return;
    const { row } = order;
    if (row === undefined) {
      if (isNews) order.delivery = undefined;
      return;
    }
    order.withdrawnBy = undefined;
    const before = order.delivery ?? row;
    const isLegacys = (field: keyof Delivery): boolean => {
      const decidedBy = order.decidedBy.get(field);
      if (decidedBy === undefined || decidedBy === answersTo) return true;
      // A clerk never touches the parcel's number, so an event from before it was known says nothing about it.
      return answersTo === undefined && field !== 'tracking';
    };
    order.delivery = Object.fromEntries(
      FIELDS.map((field) => {
        if (!isLegacys(field)) return [field, before[field]];
        order.decidedBy.set(field, undefined);
        return [field, row[field]];
      }),
    ) as unknown as Delivery;
  }
}

function rowOf(data: Readonly<Record<string, unknown>>): Delivery {
  return {
    promisedOn: String(data['promisedOn']),
    slot: String(data['slot']),
    promisedBy: String(data['promisedBy']),
    tracking: typeof data['tracking'] === 'string' ? data['tracking'] : null,
  };
}

function one(decision: Decision): Decided {
  return { decisions: [decision], late: [] };
}

function promise(
  order: OrderState,
  { cause, nowMs, days, basedOn }: { cause: Envelope; nowMs: number; days: number; basedOn: string },
): Decision {
  const values = {
    promisedOn: new Date(nowMs + days * DAY_MS).toISOString().slice(0, 10),
    slot: pick(SLOTS),
    promisedBy: 'service',
  };
  const decision = next(order, { detailType: 'DeliveryPromised', cause, basedOn, values });
  order.delivery = { tracking: order.delivery?.tracking ?? null, ...values };
  return decision;
}

function ship(order: OrderState, cause: Envelope): Decision {
  order.isShipped = true;
  const values = { tracking: `BX-${order.id.padStart(8, '0')}` };
  const decision = next(order, { detailType: 'DeliveryShipped', cause, basedOn: order.seen, values });
  if (order.delivery !== undefined) order.delivery = { ...order.delivery, ...values };
  return decision;
}

function withdraw(order: OrderState, cause: Envelope): Decision {
  const decision = next(order, { detailType: 'DeliveryWithdrawn', cause, basedOn: order.seen, values: {} });
  order.withdrawnBy = decision.id;
  order.delivery = undefined;
  return decision;
}

function next(
  order: OrderState,
  {
    cause,
    ...what
  }: Pick<Decision, 'detailType' | 'basedOn' | 'values'> & {
    cause: Envelope;
  },
): Decision {
  const { id: causedBy, hops = 0 } = cause.detail.metadata;
  const version = (order.version += 1);
  const decision = { ...what, id: `delivery-${order.id}-${version}`, orderId: order.id, version, causedBy, hops };
  for (const field of Object.keys(what.values) as (keyof Delivery)[]) order.decidedBy.set(field, decision.id);
  return decision;
}
