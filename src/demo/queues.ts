import { setTimeout as sleep } from 'node:timers/promises';
import type { LocalBus } from '../local-bus/local-bus.ts';
import { createQueueTarget } from '../local-bus/queue-target.ts';

export const BUS = 'shop';
/** As config/demo.yaml has it, by default. */
export const LEGACY_SOURCE = 'legacy.demo';
export const SERVICE_SOURCE = 'shop.orders';

/** URLs by who receives from them. */
export interface DemoQueues {
  /** Everything that the worker publishes, for the books. */
  readonly books: readonly string[];
  readonly service: string;
  /** What the service decides, for the worker. */
  readonly back: string;
}

/** What a backfill sends has a queue of its own, so that no live event waits behind thousands of old rows. */
export async function createQueues(bus: LocalBus): Promise<DemoQueues> {
  const old = ['read', 'backfill'];
  const live = [{ 'anything-but': old }];
  const make = async (name: string, pattern: object): Promise<string> => {
    const target = await createQueueTarget(bus, { busName: BUS, ruleName: name, queueName: `shop-${name}`, pattern });
    return target.queueUrl;
  };
  const tables = ['shop.orders', 'shop.payments', 'shop.deliveries'];
  return {
    books: [await make('events', legacy({ operation: live })), await make('backfill', legacy({ operation: old }))],
    service: await make('order-service', legacy({ table: tables, operation: live })),
    back: await make('back', { source: [SERVICE_SOURCE] }),
  };
}

function legacy(metadata: object): object {
  return { source: [LEGACY_SOURCE], detail: { metadata } };
}

/** Whether the queue holds nothing, neither waiting nor in a consumer's hands. */
export async function isEmpty(bus: LocalBus, queueUrl: string): Promise<boolean> {
  const names = ['ApproximateNumberOfMessages', 'ApproximateNumberOfMessagesNotVisible'];
  const answer = await bus.invokeQueues('GetQueueAttributes', { QueueUrl: queueUrl, AttributeNames: names });
  const attributes = answer['Attributes'] as Readonly<Record<string, string>> | undefined;
  return names.every((name) => attributes?.[name] === '0');
}

export async function emptied(bus: LocalBus, queueUrl: string): Promise<void> {
  for (let tries = 0; tries < 500 && !(await isEmpty(bus, queueUrl)); tries += 1) await sleep(20);
}
