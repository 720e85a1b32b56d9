import type { Reverse } from '../config/reverse-schema.ts';
import { fromRule, getAtt, type InfraParts, RETENTION_SECONDS } from './infra-parts.ts';
import { type PatternJson, unionOf } from '../core/pattern-union.ts';

/** What the worker needs on its queue; the remedy of `queue-unauthorized` names the same. */
export const QUEUE_ACTIONS = [
  'sqs:ReceiveMessage',
  'sqs:DeleteMessage',
  'sqs:ChangeMessageVisibility',
  'sqs:GetQueueAttributes',
] as const;

/**
 * What can not be applied is parked by the worker itself. A message comes back only where it could not even be parked, as while the database is away: each try
 * counts, and a night of them must not empty the queue into its dead-letter queue.
 */
export const MAX_RECEIVES = 1_000;

/** EventBridge's default quota of characters in a rule's pattern. */
const MAX_PATTERN = 2_048;

export interface QueuePlace {
  readonly name: string;
  /** undefined: the URL is not one of AWS, as with an emulator. */
  readonly account: string | undefined;
  readonly region: string | undefined;
  readonly isFifo: boolean;
}

/** What the URL of a queue says of it. */
export function placeOfQueue(url: string): QueuePlace {
  const { hostname, pathname } = new URL(url);
  const [account, name = ''] = pathname.split('/').slice(1);
  const isAws = /\.amazonaws\.com(\.cn)?$/.test(hostname);
  const [, region, older] = /^(?:sqs(?:-fips)?\.([a-z0-9-]+)|([a-z0-9-]+)\.queue)\./.exec(hostname) ?? [];
  return {
    name,
    account: isAws && /^\d{12}$/.test(account ?? '') ? account : undefined,
    region: isAws ? (region ?? older) : undefined,
    isFifo: name.endsWith('.fifo'),
  };
}

export interface ReverseInfraOptions {
  /** `config.name` */
  readonly connector: string;
  readonly reverse: Reverse;
  /** As a rule takes it. */
  readonly bus: unknown;
  /** Where the bus and its rule are; undefined: in the account and region that deploy. */
  readonly account: string | undefined;
  readonly region: string | undefined;
}

/** The way back: a rule for the events that some entry of `reverse.apply` takes, its queue, and what the worker may do there. */
export function reverseInfra(options: ReverseInfraOptions): InfraParts {
  const { reverse, account, region } = options;
  const queue = placeOfQueue(reverse.queue);
  const pattern = unionOf(reverse.apply.map(({ match }) => match as PatternJson));
  const isElsewhere = account !== undefined && queue.account !== undefined && account !== queue.account;
  const parts = isElsewhere ? foreignQueue(options, { queue, pattern }) : ownQueue(options, { queue, pattern });
  const length = JSON.stringify(pattern).length;
  return {
    ...parts,
    remarks: [
      ...parts.remarks,
      ...(length > MAX_PATTERN
        ? [
            `ReverseRule has a pattern of ${length} characters, above the default quota of ${MAX_PATTERN}: have it raised, or widen the pattern.`,
          ]
        : []),
      ...(region !== undefined && queue.region !== undefined && region !== queue.region
        ? [`A rule reaches queues of its own region only: the bus is in ${region}, reverse.queue in ${queue.region}.`]
        : []),
      ...(queue.isFifo
        ? [
            'A rule gives all messages of a FIFO queue one group, so one is applied after the other: a standard queue is as safe and faster.',
          ]
        : []),
    ],
    comments: [
      {
        path: ['Resources', 'ReverseRule'],
        text: ' Events of the new system. If it sends them to another bus, this rule belongs there.',
      },
      ...parts.comments,
    ],
  };
}

interface Given {
  readonly queue: QueuePlace;
  readonly pattern: PatternJson;
}

function rule(options: ReverseInfraOptions, given: Given & { readonly target: object }): object {
  const { connector, bus } = options;
  return {
    Type: 'AWS::Events::Rule',
    Properties: {
      Description: `Events that connector ${connector} writes back into the legacy database`,
      EventBusName: bus,
      EventPattern: given.pattern,
      State: 'ENABLED',
      Targets: [
        {
          Id: 'queue',
          ...given.target,
          ...(given.queue.isFifo ? { SqsParameters: { MessageGroupId: connector } } : {}),
        },
      ],
    },
  };
}

function ownQueue(options: ReverseInfraOptions, given: Given): InfraParts {
  const { reverse } = options;
  const { name, isFifo } = given.queue;
  const stem = name.replace(/\.fifo$/, '');
  const retention = Math.min(RETENTION_SECONDS, Math.floor(reverse.horizon / 1_000));
  const fifo = isFifo ? { FifoQueue: true, ContentBasedDeduplication: true } : {};
  const deadLetters = (suffix: string, more: object) => ({
    Type: 'AWS::SQS::Queue',
    Properties: {
      QueueName: `${stem}${suffix}`,
      ...more,
      SqsManagedSseEnabled: true,
      MessageRetentionPeriod: RETENTION_SECONDS,
    },
  });
  // EventBridge delivers what it could not deliver to a standard queue only, and a FIFO queue gives up into a FIFO queue only.
  const undelivered = isFifo ? 'ReverseUndeliveredQueue' : 'ReverseDeadLetterQueue';
  return {
    resources: {
      ReverseRule: rule(options, {
        ...given,
        target: { Arn: getAtt('ReverseQueue', 'Arn'), DeadLetterConfig: { Arn: getAtt(undelivered, 'Arn') } },
      }),
      ReverseQueue: {
        Type: 'AWS::SQS::Queue',
        Properties: {
          QueueName: name,
          ...fifo,
          SqsManagedSseEnabled: true,
          VisibilityTimeout: Math.ceil(reverse.visibilityTimeout / 1_000),
          MessageRetentionPeriod: retention,
          RedrivePolicy: {
            deadLetterTargetArn: getAtt('ReverseDeadLetterQueue', 'Arn'),
            maxReceiveCount: MAX_RECEIVES,
          },
        },
      },
      ReverseDeadLetterQueue: deadLetters(isFifo ? '-dead-letters.fifo' : '-dead-letters', fifo),
      ...(isFifo ? { [undelivered]: deadLetters('-undelivered', {}) } : {}),
      ReverseQueuePolicy: {
        Type: 'AWS::SQS::QueuePolicy',
        Properties: {
          Queues: [{ Ref: 'ReverseQueue' }, { Ref: undelivered }],
          PolicyDocument: {
            Version: '2012-10-17',
            Statement: ['ReverseQueue', undelivered].map((each) => fromRule(each, getAtt('ReverseRule', 'Arn'))),
          },
        },
      },
    },
    outputs: {
      ReverseQueueUrl: { Description: 'reverse.queue of the configuration', Value: { Ref: 'ReverseQueue' } },
      ReverseDeadLetterQueueUrl: {
        Description: 'Events that did not reach the worker: watch that it is empty',
        Value: { Ref: 'ReverseDeadLetterQueue' },
      },
    },
    statements: [receives(getAtt('ReverseQueue', 'Arn'))],
    remarks: [],
    comments: [
      {
        path: ['Resources', 'ReverseQueue', 'Properties', 'SqsManagedSseEnabled'],
        text: [
          ' With a KMS key of your own instead (KmsMasterKeyId), its key policy must let events.amazonaws.com call kms:GenerateDataKey and',
          ' kms:Decrypt, or nothing arrives, and the worker’s policy needs kms:Decrypt on it.',
        ].join('\n'),
      },
      {
        path: ['Resources', 'ReverseQueue', 'Properties', 'RedrivePolicy'],
        text: ' What can not be applied is parked by the worker; only what it could not even park comes here.',
      },
      ...(retention < RETENTION_SECONDS
        ? [
            {
              path: ['Resources', 'ReverseQueue', 'Properties', 'MessageRetentionPeriod'],
              text: ' reverse.horizon: an event that waits longer is not known for a repeat any more.',
            },
          ]
        : []),
    ],
  };
}

/** The queue is in another account: the rule reaches it directly, in the name of a role that the queue’s own policy lets in. */
function foreignQueue(options: ReverseInfraOptions, given: Given): InfraParts {
  const { connector, account } = options;
  const { name, account: owner } = given.queue;
  const region = given.queue.region ?? options.region ?? '${AWS::Region}';
  const arn = { 'Fn::Sub': `arn:\${AWS::Partition}:sqs:${region}:${owner}:${name}` };
  const roleName = `banyan-${connector}-reverse`;
  const partition = region.startsWith('cn-') ? 'aws-cn' : region.startsWith('us-gov-') ? 'aws-us-gov' : 'aws';
  const admission = {
    Effect: 'Allow',
    Principal: { AWS: `arn:${partition}:iam::${account}:role/${roleName}` },
    Action: 'sqs:SendMessage',
    Resource: `arn:${partition}:sqs:${given.queue.region ?? 'REGION'}:${owner}:${name}`,
  };
  return {
    resources: {
      ReverseRule: rule(options, {
        ...given,
        target: {
          Arn: arn,
          RoleArn: getAtt('ReverseRole', 'Arn'),
          DeadLetterConfig: { Arn: getAtt('ReverseDeadLetterQueue', 'Arn') },
        },
      }),
      ReverseRole: {
        Type: 'AWS::IAM::Role',
        Properties: {
          RoleName: roleName,
          AssumeRolePolicyDocument: {
            Version: '2012-10-17',
            Statement: [{ Effect: 'Allow', Principal: { Service: 'events.amazonaws.com' }, Action: 'sts:AssumeRole' }],
          },
          Policies: [
            {
              PolicyName: 'send',
              PolicyDocument: {
                Version: '2012-10-17',
                Statement: [{ Effect: 'Allow', Action: 'sqs:SendMessage', Resource: arn }],
              },
            },
          ],
        },
      },
      ReverseDeadLetterQueue: {
        Type: 'AWS::SQS::Queue',
        Properties: {
          QueueName: `${name.replace(/\.fifo$/, '')}-undelivered`,
          SqsManagedSseEnabled: true,
          MessageRetentionPeriod: RETENTION_SECONDS,
        },
      },
      ReverseQueuePolicy: {
        Type: 'AWS::SQS::QueuePolicy',
        Properties: {
          Queues: [{ Ref: 'ReverseDeadLetterQueue' }],
          PolicyDocument: {
            Version: '2012-10-17',
            Statement: [fromRule('ReverseDeadLetterQueue', getAtt('ReverseRule', 'Arn'))],
          },
        },
      },
    },
    outputs: {
      ReverseRoleArn: {
        Description: 'Let it call sqs:SendMessage in the policy of reverse.queue',
        Value: getAtt('ReverseRole', 'Arn'),
      },
      ReverseDeadLetterQueueUrl: {
        Description: 'Events that did not reach the queue: watch that it is empty',
        Value: { Ref: 'ReverseDeadLetterQueue' },
      },
    },
    statements: [receives(arn)],
    remarks: [
      `reverse.queue is in account ${owner}, so it is not made here. Its own policy must let in the rule’s role, and the worker’s where that is of another account:`,
      `  ${JSON.stringify(admission)}`,
    ],
    comments: [],
  };
}

function receives(queue: unknown): unknown {
  return { Sid: 'ReceiveEvents', Effect: 'Allow', Action: QUEUE_ACTIONS, Resource: queue };
}
