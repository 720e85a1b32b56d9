import { Document } from 'yaml';
import { parseBusArn } from '../config/rules.ts';
import { type Config, isTableCapture } from '../config/schema.ts';
import { fromRule, getAtt, type InfraParts, RETENTION_SECONDS } from './infra-parts.ts';
import { reverseInfra } from './infra-reverse.ts';

export interface InfraTemplate {
  /** CloudFormation, in its long form (`Fn::GetAtt`), which every YAML and JSON reader takes. */
  readonly document: Readonly<Record<string, unknown>>;
  readonly stackName: string;
  readonly busName: string;
  readonly region: string | undefined;
  readonly capability: 'CAPABILITY_IAM' | 'CAPABILITY_NAMED_IAM';
  /** What the template can not know, for its head. */
  readonly remarks: readonly string[];
  readonly comments: InfraParts['comments'];
}

/** How often a consumer may give a message back before it goes to the dead-letter queue. */
const MAX_RECEIVES = 5;
/** Longer than most consumers take; a message comes again after it. */
const VISIBILITY_SECONDS = 60;

/** The bus that every account has and that no template may make. */
const DEFAULT_BUS = 'default';

/**
 * Bus, one rule for the events of this configuration, a queue with its policy and dead-letter queue, with `reverse` the same for the way back, and the policy
 * that the worker's role needs. ARNs are of `account`, else of the account and region that deploy.
 */
export function infraTemplate(config: Config, options: { readonly account: string | undefined }): InfraTemplate {
  const arn = parseBusArn(config.bus.name);
  const busName = arn?.name ?? config.bus.name;
  const place: Place = { account: options.account ?? arn?.account, region: arn?.region, busName };
  const { sources, open } = eventSources(config);
  const buses = otherBuses(config);
  const makesBus = busName !== DEFAULT_BUS;
  const bus = makesBus ? getAtt('Bus', 'Name') : DEFAULT_BUS;
  const region = config.bus.type === 'local' ? arn?.region : config.bus.region;
  const { reverse } = config;
  const back: InfraParts =
    reverse === undefined
      ? { resources: {}, outputs: {}, statements: [], remarks: [], comments: [] }
      : reverseInfra({ connector: config.name, reverse, bus, account: place.account, region });
  const document = {
    AWSTemplateFormatVersion: '2010-09-09',
    Description: `Events of the legacy database, connector ${config.name}: bus, rule, queue, and the worker's policy`,
    Resources: {
      ...(makesBus ? { Bus: { Type: 'AWS::Events::EventBus', Properties: { Name: busName } } } : {}),
      Rule: {
        Type: 'AWS::Events::Rule',
        Properties: {
          Description: `Every event of connector ${config.name}`,
          EventBusName: bus,
          EventPattern: { source: sources.map((prefix) => ({ prefix })) },
          State: 'ENABLED',
          Targets: [
            {
              Id: 'queue',
              Arn: getAtt('Queue', 'Arn'),
              DeadLetterConfig: { Arn: getAtt('DeadLetterQueue', 'Arn') },
            },
          ],
        },
      },
      Queue: {
        Type: 'AWS::SQS::Queue',
        Properties: {
          QueueName: `${config.name}-events`,
          SqsManagedSseEnabled: true,
          VisibilityTimeout: VISIBILITY_SECONDS,
          MessageRetentionPeriod: RETENTION_SECONDS,
          RedrivePolicy: { deadLetterTargetArn: getAtt('DeadLetterQueue', 'Arn'), maxReceiveCount: MAX_RECEIVES },
        },
      },
      DeadLetterQueue: {
        Type: 'AWS::SQS::Queue',
        Properties: {
          QueueName: `${config.name}-events-dead-letters`,
          SqsManagedSseEnabled: true,
          MessageRetentionPeriod: RETENTION_SECONDS,
        },
      },
      QueuePolicy: {
        Type: 'AWS::SQS::QueuePolicy',
        Properties: {
          Queues: [{ Ref: 'Queue' }, { Ref: 'DeadLetterQueue' }],
          PolicyDocument: {
            Version: '2012-10-17',
            Statement: ['Queue', 'DeadLetterQueue'].map((queue) => fromRule(queue, getAtt('Rule', 'Arn'))),
          },
        },
      },
      ...back.resources,
      WorkerPolicy: {
        Type: 'AWS::IAM::ManagedPolicy',
        Properties: {
          Description: `What the worker of connector ${config.name} may do`,
          PolicyDocument: {
            Version: '2012-10-17',
            Statement: [
              {
                Sid: 'SendEvents',
                Effect: 'Allow',
                Action: ['events:PutEvents', 'events:DescribeEventBus'],
                Resource: [busArn(busName, place), ...buses.names.map((name) => busArn(name, place))],
              },
              ...back.statements,
            ],
          },
        },
      },
    },
    Outputs: {
      BusArn: { Description: 'bus.name of the configuration', Value: busArn(busName, place) },
      QueueUrl: { Description: 'Where consumers receive', Value: { Ref: 'Queue' } },
      QueueArn: { Description: 'For the policies of consumers', Value: getAtt('Queue', 'Arn') },
      DeadLetterQueueUrl: {
        Description: 'What could not be delivered, or was given back too often: watch that it is empty',
        Value: { Ref: 'DeadLetterQueue' },
      },
      ...back.outputs,
      WorkerPolicyArn: { Description: 'Attach it to the role of the worker', Value: { Ref: 'WorkerPolicy' } },
    },
  };
  const remarks = [
    ...(open ? ['A source is an expression, so the rule takes every event of the bus: narrow its pattern.'] : []),
    ...(buses.names.length > 0
      ? [`Events also go to ${buses.names.join(', ')}: such a bus and its rules are not made here.`]
      : []),
    ...(buses.open ? ['A bus is an expression: allow the worker the buses that it can name, and make them.'] : []),
    ...back.remarks,
  ];
  return {
    document,
    stackName: `banyan-${config.name.replaceAll('_', '-')}`,
    busName,
    region,
    // A role that another account's policy names must have a name.
    capability: 'ReverseRole' in back.resources ? 'CAPABILITY_NAMED_IAM' : 'CAPABILITY_IAM',
    remarks,
    comments: back.comments,
  };
}

/** The template as commented YAML. */
export function infraYaml(template: InfraTemplate): string {
  const document = new Document(template.document, { aliasDuplicateObjects: false, version: '1.1' });
  document.commentBefore = [
    ` Made by \`banyan infra\`. Change it as you like: Banyan needs the bus and the policy${hasWayBack(template) ? ', and what begins with Reverse' : ''}, your consumers the rest.`,
    ...template.remarks.map((remark) => ` ${remark}`),
  ].join('\n');
  comment(document, ['Resources', 'Rule'], ' EventBridge promises no order: consumers go by detail.metadata.sequence.');
  comment(
    document,
    ['Resources', 'Queue', 'Properties', 'SqsManagedSseEnabled'],
    [
      ' With a KMS key of your own instead (KmsMasterKeyId), its key policy must let events.amazonaws.com call',
      ' kms:GenerateDataKey and kms:Decrypt, or nothing arrives.',
    ].join('\n'),
  );
  comment(document, ['Resources', 'QueuePolicy'], ' Without it the rule matches and nothing arrives, silently.');
  for (const { path, text } of template.comments) comment(document, path, text);
  return document.toString({ lineWidth: 0 }).trimEnd();
}

function hasWayBack({ document }: InfraTemplate): boolean {
  return 'ReverseRule' in (document['Resources'] as object);
}

function comment(document: Document, path: readonly string[], text: string): void {
  const parent = document.getIn(path.slice(0, -1), true);
  const key = path.at(-1);
  const items = (parent as { items?: { key: { value?: unknown; commentBefore?: string } }[] } | undefined)?.items ?? [];
  const pair = items.find((item) => item.key.value === key);
  if (pair !== undefined) pair.key.commentBefore = text;
}

interface Place {
  readonly account: string | undefined;
  readonly region: string | undefined;
  readonly busName: string;
}

/** The bus that the template makes says its own ARN; others are composed. */
function busArn(name: string, place: Place): unknown {
  const arn = parseBusArn(name);
  if (arn !== undefined && name !== place.busName) return name;
  const account = place.account ?? '${AWS::AccountId}';
  const region = place.region ?? '${AWS::Region}';
  if (name === place.busName && name !== DEFAULT_BUS && place.account === undefined) return getAtt('Bus', 'Arn');
  return { 'Fn::Sub': `arn:\${AWS::Partition}:events:${region}:${account}:event-bus/${name}` };
}

/** Sources that the events can have, without those that another one is the beginning of; open: an expression makes some. */
function eventSources(config: Config): { sources: string[]; open: boolean } {
  const sources = config.capture.map((entry) => entry.source ?? `legacy.${config.name}`);
  if (sources.some((source) => typeof source !== 'string')) return { sources: [''], open: true };
  const names = [...new Set(sources.filter((source) => typeof source === 'string'))].toSorted();
  return {
    sources: names.filter((name) => !names.some((other) => other !== name && name.startsWith(other))),
    open: false,
  };
}

function otherBuses(config: Config): { names: string[]; open: boolean } {
  const buses = config.capture.flatMap((entry) =>
    isTableCapture(entry) && entry.bus !== undefined ? [entry.bus] : [],
  );
  const names = new Set(buses.filter((bus) => typeof bus === 'string').filter((bus) => bus !== config.bus.name));
  return { names: [...names].toSorted(), open: buses.some((bus) => typeof bus !== 'string') };
}
