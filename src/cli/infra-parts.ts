/** SQS keeps messages for 14 days at most: the longest time to mend a consumer. */
export const RETENTION_SECONDS = 1_209_600;

export function getAtt(resource: string, attribute: string): unknown {
  return { 'Fn::GetAtt': [resource, attribute] };
}

/** Lets a rule, and nothing else, put events into a queue. */
export function fromRule(queue: string, rule: unknown): Readonly<Record<string, unknown>> {
  return {
    Sid: `${queue}FromRule`,
    Effect: 'Allow',
    Principal: { Service: 'events.amazonaws.com' },
    Action: 'sqs:SendMessage',
    Resource: getAtt(queue, 'Arn'),
    Condition: { ArnEquals: { 'aws:SourceArn': rule } },
  };
}

/** What a part of the template adds to it. */
export interface InfraParts {
  readonly resources: Readonly<Record<string, unknown>>;
  readonly outputs: Readonly<Record<string, unknown>>;
  /** Of the worker's policy. */
  readonly statements: readonly unknown[];
  /** What the template can not know, for its head. */
  readonly remarks: readonly string[];
  /** A comment before a key. */
  readonly comments: readonly { readonly path: readonly string[]; readonly text: string }[];
}
