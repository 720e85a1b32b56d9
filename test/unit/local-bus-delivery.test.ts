import {
  CreateEventBusCommand,
  DisableRuleCommand,
  EnableRuleCommand,
  EventBridgeClient,
  PutEventsCommand,
  PutRuleCommand,
  PutTargetsCommand,
} from '@aws-sdk/client-eventbridge';
import type { Target } from '@aws-sdk/client-eventbridge';
import {
  CreateQueueCommand,
  DeleteQueueCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SetQueueAttributesCommand,
  SQSClient,
} from '@aws-sdk/client-sqs';
import type { Message } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startLocalBus } from '../../src/local-bus/local-bus.ts';
import type { LocalBus } from '../../src/local-bus/local-bus.ts';
import { policyFor } from '../../src/local-bus/queue-policy.ts';
import { createQueueTarget } from '../../src/local-bus/queue-target.ts';

let bus: LocalBus;
let events: EventBridgeClient;
let queues: SQSClient;
const logged: string[] = [];

const region = 'eu-west-1';
const credentials = { accessKeyId: 'local', secretAccessKey: 'local' };
const QUEUE_ARN = (name: string): string => `arn:aws:sqs:${region}:000000000000:${name}`;
const RULE_ARN = (name: string): string => `arn:aws:events:${region}:000000000000:rule/${name}/${name}`;

beforeAll(async () => {
  bus = await startLocalBus({ region, log: (line) => logged.push(line) });
  events = new EventBridgeClient({ region, endpoint: bus.url, credentials });
  queues = new SQSClient({ region, endpoint: bus.queuesUrl ?? '', credentials });
});

afterAll(async () => {
  events.destroy();
  queues.destroy();
  await bus.close();
});

async function queue(name: string, attributes: Record<string, string> = {}): Promise<string> {
  const { QueueUrl = '' } = await queues.send(new CreateQueueCommand({ QueueName: name, Attributes: attributes }));
  return QueueUrl;
}

async function allow(QueueUrl: string, Policy: string): Promise<void> {
  await queues.send(new SetQueueAttributesCommand({ QueueUrl, Attributes: { Policy } }));
}

/** A bus and a rule of the same name, with targets. */
async function rule(name: string, ...Targets: Target[]): Promise<void> {
  await events.send(new CreateEventBusCommand({ Name: name }));
  const pattern = { EventBusName: name, Name: name, EventPattern: '{"source":["shop"]}' };
  await events.send(new PutRuleCommand(pattern));
  await events.send(new PutTargetsCommand({ EventBusName: name, Rule: name, Targets }));
}

async function put(EventBusName: string, ...details: string[]): Promise<readonly (string | undefined)[]> {
  const Entries = details.map((Detail) => ({ EventBusName, Source: 'shop', DetailType: 'T', Detail }));
  const answer = await events.send(new PutEventsCommand({ Entries }));
  expect(answer.FailedEntryCount).toBe(0);
  await bus.drained();
  return (answer.Entries ?? []).map((entry) => entry.EventId);
}

async function receive(QueueUrl: string): Promise<readonly Message[]> {
  const answer = await queues.send(
    new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10, MessageAttributeNames: ['All'] }),
  );
  return answer.Messages ?? [];
}

describe('a rule', () => {
  it('delivers the bare envelope, and the detail in it as it was written', async () => {
    const url = await queue('whole');
    await allow(url, policyFor(QUEUE_ARN('whole'), [RULE_ARN('whole')]));
    await rule('whole', { Id: 'q', Arn: QUEUE_ARN('whole') });
    const detail = '{ "z": 9007199254740993, "a": 0.10, "text": "ü\\u00e9" }';
    const Time = new Date('2026-03-01T12:00:00Z');
    const answer = await events.send(
      new PutEventsCommand({
        Entries: [
          { EventBusName: 'whole', Source: 'shop', DetailType: 'T', Detail: detail, Time, Resources: ['r'] },
          { EventBusName: 'whole', Source: 'other', DetailType: 'T', Detail: detail },
        ],
      }),
    );
    await bus.drained();
    const messages = await receive(url);
    expect(messages.map((message) => message.Body)).toEqual([
      `{"version":"0","id":"${answer.Entries?.[0]?.EventId}","detail-type":"T","source":"shop",` +
        `"account":"000000000000","time":"2026-03-01T12:00:00Z","region":"eu-west-1","resources":["r"],` +
        `"detail":${detail}}`,
    ]);
  });

  it('delivers characters beyond the basic plane', async () => {
    const target = await createQueueTarget(bus, {
      busName: 'emoji',
      ruleName: 'r',
      pattern: '{"source":["shop"]}',
      queueName: 'emoji',
    });
    await put('emoji', '{"a":"😀 \uFFFF"}');
    const [message] = await receive(target.queueUrl);
    expect((JSON.parse(message?.Body ?? '') as { detail: unknown }).detail).toEqual({ a: '😀 \uFFFF' });
  });

  it('delivers nothing while it is disabled', async () => {
    const target = await createQueueTarget(bus, {
      busName: 'off',
      ruleName: 'off',
      pattern: { source: ['shop'] },
      queueName: 'off',
    });
    await events.send(new DisableRuleCommand({ EventBusName: 'off', Name: 'off' }));
    await put('off', '{"n":1}');
    await events.send(new EnableRuleCommand({ EventBusName: 'off', Name: 'off' }));
    await put('off', '{"n":2}');
    expect((await receive(target.queueUrl)).map((message) => message.Body?.match(/"n":\d/)?.[0])).toEqual(['"n":2']);
  });

  it('matches integers that a double can not tell apart', async () => {
    const target = await createQueueTarget(bus, {
      busName: 'big',
      ruleName: 'big',
      pattern: '{"detail":{"id":[9007199254740993]}}',
      queueName: 'big',
    });
    await put('big', '{"id":9007199254740992}', '{"id":9007199254740993}');
    expect((await receive(target.queueUrl)).map((message) => message.Body?.slice(-25))).toEqual(
      ['{"id":9007199254740993}}'].map((text) => expect.stringContaining(text) as unknown),
    );
  });

  it('delivers to all of its targets, each in the order of acceptance', async () => {
    const urls = [await queue('fan-a'), await queue('fan-b')];
    await allow(urls[0] ?? '', policyFor(QUEUE_ARN('fan-a'), [RULE_ARN('fan')]));
    await allow(urls[1] ?? '', policyFor(QUEUE_ARN('fan-b'), [RULE_ARN('fan')]));
    await rule(
      'fan',
      { Id: 'a', Arn: QUEUE_ARN('fan-a') },
      { Id: 'b', Arn: QUEUE_ARN('fan-b'), InputPath: '$.detail.n' },
    );
    const numbers = Array.from({ length: 40 }, (_, index) => index);
    for (let at = 0; at < 40; at += 10) {
      const entries = numbers
        .slice(at, at + 10)
        .map((n) => ({ EventBusName: 'fan', Source: 'shop', DetailType: 'T', Detail: `{"n":${n}}` }));
      await events.send(new PutEventsCommand({ Entries: entries }));
    }
    await bus.drained();
    for (const [index, url] of urls.entries()) {
      const bodies: string[] = [];
      for (let at = 0; at < 4; at++) bodies.push(...(await receive(url)).map((message) => message.Body ?? ''));
      const found = bodies.map((body) => Number(index === 0 ? /"n":(\d+)/.exec(body)?.[1] : body));
      expect(found).toEqual(numbers);
    }
  });
});

describe('a target', () => {
  it.each([
    ['$.detail', '{ "b": 9007199254740993, "a": [1, {"x y": "z"}] }'],
    ["$.detail.a[1]['x y']", '"z"'],
    ['$.detail.b', '9007199254740993'],
    ['$.detail-type', '"T"'],
    ['$.resources', '[]'],
  ])('with InputPath %s gets that part as it was written', async (InputPath, expected) => {
    const name = `path-${InputPath.replaceAll(/[^a-z]/g, '')}-`;
    const url = await queue(name);
    await allow(url, policyFor(QUEUE_ARN(name), [RULE_ARN(name)]));
    await rule(name, { Id: 'q', Arn: QUEUE_ARN(name), InputPath });
    await put(name, '{ "b": 9007199254740993, "a": [1, {"x y": "z"}] }');
    const [message] = await receive(url);
    expect(message?.Body).toBe(expected);
  });

  it('with Input gets the constant', async () => {
    const url = await queue('constant');
    await allow(url, policyFor(QUEUE_ARN('constant'), [RULE_ARN('constant')]));
    await rule('constant', { Id: 'q', Arn: QUEUE_ARN('constant'), Input: '{"go":true}' });
    await put('constant', '{}');
    expect((await receive(url))[0]?.Body).toBe('{"go":true}');
  });

  it('that is FIFO gets the message group of the target', async () => {
    const target = await createQueueTarget(bus, {
      busName: 'fifo',
      ruleName: 'fifo',
      pattern: { source: ['shop'] },
      queueName: 'q.fifo',
    });
    await put('fifo', '{"n":1}', '{"n":2}');
    const answer = await queues.send(
      new ReceiveMessageCommand({
        QueueUrl: target.queueUrl,
        MaxNumberOfMessages: 10,
        MessageSystemAttributeNames: ['MessageGroupId'],
      }),
    );
    // fauxqs gives one message of a group at a time; the other waits behind it.
    expect(answer.Messages?.map((message) => message.Attributes?.MessageGroupId)).toEqual(['fifo']);
    expect(answer.Messages?.[0]?.Body).toContain('"n":1');
  });
});

describe('a queue’s policy', () => {
  it('lets nothing in where there is none, silently but counted, until there is one', async () => {
    const url = await queue('closed');
    await rule('closed', { Id: 'q', Arn: QUEUE_ARN('closed') });
    const before = bus.counters.denied;
    await put('closed', '{"n":1}', '{"n":2}');
    expect(bus.counters.denied).toBe(before + 2);
    expect(logged.filter((line) => line.includes('rule closed') && line.includes('NO_PERMISSIONS')).length).toBe(1);
    await allow(url, policyFor(QUEUE_ARN('closed'), [RULE_ARN('closed')]));
    await put('closed', '{"n":3}');
    expect((await receive(url)).map((message) => message.Body?.match(/"n":\d/)?.[0])).toEqual(['"n":3']);
  });

  it('lets in the rules that it names, and no others', async () => {
    const url = await queue('picky');
    await allow(url, policyFor(QUEUE_ARN('picky'), [RULE_ARN('somebody-else')]));
    await rule('picky', { Id: 'q', Arn: QUEUE_ARN('picky') });
    await put('picky', '{}');
    expect(await receive(url)).toEqual([]);
  });
});

describe('what can not be delivered', () => {
  it('goes to the dead-letter queue of the target, with the reason', async () => {
    const url = await queue('gone');
    const deadUrl = await queue('gone-dead');
    await allow(deadUrl, policyFor(QUEUE_ARN('gone-dead'), [RULE_ARN('gone')]));
    await rule('gone', { Id: 'q', Arn: QUEUE_ARN('gone'), DeadLetterConfig: { Arn: QUEUE_ARN('gone-dead') } });
    await queues.send(new DeleteQueueCommand({ QueueUrl: url }));
    const before = { ...bus.counters };
    const [id] = await put('gone', '{"n":1}');
    const [message] = await receive(deadUrl);
    expect(JSON.parse(message?.Body ?? '')).toMatchObject({ id, detail: { n: 1 } });
    const attributes = Object.entries(message?.MessageAttributes ?? {}).map(([name, one]) => [name, one.StringValue]);
    expect(Object.fromEntries(attributes)).toMatchObject({
      RULE_ARN: RULE_ARN('gone'),
      TARGET_ARN: QUEUE_ARN('gone'),
      ERROR_CODE: 'RESOURCE_NOT_FOUND',
    });
    expect(bus.counters).toMatchObject({ failed: before.failed + 1, deadLettered: before.deadLettered + 1 });
  });

  it('goes there, too, where the policy of the queue is missing or InputPath leads nowhere', async () => {
    await queue('shut');
    const deadUrl = await queue('shut-dead');
    await allow(deadUrl, policyFor(QUEUE_ARN('shut-dead'), [RULE_ARN('shut')]));
    const DeadLetterConfig = { Arn: QUEUE_ARN('shut-dead') };
    await rule(
      'shut',
      { Id: 'a', Arn: QUEUE_ARN('shut'), DeadLetterConfig },
      { Id: 'b', Arn: QUEUE_ARN('shut'), DeadLetterConfig, InputPath: '$.detail.missing' },
    );
    await put('shut', '{}');
    const codes = (await receive(deadUrl)).map((message) => message.MessageAttributes?.['ERROR_CODE']?.StringValue);
    expect(codes).toEqual(['NO_PERMISSIONS', 'INVALID_INPUT_PATH']);
  });

  it('is lost where the dead-letter queue has no policy', async () => {
    const deadUrl = await queue('lost-dead');
    await rule('lost', { Id: 'q', Arn: QUEUE_ARN('never'), DeadLetterConfig: { Arn: QUEUE_ARN('lost-dead') } });
    const before = { ...bus.counters };
    await put('lost', '{}');
    expect(await receive(deadUrl)).toEqual([]);
    expect(bus.counters).toMatchObject({ failed: before.failed + 1, deadLettered: before.deadLettered });
  });
});

describe('createQueueTarget', () => {
  it('may be called again: the pattern changes, the messages stay', async () => {
    const options = { busName: 'again', ruleName: 'r', queueName: 'again' };
    const first = await createQueueTarget(bus, { ...options, pattern: { source: ['shop'] } });
    await put('again', '{"n":1}');
    const second = await createQueueTarget(bus, { ...options, pattern: { source: ['nobody'] } });
    expect(second).toEqual(first);
    await put('again', '{"n":2}');
    expect((await receive(first.queueUrl)).length).toBe(1);
    const { Attributes } = await queues.send(
      new GetQueueAttributesCommand({ QueueUrl: first.queueUrl, AttributeNames: ['RedrivePolicy', 'Policy'] }),
    );
    expect(Attributes?.['RedrivePolicy']).toContain(first.deadLetterArn);
    expect(Attributes?.['Policy']).toContain('arn:aws:events:eu-west-1:000000000000:rule/again/r');
  });

  it('works for every account: fauxqs has its own', async () => {
    const other = await startLocalBus({ account: '123456789012', region });
    const target = await createQueueTarget(other, {
      busName: 'b',
      ruleName: 'r',
      pattern: { account: ['123456789012'] },
      queueName: 'q',
    });
    other.invoke('PutEvents', { Entries: [{ EventBusName: 'b', Source: 's', DetailType: 'd', Detail: '{}' }] });
    await other.drained();
    const { Messages } = await other.invokeQueues('ReceiveMessage', { QueueUrl: target.queueUrl });
    expect(Messages).toHaveLength(1);
    await other.close();
  });
});

describe('closing', () => {
  it('delivers what was accepted before', async () => {
    const short = await startLocalBus({ region });
    await createQueueTarget(short, { busName: 'b', ruleName: 'r', pattern: { source: ['s'] }, queueName: 'q' });
    for (let at = 0; at < 20; at++) {
      const entry = { EventBusName: 'b', Source: 's', DetailType: 'd', Detail: '{}' };
      short.invoke('PutEvents', { Entries: Array.from({ length: 10 }, () => entry) });
    }
    await short.close();
    await short.close();
    expect(short.counters).toMatchObject({ accepted: 200, delivered: 200 });
  });

  it('is what an aborted signal does, and a port in use says so', async () => {
    const stop = new AbortController();
    const first = await startLocalBus({ queues: false, signal: stop.signal });
    const port = Number(new URL(first.url).port);
    await expect(startLocalBus({ port, queuesPort: 0 })).rejects.toMatchObject({ kind: 'config', code: 'EADDRINUSE' });
    stop.abort();
    await first.close();
    await expect(fetch(`${first.url}/_banyan/health`)).rejects.toThrow('fetch failed');
    await expect(startLocalBus({ signal: stop.signal })).rejects.toThrow('aborted');
  });
});
