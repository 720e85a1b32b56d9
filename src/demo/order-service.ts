import { EventBridgeClient, PutEventsCommand } from '@aws-sdk/client-eventbridge';
import { SQSClient } from '@aws-sdk/client-sqs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LocalBus } from '../local-bus/local-bus.ts';
import { consume } from './consumer.ts';
import { Deliveries, type Decided, type Decision, type Delivery } from './deliveries.ts';
import { BUS, SERVICE_SOURCE } from './queues.ts';
import type { ReverseBooks } from './reverse-books.ts';

/** The new system's half of the demo, as small as a service can be that listens, decides, and says so. It knows the bus and its queue, and no database. */
export interface OrderService {
  /** Rejects when it fails; resolves after the signal. */
  readonly running: Promise<void>;
  /** Deliveries that it decided about, by order, as it knows them now; undefined: withdrawn. */
  readonly deliveries: ReadonlyMap<string, Delivery | undefined>;
  /** Nothing is planned, and everything is sent. */
  readonly isIdle: boolean;
}

export interface OrderServiceOptions {
  readonly bus: LocalBus;
  readonly queueUrl: string;
  readonly books: ReverseBooks;
}

/** Receive loops at once. */
const CONSUMERS = 2;
const TICK_MS = 100;
/** One decision of so many is sent a second time, as by a service that had no answer. */
const TWICE_SHARE = 5;
/** As many entries PutEvents takes. */
const MAX_ENTRIES = 10;
const CREDENTIALS = { accessKeyId: 'demo', secretAccessKey: 'demo' };

export function startOrderService({ bus, queueUrl, books }: OrderServiceOptions, signal: AbortSignal): OrderService {
  const deliveries = new Deliveries();
  const sqs = new SQSClient({ endpoint: bus.queuesUrl ?? '', region: bus.region, credentials: CREDENTIALS });
  const eventBridge = new EventBridgeClient({ endpoint: bus.url, region: bus.region, credentials: CREDENTIALS });
  const again: Decision[] = [];
  let decisions = 0;
  let sending = 0;

  /** Before the message that led to it is deleted: a service that dies in between decides again, under the same ids. */
  async function send(decided: Decided): Promise<void> {
    const repeats = again.splice(0);
    for (const decision of decided.decisions) {
      if ((decisions += 1) % TWICE_SHARE === 0) again.push(decision);
    }
    books.sent({ ...decided, repeats });
    sending += 1;
    try {
      await put(eventBridge, [...decided.decisions, ...repeats]);
    } finally {
      sending -= 1;
    }
  }

  const loops = Array.from({ length: CONSUMERS }, () =>
    consume({ sqs, queueUrl, onEvent: (event) => send(deliveries.handle(event, Date.now())) }, signal),
  );
  const planning = async () => {
    while (!signal.aborted) {
      await send(deliveries.due(Date.now()));
      await sleep(TICK_MS, undefined, { signal }).catch(() => undefined);
    }
  };
  return {
    running: Promise.all([...loops, planning()])
      .then(() => undefined)
      .finally(() => {
        sqs.destroy();
        eventBridge.destroy();
      }),
    get deliveries() {
      return deliveries.all;
    },
    get isIdle() {
      return deliveries.planning === 0 && again.length === 0 && sending === 0;
    },
  };
}

async function put(client: EventBridgeClient, decisions: readonly Decision[]): Promise<void> {
  for (let at = 0; at < decisions.length; at += MAX_ENTRIES) {
    const answer = await client.send(
      new PutEventsCommand({
        Entries: decisions.slice(at, at + MAX_ENTRIES).map((decision) => ({
          EventBusName: BUS,
          Source: SERVICE_SOURCE,
          DetailType: decision.detailType,
          Detail: JSON.stringify(detailOf(decision)),
        })),
      }),
    );
    const failed = answer.Entries?.find(({ ErrorCode }) => ErrorCode !== undefined);
    if (failed !== undefined) throw new Error(`the bus did not take an event: ${failed.ErrorCode ?? 'no code'}`);
  }
}

/** What config/demo.yaml reads, under `reverse`. */
function detailOf({ id, causedBy, hops, orderId, version, basedOn, values }: Decision): object {
  return { metadata: { id, causedBy, hops }, orderId, version, basedOn, ...values };
}
