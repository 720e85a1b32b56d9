import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { LocalBus } from '../../src/local-bus/local-bus.ts';

/** The detail of a legacy event, as far as this system looks into it. */
interface LegacyDetail {
  readonly metadata: {
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

export interface NewSystemOptions {
  readonly bus: LocalBus;
  readonly busName: string;
  readonly ids: readonly number[];
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
  /** Legacy events by origin, those that repeat included. */
  readonly seen: { readonly origin: string; readonly status: string | undefined; readonly operation: string }[] = [];
  readonly #options: NewSystemOptions;
  readonly #underWay = new Set<Promise<void>>();

  constructor(options: NewSystemOptions) {
    this.#options = options;
    for (const id of options.ids) this.orders.set(id, { status: 'placed', version: 0, sequence: '' });
    options.bus.onAccepted(({ source, detail }) => {
      if (source !== 'legacy.shop') return;
      const parsed = JSON.parse(detail) as LegacyDetail;
      this.#later(() => this.#take(parsed));
    });
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
    this.#later(() => {
      this.#options.bus.invoke('PutEvents', {
        Entries: [
          {
            EventBusName: this.#options.busName,
            Source: 'shop.orders',
            DetailType: 'OrderStatusChanged',
            Detail: detail,
          },
        ],
      });
    });
  }

  /** Until nothing is on its way any more. */
  async quiet(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
  }

  #take({ metadata, data }: LegacyDetail): void {
    this.seen.push({ origin: metadata.origin, status: data.status, operation: metadata.operation });
    const order = this.orders.get(metadata.key.id);
    if (order === undefined || metadata.sequence <= order.sequence) return;
    order.sequence = metadata.sequence;
    if (data.status !== undefined) order.status = data.status;
  }

  #later(deliver: () => void): void {
    const times = Math.random() < this.#options.repeats ? 2 : 1;
    for (let time = 0; time < times; time += 1) {
      const way = pause(Math.random() * this.#options.delayMs).then(deliver);
      const known = way.finally(() => this.#underWay.delete(known));
      this.#underWay.add(known);
    }
  }
}
