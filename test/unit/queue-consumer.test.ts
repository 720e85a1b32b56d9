import { pino } from 'pino';
import { afterEach, expect, test } from 'vitest';
import { createQueue } from '../../src/bus/queue.ts';
import { type LocalBus, startLocalBus } from '../../src/local-bus/local-bus.ts';
import { Consumer, type ConsumerOptions } from '../../src/reverse/consumer.ts';
import type { Delivery } from '../../src/reverse/delivery.ts';
import { type StubAnswer, serviceError } from '../support/eventbridge-stub.ts';
import { eventually } from '../support/eventually.ts';
import { allDone, type QueueCall, startQueueStub } from '../support/queue-stub.ts';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

interface Running {
  readonly consumer: Consumer;
  readonly taken: Delivery[];
  readonly logged: string[];
  /** Ends receiving. */
  readonly stop: () => Promise<void>;
}

function consume(url: string, options: Partial<ConsumerOptions> & { readonly autoDone?: boolean } = {}): Running {
  const { autoDone = false, ...rest } = options;
  const queue = createQueue({
    url,
    region: 'eu-west-1',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
  });
  const taken: Delivery[] = [];
  const logged: string[] = [];
  const consumer: Consumer = new Consumer({
    queue,
    visibilityMs: 30_000,
    highWater: { messages: 80, bytes: 1_000_000 },
    isPaused: () => false,
    take: (delivery) => {
      taken.push(delivery);
      if (autoDone) consumer.done(delivery);
    },
    log: pino({ level: 'debug' }, { write: (line: string) => void logged.push(line) }),
    ...rest,
  });
  const abort = new AbortController();
  const running = consumer.run(abort.signal);
  const stop = async (): Promise<void> => {
    abort.abort();
    await running;
  };
  cleanups.push(async () => {
    await stop();
    await consumer.close(AbortSignal.abort());
    queue.close();
  });
  return { consumer, taken, logged, stop };
}

async function startBus(): Promise<{
  bus: LocalBus;
  url: string;
  send: (count: number) => Promise<void>;
  left: () => Promise<unknown>;
}> {
  const bus = await startLocalBus();
  cleanups.push(() => bus.close());
  await bus.invokeQueues('CreateQueue', { QueueName: 'back' });
  const url = `${bus.queuesUrl}/000000000000/back`;
  return {
    bus,
    url,
    async send(count) {
      for (let n = 0; n < count; n += 1)
        await bus.invokeQueues('SendMessage', { QueueUrl: url, MessageBody: `body ${n}` });
    },
    async left() {
      const { Attributes } = await bus.invokeQueues('GetQueueAttributes', { QueueUrl: url, AttributeNames: ['All'] });
      const { ApproximateNumberOfMessages: visible, ApproximateNumberOfMessagesNotVisible: hidden } =
        Attributes as Record<string, string>;
      return { visible: Number(visible), hidden: Number(hidden) };
    },
  };
}

const bodies = (taken: readonly Delivery[]) => taken.map(({ message }) => message.body);

test('every message is taken once, and deleted once it is done', async () => {
  const { url, send, left } = await startBus();
  await send(120);
  const { consumer, taken, stop } = consume(url, { autoDone: true });
  await eventually(
    () => taken.length === 120 && consumer.inHand === 0,
    () => `${taken.length} taken, ${consumer.inHand} in hand`,
  );
  expect(new Set(bodies(taken)).size).toBe(120);
  expect(await left()).toEqual({ visible: 0, hidden: 0 });
  await stop();
});

test('no more than the high-water mark is in hand, and receiving goes on as messages are done', async () => {
  const { url, send, left } = await startBus();
  await send(30);
  const { consumer, taken } = consume(url, { highWater: { messages: 12, bytes: 1_000_000 } });
  await eventually(
    () => taken.length === 12,
    () => `${taken.length} of 12 taken`,
  );
  expect(await left()).toEqual({ visible: 18, hidden: 12 });
  for (const delivery of taken.slice()) consumer.done(delivery);
  await eventually(
    () => taken.length === 24,
    () => `${taken.length} of 24 taken`,
  );
  expect(consumer.inHand).toBe(12);
});

test('bodies above the mark of bytes stop receiving as well', async () => {
  const { url, send } = await startBus();
  await send(30);
  const { consumer, taken } = consume(url, { highWater: { messages: 1_000, bytes: 1 } });
  await eventually(
    () => taken.length > 0,
    () => 'nothing came',
  );
  const inHand = taken.length;
  // Only calls that were on their way may still have brought some: the next receive begins when all of these are gone.
  for (const delivery of taken.slice(0, -1)) consumer.done(delivery);
  await eventually(
    () => consumer.inHand === 1,
    () => `${consumer.inHand} in hand`,
  );
  expect(taken.length).toBe(inHand);
  consumer.done(taken.at(-1)!);
  await eventually(
    () => taken.length > inHand,
    () => 'nothing more came',
  );
});

test('a message that takes long stays invisible to others', async () => {
  const { url, send } = await startBus();
  await send(1);
  const begun = performance.now();
  const { taken } = consume(url, { visibilityMs: 1_000 });
  const other = consume(url, { visibilityMs: 1_000 });
  await eventually(
    () => taken.length + other.taken.length === 1,
    () => 'it never came',
  );
  // With nobody extending it, it would have come again three times.
  await eventually(
    () => performance.now() - begun > 3_500,
    () => 'time stands still',
    { timeoutMs: 10_000 },
  );
  expect(taken.length + other.taken.length).toBe(1);
});

test('what is given back can be received by others at once', async () => {
  const { url, send } = await startBus();
  await send(3);
  const first = consume(url);
  await eventually(
    () => first.taken.length === 3,
    () => `${first.taken.length} of 3 taken`,
  );
  await first.stop();
  first.consumer.done(first.taken[0]!);
  expect(first.consumer.unfinished()).toEqual(first.taken.slice(1));
  await first.consumer.giveBack(first.consumer.unfinished());
  await first.consumer.close(AbortSignal.timeout(5_000));
  expect(first.consumer.inHand).toBe(0);
  const second = consume(url, { autoDone: true });
  // Far sooner than they would be visible again by themselves.
  await eventually(
    () => second.taken.length === 2,
    () => `${second.taken.length} of 2 taken`,
    { timeoutMs: 5_000 },
  );
  expect(bodies(second.taken).toSorted()).toEqual(bodies(first.taken.slice(1)).toSorted());
});

/** Gives these messages with the first receive, and none later. */
function messagesOnce(messages: readonly { id: string; group?: string }[], rest: (call: QueueCall) => StubAnswer) {
  let given = false;
  return (call: QueueCall): StubAnswer => {
    if (call.operation !== 'ReceiveMessage') return rest(call);
    if (given) return 'hang';
    given = true;
    return {
      status: 200,
      body: {
        Messages: messages.map(({ id, group }) => ({
          MessageId: id,
          ReceiptHandle: `receipt-${id}`,
          Body: '',
          MD5OfBody: 'd41d8cd98f00b204e9800998ecf8427e',
          Attributes: { ApproximateReceiveCount: '1', ...(group === undefined ? {} : { MessageGroupId: group }) },
        })),
      },
    };
  };
}

test('of a deletion that failed in part only the failed ones are tried again, and lost ones are let go', async () => {
  let calls = 0;
  await using stub = await startQueueStub(
    messagesOnce([{ id: 'a' }, { id: 'b' }, { id: 'c' }], (call) => {
      calls += 1;
      if (calls > 1) return allDone(call);
      return {
        status: 200,
        body: {
          Successful: [{ Id: '0' }],
          Failed: [
            { Id: '1', Code: 'InternalError', SenderFault: false },
            { Id: '2', Code: 'ReceiptHandleIsInvalid', SenderFault: true },
          ],
        },
      };
    }),
  );
  const { consumer } = consume(stub.queueUrl, { autoDone: true });
  await eventually(
    () => calls === 2 && consumer.inHand === 0,
    () => `${calls} calls, ${consumer.inHand} in hand`,
  );
  const deletions = stub.calls.filter(({ operation }) => operation === 'DeleteMessageBatch');
  expect(deletions.map(({ input }) => input.Entries?.map(({ ReceiptHandle }) => ReceiptHandle))).toEqual([
    ['receipt-a', 'receipt-b', 'receipt-c'],
    ['receipt-b'],
  ]);
});

test('messages that may not be deleted stay in hand, and the status says why', async () => {
  let mayDelete = false;
  await using stub = await startQueueStub(
    messagesOnce([{ id: 'a' }], (call) => (mayDelete ? allDone(call) : serviceError('AccessDeniedException'))),
  );
  const { consumer, logged } = consume(stub.queueUrl, { autoDone: true });
  await eventually(
    () => consumer.problem !== undefined,
    () => 'no problem is said',
  );
  expect(consumer.problem).toMatchObject({ kind: 'queue-unauthorized' });
  expect(consumer.inHand).toBe(1);
  mayDelete = true;
  await eventually(
    () => consumer.inHand === 0 && consumer.problem === undefined,
    () => 'it does not go on',
    { timeoutMs: 20_000 },
  );
  expect(logged.filter((line) => line.includes('queue-unauthorized') && line.includes('"level":50'))).toHaveLength(1);
});

test('a queue that can not be read is waited for, said once, and read on by itself', async () => {
  let answer: StubAnswer = serviceError('QueueDoesNotExist');
  await using stub = await startQueueStub(() => answer);
  const { consumer, taken, logged } = consume(stub.queueUrl);
  await eventually(
    () => stub.calls.length >= 3,
    () => `${stub.calls.length} calls`,
    { timeoutMs: 20_000 },
  );
  expect(consumer.problem).toMatchObject({ kind: 'queue-missing' });
  expect(logged.filter((line) => line.includes('"level":50'))).toHaveLength(1);
  answer = messagesOnce([{ id: 'a' }], allDone)(stub.calls[0]!);
  await eventually(
    () => taken.length > 0 && consumer.problem === undefined,
    () => 'it does not go on',
    { timeoutMs: 20_000 },
  );
});

test('of a FIFO group one message has its turn at a time, and holds up no other group', async () => {
  await using stub = await startQueueStub(
    messagesOnce(
      [
        { id: 'a1', group: 'a' },
        { id: 'a2', group: 'a' },
        { id: 'b1', group: 'b' },
        { id: 'b2', group: 'b' },
      ],
      allDone,
    ),
  );
  const { consumer, taken } = consume(stub.queueUrl);
  const ids = () => taken.map(({ message }) => message.id);
  await eventually(
    () => taken.length === 2,
    () => ids().join(),
  );
  expect(ids()).toEqual(['a1', 'b1']);
  consumer.done(taken[1]!);
  expect(ids()).toEqual(['a1', 'b1', 'b2']);
  consumer.done(taken[2]!);
  expect(ids()).toEqual(['a1', 'b1', 'b2']);
  consumer.done(taken[0]!);
  expect(ids()).toEqual(['a1', 'b1', 'b2', 'a2']);
});
