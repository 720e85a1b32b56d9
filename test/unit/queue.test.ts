import { afterEach, describe, expect, test } from 'vitest';
import {
  createQueue,
  isFifoUrl,
  type Queue,
  type QueueMessage,
  type QueueOptions,
  regionOfQueue,
} from '../../src/bus/queue.ts';
import { type LocalBus, startLocalBus } from '../../src/local-bus/local-bus.ts';
import { serviceError } from '../support/eventbridge-stub.ts';
import { allDone, startQueueStub } from '../support/queue-stub.ts';

const never = new AbortController().signal;
const secret = 'row-value-4711';
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

function connect(url: string, options: Partial<QueueOptions> = {}): Queue {
  const queue = createQueue({
    url,
    region: 'eu-west-1',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    ...options,
  });
  cleanups.push(() => queue.close());
  return queue;
}

async function startBus(attributes: Record<string, string> = {}): Promise<{ bus: LocalBus; url: string }> {
  const bus = await startLocalBus();
  cleanups.push(() => bus.close());
  const name = attributes['FifoQueue'] === 'true' ? 'back.fifo' : 'back';
  await bus.invokeQueues('CreateQueue', { QueueName: name, Attributes: attributes });
  return { bus, url: `${bus.queuesUrl}/000000000000/${name}` };
}

function message(id: string): QueueMessage {
  return { id, receipt: `receipt-${id}`, body: secret, receives: 1, sentAtMs: undefined, group: undefined };
}

const messages = (count: number): QueueMessage[] => Array.from({ length: count }, (_, index) => message(`${index}`));
const POLL = { max: 10, waitSeconds: 0, visibilitySeconds: 30 };

describe('a queue of the embedded bus', () => {
  test('gives messages with what SQS says of them, and takes them back deleted', async () => {
    const { bus, url } = await startBus({ VisibilityTimeout: '45', MessageRetentionPeriod: '3600' });
    const queue = connect(url);
    expect(await queue.probe(never)).toEqual({
      isFifo: false,
      arn: expect.stringMatching(/^arn:aws:sqs:[^:]*:000000000000:back$/) as string,
      visibilityTimeoutSeconds: 45,
      retentionSeconds: 3_600,
      maxReceives: undefined,
    });
    const before = Date.now();
    for (let n = 0; n < 12; n += 1) await bus.invokeQueues('SendMessage', { QueueUrl: url, MessageBody: `body ${n}` });
    const got: QueueMessage[] = [];
    while (got.length < 12) got.push(...(await queue.receive(POLL, never)));
    expect(got.map(({ body }) => body).toSorted()).toEqual(
      Array.from({ length: 12 }, (_, n) => `body ${n}`).toSorted(),
    );
    expect(new Set(got.map(({ receives }) => receives))).toEqual(new Set([1]));
    for (const { sentAtMs, group } of got) {
      expect(sentAtMs).toBeGreaterThanOrEqual(before - 1);
      expect(group).toBeUndefined();
    }
    expect(await queue.delete(got)).toEqual([]);
    const { Attributes } = await bus.invokeQueues('GetQueueAttributes', { QueueUrl: url, AttributeNames: ['All'] });
    expect(Attributes).toMatchObject({ ApproximateNumberOfMessages: '0', ApproximateNumberOfMessagesNotVisible: '0' });
  });

  test('gives a released message at once again, and an extended one not', async () => {
    const { bus, url } = await startBus();
    const queue = connect(url);
    for (const body of ['a', 'b']) await bus.invokeQueues('SendMessage', { QueueUrl: url, MessageBody: body });
    const got = await queue.receive({ ...POLL, visibilitySeconds: 1 }, never);
    const [first] = got.filter(({ body }) => body === 'a');
    const [second] = got.filter(({ body }) => body === 'b');
    expect(await queue.extend([first!], 60)).toEqual([]);
    expect(await queue.release([second!])).toEqual([]);
    const again = await queue.receive({ ...POLL, waitSeconds: 2 }, never);
    expect(again.map(({ body, receives }) => [body, receives])).toEqual([['b', 2]]);
  });

  test('says the group of a message of a FIFO queue', async () => {
    const { bus, url } = await startBus({ FifoQueue: 'true', ContentBasedDeduplication: 'true' });
    const queue = connect(url);
    expect(await queue.probe(never)).toMatchObject({ isFifo: true });
    await bus.invokeQueues('SendMessage', { QueueUrl: url, MessageBody: '1', MessageGroupId: 'orders' });
    const got = await queue.receive(POLL, never);
    expect(got.map(({ body, group }) => [body, group])).toEqual([['1', 'orders']]);
  });

  test('ends a long poll at once when the signal aborts', async () => {
    const { url } = await startBus();
    const abort = new AbortController();
    const polling = connect(url).receive({ ...POLL, waitSeconds: 20 }, abort.signal);
    const reason = new Error('stopping');
    setImmediate(() => abort.abort(reason));
    await expect(polling).rejects.toBe(reason);
  });

  test('names a queue that is not there', async () => {
    const { url } = await startBus();
    const queue = connect(`${url}-not`);
    await expect(queue.probe(never)).rejects.toMatchObject({ kind: 'queue-missing' });
    await expect(queue.receive(POLL, never)).rejects.toMatchObject({ kind: 'queue-missing' });
  });
});

describe('with answers that an emulator does not give', () => {
  test('tells for each message of a batch what became of it', async () => {
    await using stub = await startQueueStub(({ input }) => ({
      status: 200,
      body: {
        // 3 is in neither list.
        Successful: (input.Entries ?? []).filter(({ Id }) => Number(Id) > 3).map(({ Id }) => ({ Id })),
        Failed: [
          { Id: '0', Code: 'InternalError', SenderFault: false, Message: secret },
          { Id: '1', Code: 'ReceiptHandleIsInvalid', SenderFault: true, Message: secret },
          { Id: '2', Code: 'RequestThrottled', SenderFault: false },
        ],
      },
    }));
    const failures = await connect(stub.queueUrl).delete(messages(6));
    expect(failures.map(({ message: { id }, error, isLost }) => [id, error.kind, isLost])).toEqual([
      ['0', 'queue-transient', false],
      ['1', 'queue-transient', true],
      ['2', 'queue-throttled', false],
      ['3', 'queue-transient', false],
    ]);
    expect(failures.map(({ error }) => error.message).join()).not.toContain(secret);
  });

  test('sends ten in a batch, and a batch that failed fails for its messages only', async () => {
    let calls = 0;
    await using stub = await startQueueStub((call) => {
      calls += 1;
      return calls === 1 ? serviceError('InternalError', { status: 500, message: secret }) : allDone(call);
    });
    const failures = await connect(stub.queueUrl).extend(messages(25), 30);
    const sizes = stub.calls.map(({ input }) => input.Entries?.length ?? 0);
    expect(sizes.toSorted((a, b) => b - a)).toEqual([10, 10, 5]);
    expect(failures).toHaveLength(10);
    expect(new Set(failures.map(({ error }) => error.kind))).toEqual(new Set(['queue-transient']));
    expect(failures[0]?.error.message).not.toContain(secret);
  });

  test.for([
    ['RequestThrottled', 400, 'queue-throttled'],
    ['OverLimit', 400, 'queue-throttled'],
    ['SomethingNew', 429, 'queue-throttled'],
    ['InternalError', 500, 'queue-transient'],
    ['SomethingNew', 503, 'queue-transient'],
    ['AccessDeniedException', 400, 'queue-unauthorized'],
    ['KmsAccessDenied', 400, 'queue-unauthorized'],
    ['QueueDoesNotExist', 400, 'queue-missing'],
    ['QueueDeletedRecently', 400, 'queue-missing'],
    ['ExpiredToken', 403, 'queue-credentials'],
    ['UnrecognizedClientException', 400, 'queue-credentials'],
    ['SignatureDoesNotMatch', 403, 'queue-credentials'],
    ['SomethingNew', 400, 'unknown'],
  ] as const)('a call refused with %s (%i) is %s, after one attempt', async ([code, status, kind]) => {
    await using stub = await startQueueStub(() => serviceError(code, { status, message: secret }));
    const error: unknown = await connect(stub.queueUrl)
      .receive(POLL, never)
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ kind, code });
    expect(stub.calls).toHaveLength(1);
  });

  test('ends a call without an answer, and gives a long poll its waiting time on top', async () => {
    await using stub = await startQueueStub(() => 'hang');
    const queue = connect(stub.queueUrl, { requestTimeoutMs: 100 });
    expect((await queue.delete(messages(1))).map(({ error }) => error.kind)).toEqual(['queue-transient']);
    const begun = performance.now();
    await expect(queue.receive({ ...POLL, waitSeconds: 1 }, never)).rejects.toMatchObject({ kind: 'queue-transient' });
    expect(performance.now() - begun).toBeGreaterThan(1_000);
  });

  test('takes a broken connection, and an answer that is no JSON, for transient', async () => {
    await using stub = await startQueueStub(() => 'destroy');
    const queue = connect(stub.queueUrl);
    await expect(queue.receive(POLL, never)).rejects.toMatchObject({ kind: 'queue-transient' });
  });

  test('does not quote a body whose checksum differs', async () => {
    await using stub = await startQueueStub(() => ({
      status: 200,
      body: { Messages: [{ MessageId: '1', ReceiptHandle: 'r', Body: secret, MD5OfBody: 'f'.repeat(32) }] },
    }));
    const error: unknown = await connect(stub.queueUrl)
      .receive(POLL, never)
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ kind: 'queue-transient' });
    expect(String(error)).not.toContain(secret);
  });

  test('says when there are no credentials', async () => {
    await using stub = await startQueueStub(allDone);
    const queue = connect(stub.queueUrl, {
      credentials: async () => {
        throw Object.assign(new Error('Could not load credentials from any providers'), {
          name: 'CredentialsProviderError',
        });
      },
    });
    await expect(queue.probe(never)).rejects.toMatchObject({ kind: 'queue-credentials' });
  });
});

test('the region and the kind of a queue are in its URL', () => {
  expect(regionOfQueue('https://sqs.eu-west-1.amazonaws.com/123456789012/back')).toBe('eu-west-1');
  expect(regionOfQueue('https://sqs.cn-north-1.amazonaws.com.cn/123456789012/back')).toBe('cn-north-1');
  expect(regionOfQueue('https://eu-central-1.queue.amazonaws.com/123456789012/back')).toBe('eu-central-1');
  expect(regionOfQueue('http://127.0.0.1:4011/000000000000/back')).toBeUndefined();
  expect(isFifoUrl('https://sqs.eu-west-1.amazonaws.com/123456789012/back.fifo')).toBe(true);
  expect(isFifoUrl('https://sqs.eu-west-1.amazonaws.com/123456789012/back')).toBe(false);
});
