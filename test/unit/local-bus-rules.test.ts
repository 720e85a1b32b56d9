import {
  CreateEventBusCommand,
  DeleteEventBusCommand,
  DeleteRuleCommand,
  DescribeEventBusCommand,
  DescribeRuleCommand,
  DisableRuleCommand,
  EnableRuleCommand,
  EventBridgeClient,
  EventBridgeServiceException,
  ListArchivesCommand,
  ListEventBusesCommand,
  ListRulesCommand,
  ListTargetsByRuleCommand,
  PutRuleCommand,
  PutTargetsCommand,
  RemoveTargetsCommand,
  TestEventPatternCommand,
} from '@aws-sdk/client-eventbridge';
import type { Target } from '@aws-sdk/client-eventbridge';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startLocalBus } from '../../src/local-bus/local-bus.ts';
import type { LocalBus } from '../../src/local-bus/local-bus.ts';

let bus: LocalBus;
let client: EventBridgeClient;

const PATTERN = '{"source":["legacy.shop"]}';
const QUEUE = 'arn:aws:sqs:eu-west-1:123456789012:orders';

function clientIn(region: string): EventBridgeClient {
  return new EventBridgeClient({
    region,
    endpoint: bus.url,
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    maxAttempts: 1,
  });
}

beforeAll(async () => {
  bus = await startLocalBus({ account: '123456789012' });
  client = clientIn('eu-west-1');
});

afterAll(async () => {
  client.destroy();
  await bus.close();
});

/** What the service answers instead of a result. */
async function refusal(call: Promise<unknown>): Promise<{ name: string; message: string; status: number | undefined }> {
  try {
    await call;
  } catch (error) {
    if (!(error instanceof EventBridgeServiceException)) throw error;
    return { name: error.name, message: error.message, status: error.$metadata.httpStatusCode };
  }
  return { name: 'none', message: 'the call succeeded', status: 200 };
}

async function putNeedy(input: { EventBusName?: string; EventPattern?: string; ScheduleExpression?: string }) {
  return await refusal(client.send(new PutRuleCommand({ Name: 'needy', ...input })));
}

async function testPattern(EventPattern: string, Event: unknown) {
  return await client.send(new TestEventPatternCommand({ EventPattern, Event: JSON.stringify(Event) }));
}

/** A request by hand: status, error code and content type of the answer. */
async function post(target: string, body: string): Promise<readonly unknown[]> {
  const response = await fetch(bus.url, { method: 'POST', headers: { 'x-amz-target': target }, body });
  const { __type } = (await response.json()) as { readonly __type: string };
  return [response.status, __type, response.headers.get('content-type')];
}

describe('event buses', () => {
  it('are made, described by name and ARN, listed and deleted', async () => {
    const made = await client.send(new CreateEventBusCommand({ Name: 'made', Description: 'for a test' }));
    expect(made.EventBusArn).toBe('arn:aws:events:eu-west-1:123456789012:event-bus/made');
    for (const Name of ['made', made.EventBusArn]) {
      const described = await client.send(new DescribeEventBusCommand({ Name }));
      expect(described).toMatchObject({ Name: 'made', Arn: made.EventBusArn, Description: 'for a test' });
      expect(Math.abs((described.CreationTime?.getTime() ?? 0) - Date.now())).toBeLessThan(60_000);
    }
    const listed = await client.send(new ListEventBusesCommand({ NamePrefix: 'ma' }));
    expect(listed.EventBuses?.map((one) => one.Name)).toEqual(['made']);
    await client.send(new DeleteEventBusCommand({ Name: 'made' }));
    expect(await refusal(client.send(new DescribeEventBusCommand({ Name: 'made' })))).toMatchObject({
      name: 'ResourceNotFoundException',
      message: 'Event bus made does not exist.',
      status: 400,
    });
    await client.send(new DeleteEventBusCommand({ Name: 'made' }));
  });

  it('are told apart by region, and each region has a default one', async () => {
    const elsewhere = clientIn('us-west-2');
    await client.send(new CreateEventBusCommand({ Name: 'regional' }));
    const missing = await refusal(elsewhere.send(new DescribeEventBusCommand({ Name: 'regional' })));
    expect(missing.name).toBe('ResourceNotFoundException');
    const described = await elsewhere.send(new DescribeEventBusCommand({}));
    expect(described.Arn).toBe('arn:aws:events:us-west-2:123456789012:event-bus/default');
    elsewhere.destroy();
  });

  it('have one owner of a name, and a default that stays', async () => {
    await client.send(new CreateEventBusCommand({ Name: 'once' }));
    expect(await refusal(client.send(new CreateEventBusCommand({ Name: 'once' })))).toMatchObject({
      name: 'ResourceAlreadyExistsException',
      message: 'Event bus once already exists.',
    });
    expect(await refusal(client.send(new DeleteEventBusCommand({ Name: 'default' })))).toMatchObject({
      name: 'ValidationException',
      message: 'Cannot delete event bus default.',
    });
  });

  it('need a name that AWS would take', async () => {
    for (const Name of ['', 'a b', 'aws.partner/x', 'x'.repeat(257)]) {
      expect(await refusal(client.send(new CreateEventBusCommand({ Name })))).toMatchObject({
        name: 'ValidationException',
      });
    }
  });

  it('are listed in pages', async () => {
    for (const Name of ['page-a', 'page-b', 'page-c']) await client.send(new CreateEventBusCommand({ Name }));
    const first = await client.send(new ListEventBusesCommand({ NamePrefix: 'page-', Limit: 2 }));
    const second = await client.send(
      new ListEventBusesCommand({ NamePrefix: 'page-', Limit: 2, NextToken: first.NextToken }),
    );
    expect(first.EventBuses?.map((one) => one.Name)).toEqual(['page-a', 'page-b']);
    expect(second.EventBuses?.map((one) => one.Name)).toEqual(['page-c']);
    expect(second.NextToken).toBeUndefined();
  });
});

describe('rules', () => {
  const onBus = { EventBusName: 'rules' };

  beforeAll(async () => {
    await client.send(new CreateEventBusCommand({ Name: 'rules' }));
  });

  it('are put, described, switched, listed, replaced and deleted', async () => {
    const put = await client.send(
      new PutRuleCommand({ ...onBus, Name: 'r', EventPattern: PATTERN, Description: 'one' }),
    );
    expect(put.RuleArn).toBe('arn:aws:events:eu-west-1:123456789012:rule/rules/r');
    const described = async (): Promise<unknown> => client.send(new DescribeRuleCommand({ ...onBus, Name: 'r' }));
    expect(await described()).toMatchObject({
      Name: 'r',
      Arn: put.RuleArn,
      EventPattern: PATTERN,
      State: 'ENABLED',
      Description: 'one',
      EventBusName: 'rules',
      CreatedBy: '123456789012',
    });
    await client.send(new DisableRuleCommand({ ...onBus, Name: 'r' }));
    expect(await described()).toMatchObject({ State: 'DISABLED' });
    await client.send(new EnableRuleCommand({ ...onBus, Name: 'r' }));
    expect(await described()).toMatchObject({ State: 'ENABLED' });
    await client.send(new PutRuleCommand({ ...onBus, Name: 'r', EventPattern: '{"a":[1]}', State: 'DISABLED' }));
    const replaced = (await described()) as { readonly Description?: string };
    expect(replaced).toMatchObject({ EventPattern: '{"a":[1]}', State: 'DISABLED' });
    expect(replaced.Description).toBeUndefined();
    const listed = await client.send(new ListRulesCommand({ ...onBus, NamePrefix: 'r' }));
    expect(listed.Rules?.map((rule) => rule.Arn)).toEqual([put.RuleArn]);
    await client.send(new DeleteRuleCommand({ ...onBus, Name: 'r' }));
    expect(await refusal(client.send(new DescribeRuleCommand({ ...onBus, Name: 'r' })))).toMatchObject({
      name: 'ResourceNotFoundException',
      message: 'Rule r does not exist on EventBus rules.',
    });
  });

  it('of the default bus have an ARN without the bus', async () => {
    const put = await client.send(new PutRuleCommand({ Name: 'plain', EventPattern: PATTERN }));
    expect(put.RuleArn).toBe('arn:aws:events:eu-west-1:123456789012:rule/plain');
  });

  it('with an invalid pattern are refused with the reason', async () => {
    const put = client.send(new PutRuleCommand({ ...onBus, Name: 'bad', EventPattern: '{"detail":{"a":"x"}}' }));
    expect(await refusal(put)).toMatchObject({
      name: 'InvalidEventPatternException',
      message: 'Event pattern is not valid. Reason: "a" must be an object or an array at detail.a',
      status: 400,
    });
  });

  it('need a bus, and a pattern rather than a schedule', async () => {
    expect(await putNeedy({ EventBusName: 'nowhere', EventPattern: PATTERN })).toMatchObject({
      name: 'ResourceNotFoundException',
      message: 'Event bus nowhere does not exist.',
    });
    expect(await putNeedy({})).toMatchObject({ name: 'ValidationException' });
    const schedule = await putNeedy({ ScheduleExpression: 'rate(1 minute)' });
    expect(schedule.message).toContain('ScheduleExpression is not supported by the embedded bus');
  });

  it('number at most 300 a bus', async () => {
    await client.send(new CreateEventBusCommand({ Name: 'full' }));
    const put = async (number: number) =>
      client.send(new PutRuleCommand({ EventBusName: 'full', Name: `r${number}`, EventPattern: PATTERN }));
    for (let number = 0; number < 300; number++) await put(number);
    expect(await refusal(put(300))).toMatchObject({ name: 'LimitExceededException' });
    await put(299);
  });
});

describe('targets', () => {
  const onRule = { EventBusName: 'targets', Rule: 'r' };
  const put = async (...Targets: Target[]) => client.send(new PutTargetsCommand({ ...onRule, Targets }));

  beforeAll(async () => {
    await client.send(new CreateEventBusCommand({ Name: 'targets' }));
    await client.send(new PutRuleCommand({ EventBusName: 'targets', Name: 'r', EventPattern: PATTERN }));
  });

  it('are put, listed as given, and removed before their rule can go', async () => {
    const target = { Id: 'one', Arn: QUEUE, InputPath: '$.detail', RetryPolicy: { MaximumRetryAttempts: 3 } };
    expect(await put(target)).toMatchObject({ FailedEntryCount: 0, FailedEntries: [] });
    const listed = await client.send(new ListTargetsByRuleCommand(onRule));
    expect(listed.Targets).toEqual([target]);
    const remove = { EventBusName: 'targets', Name: 'r' };
    expect((await refusal(client.send(new DeleteRuleCommand(remove)))).message).toContain('since it has targets');
    expect((await refusal(client.send(new DeleteEventBusCommand({ Name: 'targets' })))).message).toContain(
      'it has rules',
    );
    const removed = await client.send(new RemoveTargetsCommand({ ...onRule, Ids: ['one', 'other'] }));
    expect(removed.FailedEntryCount).toBe(1);
    expect(removed.FailedEntries?.[0]).toMatchObject({ TargetId: 'other', ErrorCode: 'ResourceNotFoundException' });
  });

  it('number at most five a rule, all together', async () => {
    const many = ['a', 'b', 'c', 'd', 'e', 'f'].map((Id) => ({ Id, Arn: QUEUE }));
    expect(await refusal(put(...many))).toMatchObject({ name: 'LimitExceededException' });
    await put(...many.slice(0, 5));
    await put(...many.slice(0, 5));
    expect(await refusal(put(...many.slice(5)))).toMatchObject({ name: 'LimitExceededException' });
    await client.send(new RemoveTargetsCommand({ ...onRule, Ids: many.slice(0, 5).map(({ Id }) => Id) }));
  });

  it.each<[string, Partial<Target>, string]>([
    ['a function', { Arn: 'arn:aws:lambda:eu-west-1:123456789012:function:f' }, 'delivers to SQS queues only'],
    ['no ARN', { Arn: 'orders' }, 'Provided Arn is not in correct format'],
    ['a transformer', { InputTransformer: { InputTemplate: '"x"' } }, 'InputTransformer is not supported'],
    ['parameters of other kinds', { KinesisParameters: { PartitionKeyPath: '$.id' } }, 'KinesisParameters is not'],
    ['two inputs', { Input: '{}', InputPath: '$.detail' }, 'Only one of Input, InputPath, or InputTransformer'],
    ['an input that is not JSON', { Input: '{' }, 'must be valid JSON'],
    ['a path with a filter', { InputPath: '$.detail[?(@.a)]' }, 'InputPath of target t is not supported'],
    ['a FIFO queue without a group', { Arn: `${QUEUE}.fifo` }, 'SqsParameters must be specified for target: t.'],
    [
      'a dead-letter queue that is none',
      { DeadLetterConfig: { Arn: 'arn:aws:sns:eu-west-1:123456789012:t' } },
      'DeadLetterConfig',
    ],
    ['an id with blanks', { Id: 'a b' }, "'id' failed to satisfy constraint"],
  ])('with %s are refused', async (_what, target, message) => {
    const answer = await refusal(put({ Id: 't', Arn: QUEUE, ...target }));
    expect(answer.name).toBe('ValidationException');
    expect(answer.message).toContain(message);
  });

  it('are refused by a bus without queues', async () => {
    const bare = await startLocalBus({ queues: false });
    bare.invoke('PutRule', { Name: 'r', EventPattern: PATTERN });
    expect(() => bare.invoke('PutTargets', { Rule: 'r', Targets: [{ Id: 't', Arn: QUEUE }] })).toThrow(
      'without queues',
    );
    expect(bare.queuesUrl).toBeUndefined();
    await bare.close();
  });
});

describe('the protocol', () => {
  it('tests patterns against events', async () => {
    const event = {
      id: '1',
      account: '1',
      source: 'legacy.shop',
      time: 't',
      region: 'r',
      resources: [],
      'detail-type': 'd',
    };
    expect((await testPattern(PATTERN, event)).Result).toBe(true);
    expect((await testPattern('{"source":["other"]}', event)).Result).toBe(false);
    expect(await refusal(testPattern(PATTERN, { source: 'x' }))).toMatchObject({ name: 'ValidationException' });
    expect(await refusal(testPattern('{', event))).toMatchObject({ name: 'InvalidEventPatternException' });
  });

  it('knows no other operations', async () => {
    expect(await refusal(client.send(new ListArchivesCommand({})))).toMatchObject({
      name: 'UnknownOperationException',
      status: 400,
    });
  });

  it('says what is wrong with a request that no SDK would send', async () => {
    const json = 'application/x-amz-json-1.1';
    expect(await post('AWSEvents.PutEvents', '{')).toEqual([400, 'SerializationException', json]);
    expect(await post('AWSEvents.PutEvents', '[]')).toEqual([400, 'SerializationException', json]);
    expect(await post('AWSEvents.DescribeRule', '{"Name": 5}')).toEqual([400, 'SerializationException', json]);
    expect(await post('AmazonSQS.SendMessage', '{}')).toEqual([400, 'UnknownOperationException', json]);
    expect(await post('AWSEvents.PutEvents', 'x'.repeat(8_000_001))).toEqual([
      413,
      'RequestEntityTooLargeException',
      json,
    ]);
  });
});
