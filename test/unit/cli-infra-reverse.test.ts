import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { QUEUE_ACTIONS } from '../../src/cli/infra-reverse.ts';
import { policies } from '../../src/core/errors.ts';
import { banyan } from '../support/banyan-process.ts';

function config(more: { queue?: string; bus?: string; horizon?: string; apply?: string } = {}): string {
  return `
name: shop
legacy: { url: "postgresql://u@127.0.0.1:1/db" }
bus: { type: eventbridge, region: eu-west-1, name: "${more.bus ?? 'shop-legacy'}" }
capture: [{ table: public.orders }]
reverse:
  queue: ${more.queue ?? 'https://sqs.eu-west-1.amazonaws.com/123456789012/shop-back'}
  visibilityTimeout: 90s
  horizon: ${more.horizon ?? '30d'}
  apply:
${more.apply ?? ORDERS}`;
}

const ORDERS = `
    - match: { source: [shop.orders], detail-type: [OrderShipped] }
      table: public.orders
      operation: update
      key: { id: detail.id }
      set: { status: detail.status }
    - match: { source: [shop.orders], detail-type: [OrderCancelled] }
      table: public.orders
      operation: delete
      key: { id: detail.id }`;

interface Resource {
  readonly Type: string;
  readonly Properties: Readonly<Record<string, unknown>>;
}

interface Template {
  readonly Resources: Readonly<Record<string, Resource>>;
  readonly Outputs: Readonly<Record<string, unknown>>;
}

async function infra(text: string, ...args: readonly string[]): Promise<Template & { stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await banyan(['infra', ...args], { env: { BANYAN_CONFIG_YAML: text } });
  expect(code).toBe(0);
  // As YAML 1.1, which is what CloudFormation reads.
  return { ...(parse(stdout, { version: '1.1' }) as Template), stdout, stderr };
}

function fromRule(queue: string): object {
  return {
    Effect: 'Allow',
    Principal: { Service: 'events.amazonaws.com' },
    Action: 'sqs:SendMessage',
    Resource: { 'Fn::GetAtt': [queue, 'Arn'] },
    Condition: { ArnEquals: { 'aws:SourceArn': { 'Fn::GetAtt': ['ReverseRule', 'Arn'] } } },
  };
}

describe('infra with reverse', () => {
  test('makes a rule for all that is applied, and a queue that takes messages from this rule only', async () => {
    const { Resources: made, Outputs, stdout, stderr } = await infra(config());
    expect(made['ReverseRule']).toMatchObject({
      Type: 'AWS::Events::Rule',
      Properties: {
        EventBusName: { 'Fn::GetAtt': ['Bus', 'Name'] },
        EventPattern: { source: ['shop.orders'], 'detail-type': ['OrderShipped', 'OrderCancelled'] },
        Targets: [
          {
            Arn: { 'Fn::GetAtt': ['ReverseQueue', 'Arn'] },
            DeadLetterConfig: { Arn: { 'Fn::GetAtt': ['ReverseDeadLetterQueue', 'Arn'] } },
          },
        ],
      },
    });
    expect(made['ReverseQueue']).toMatchObject({
      Type: 'AWS::SQS::Queue',
      Properties: {
        QueueName: 'shop-back',
        VisibilityTimeout: 90,
        MessageRetentionPeriod: 1_209_600,
        RedrivePolicy: { deadLetterTargetArn: { 'Fn::GetAtt': ['ReverseDeadLetterQueue', 'Arn'] } },
      },
    });
    expect(made['ReverseQueuePolicy']?.Properties).toMatchObject({
      Queues: [{ Ref: 'ReverseQueue' }, { Ref: 'ReverseDeadLetterQueue' }],
      PolicyDocument: { Statement: [fromRule('ReverseQueue'), fromRule('ReverseDeadLetterQueue')] },
    });
    expect(Object.keys(Outputs)).toEqual(expect.arrayContaining(['ReverseQueueUrl', 'ReverseDeadLetterQueueUrl']));
    expect(stdout).toContain('kms:GenerateDataKey');
    expect(stderr).toContain('CAPABILITY_IAM');
    expect(stderr).toContain('ReverseQueueUrl');
  });

  test('the worker may do on its queue what it is told to be allowed, and still send', async () => {
    const { Resources: made } = await infra(config());
    expect(made['WorkerPolicy']?.Properties['PolicyDocument']).toMatchObject({
      Statement: [
        { Action: ['events:PutEvents', 'events:DescribeEventBus'] },
        { Effect: 'Allow', Action: [...QUEUE_ACTIONS], Resource: { 'Fn::GetAtt': ['ReverseQueue', 'Arn'] } },
      ],
    });
    for (const action of QUEUE_ACTIONS) expect(policies['queue-unauthorized'].remedy).toContain(action);
  });

  test('keeps no message longer than its event is remembered', async () => {
    const { Resources: made } = await infra(config({ horizon: '3d' }));
    expect(made['ReverseQueue']?.Properties['MessageRetentionPeriod']).toBe(3 * 86_400);
  });

  test('a FIFO queue gets what a rule must give it, and dead-letter queues that take it', async () => {
    const { Resources: made, stdout } = await infra(
      config({ queue: 'https://sqs.eu-west-1.amazonaws.com/123456789012/shop-back.fifo' }),
    );
    expect(made['ReverseQueue']?.Properties).toMatchObject({ QueueName: 'shop-back.fifo', FifoQueue: true });
    expect(made['ReverseDeadLetterQueue']?.Properties).toMatchObject({
      QueueName: 'shop-back-dead-letters.fifo',
      FifoQueue: true,
    });
    expect(made['ReverseUndeliveredQueue']?.Properties).not.toHaveProperty('FifoQueue');
    expect(made['ReverseRule']?.Properties['Targets']).toMatchObject([
      {
        SqsParameters: { MessageGroupId: 'shop' },
        DeadLetterConfig: { Arn: { 'Fn::GetAtt': ['ReverseUndeliveredQueue', 'Arn'] } },
      },
    ]);
    expect(stdout).toContain('a standard queue is as safe and faster');
  });

  test('a queue of another account is reached directly, by a role that its policy is told to let in', async () => {
    const { Resources: made, Outputs, stdout, stderr } = await infra(config(), '--account', '210987654321');
    const arn = { 'Fn::Sub': 'arn:${AWS::Partition}:sqs:eu-west-1:123456789012:shop-back' };
    expect(made['ReverseQueue']).toBeUndefined();
    expect(made['ReverseRule']?.Properties['Targets']).toMatchObject([
      { Arn: arn, RoleArn: { 'Fn::GetAtt': ['ReverseRole', 'Arn'] } },
    ]);
    expect(made['ReverseRole']?.Properties).toMatchObject({
      RoleName: 'banyan-shop-reverse',
      Policies: [{ PolicyDocument: { Statement: [{ Action: 'sqs:SendMessage', Resource: arn }] } }],
    });
    expect(made['WorkerPolicy']?.Properties['PolicyDocument']).toMatchObject({ Statement: [{}, { Resource: arn }] });
    expect(Object.keys(Outputs)).not.toContain('ReverseQueueUrl');
    expect(stdout).toContain('"AWS":"arn:aws:iam::210987654321:role/banyan-shop-reverse"');
    expect(stdout).toContain('"Resource":"arn:aws:sqs:eu-west-1:123456789012:shop-back"');
    expect(stderr).toContain('CAPABILITY_NAMED_IAM');
    // The account of the queue itself is not another one.
    expect((await infra(config(), '--account', '123456789012')).Resources['ReverseQueue']).toBeDefined();
  });

  test('says where a rule can not do it: another region, a pattern that is too long', async () => {
    const far = await infra(config({ queue: 'https://sqs.us-east-1.amazonaws.com/123456789012/back' }));
    expect(far.stdout).toContain('the bus is in eu-west-1, reverse.queue in us-east-1');
    const types = Array.from({ length: 100 }, (_, index) => `SomethingHappened${index}`).join(', ');
    const long = await infra(config({ apply: ORDERS.replace('[OrderShipped]', `[${types}]`) }));
    expect(long.stdout).toMatch(/a pattern of \d{4} characters, above the default quota of 2048/);
  });

  test('the queue of an emulator has no account, and its name is kept', async () => {
    const { Resources: made } = await infra(
      config({ queue: 'http://127.0.0.1:4011/000000000000/back' }),
      '--account',
      '210987654321',
    );
    expect(made['ReverseQueue']?.Properties['QueueName']).toBe('back');
  });
});
