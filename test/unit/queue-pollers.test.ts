import { pino } from 'pino';
import { expect, test } from 'vitest';
import type { Queue, QueueMessage, ReceiveOptions } from '../../src/bus/queue.ts';
import { BanyanError } from '../../src/core/errors.ts';
import { Consumer } from '../../src/reverse/consumer.ts';
import type { Delivery } from '../../src/reverse/delivery.ts';
import { eventually } from '../support/eventually.ts';

interface Call {
  readonly options: ReceiveOptions;
  readonly resolve: (messages: QueueMessage[]) => void;
  readonly reject: (error: Error) => void;
}

/** Every call of `receive` waits for the test. */
class ScriptedQueue implements Queue {
  readonly calls: Call[] = [];

  receive(options: ReceiveOptions): Promise<QueueMessage[]> {
    const { promise, resolve, reject } = Promise.withResolvers<QueueMessage[]>();
    this.calls.push({ options, resolve, reject });
    return promise;
  }

  extend = () => Promise.resolve([]);
  delete = () => Promise.resolve([]);
  release = () => Promise.resolve([]);
  probe = () => Promise.reject(new Error('nobody probes'));
  close = () => undefined;
}

function ten(): QueueMessage[] {
  return Array.from({ length: 10 }, (_, n) => ({
    id: `${n}`,
    receipt: `${n}`,
    body: '{}',
    receives: 1,
    sentAtMs: undefined,
    group: undefined,
  }));
}

test('receiving goes on when the calls that have all the room fail together', async () => {
  const queue = new ScriptedQueue();
  const { calls } = queue;
  const taken: Delivery[] = [];
  const consumer = new Consumer({
    queue,
    visibilityMs: 30_000,
    highWater: { messages: 20, bytes: 1_000_000 },
    isPaused: () => false,
    take: (delivery) => taken.push(delivery),
    log: pino({ level: 'silent' }),
  });
  const stop = new AbortController();
  const running = consumer.run(stop.signal);
  await eventually(() => calls.length === 1);
  // The queue is full: further ones receive too, until nothing more may be taken in hand.
  calls[0]?.resolve(ten());
  await eventually(() => calls.length === 2);
  for (const delivery of taken) consumer.done(delivery);
  await eventually(() => calls.length === 3);
  expect(calls.map(({ options }) => options.waitSeconds)).toEqual([20, 1, 1]);
  for (const { reject } of calls.slice(1)) reject(new BanyanError('queue-transient', 'a blip'));
  await eventually(() => calls.length > 3);
  expect(calls[3]?.options.waitSeconds).toBe(20);
  stop.abort();
  for (const { resolve } of calls) resolve([]);
  await running;
  await consumer.close(AbortSignal.abort());
});
