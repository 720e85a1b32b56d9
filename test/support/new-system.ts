import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';

/** The detail of a legacy event, as far as this system looks into it. */
interface LegacyDetail {
  readonly metadata: {
    readonly id: string;
    readonly sequence: string;
    readonly operation: string;
    readonly key: { readonly id: number };
    readonly origin: string;
  };
  readonly data: { readonly status?: string };
}

interface Order {
  status: string;
  /** Of this system's own changes. */
  version: number;
  /** The newest of the legacy side's events that it has seen. */
  sequence: string;
}

export interface SeenOfLegacy {
  readonly id: string;
  readonly origin: string;
  readonly operation: string;
  readonly status: string | undefined;
}

export interface NewSystemOptions {
  /** Puts the detail of an `OrderStatusChanged` of `shop.orders` on the bus. */
  readonly publish: (detail: string) => Promise<void> | void;
  /** Milliseconds that anything may take on its way, in both directions. */
  readonly delayMs: number;
  /** How many of all messages come again. */
  readonly repeats: number;
}

/**
 * An order service beside the legacy one, as simple as one can be that is right: it takes whatever legacy event is newer than the last, and says in its own
 * events which one that was. What it sends and what it gets is late, out of order and repeated.
 */
export class NewSystem {
  readonly orders = new Map<number, Order>();
  /** Values that it wrote, each once. */
  readonly written: string[] = [];
  /** Legacy events, those that repeat included. */
  readonly seen: SeenOfLegacy[] = [];
  readonly #options: NewSystemOptions;
  readonly #underWay = new Set<Promise<void>>();

  constructor(options: NewSystemOptions) {
    this.#options = options;
  }

  /** An order that is known to both sides from the beginning. */
  knows(id: number, status: string): void {
    this.orders.set(id, { status, version: 0, sequence: '' });
  }

  /** What the bus brings of the legacy side. */
  receive(detail: LegacyDetail): void {
    this.#later(() => this.#take(detail));
  }

  /** One change of its own, told to the other side. */
  change(id: number): void {
    const order = this.orders.get(id);
    if (order === undefined) throw new RangeError(`no order ${id}`);
    order.version += 1;
    order.status = `N-${id}-${order.version}`;
    this.written.push(order.status);
    const detail = JSON.stringify({
      metadata: { id: randomUUID() },
      orderId: id,
      status: order.status,
      version: order.version,
      // Left out until it has seen any.
      basedOn: order.sequence === '' ? undefined : order.sequence,
    });
    this.#later(() => this.#options.publish(detail));
  }

  /** Until nothing is on its way any more. */
  async quiet(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
  }

  #take({ metadata, data }: LegacyDetail): void {
    const { id, origin, operation } = metadata;
    this.seen.push({ id, origin, operation, status: data.status });
    const order = this.orders.get(metadata.key.id) ?? { status: '', version: 0, sequence: '' };
    if (metadata.sequence <= order.sequence) return;
    order.sequence = metadata.sequence;
    if (data.status !== undefined) order.status = data.status;
    this.orders.set(metadata.key.id, order);
  }

  #later(deliver: () => Promise<void> | void): void {
    const times = Math.random() < this.#options.repeats ? 2 : 1;
    for (let time = 0; time < times; time += 1) {
      const way = pause(Math.random() * this.#options.delayMs).then(deliver);
      const known = way.finally(() => this.#underWay.delete(known));
      this.#underWay.add(known);
    }
  }
}
