import type { LocalBus } from './local-bus.ts';
import { policyFor } from './queue-policy.ts';
import { QUEUE_ACCOUNT } from './queues.ts';
import { ServiceError } from './wire.ts';

export interface QueueTargetOptions {
  readonly busName: string;
  readonly ruleName: string;
  /** An event pattern, as value or JSON text. */
  readonly pattern: unknown;
  /** A name that ends in `.fifo` makes a FIFO queue with one message group. */
  readonly queueName: string;
}

export interface QueueTarget {
  /** For SQS clients with the endpoint `bus.queuesUrl`. */
  readonly queueUrl: string;
  readonly queueArn: string;
  /** `<queueName>-dead-letters`: what could not be delivered, and what a consumer gave back five times. */
  readonly deadLetterUrl: string;
  readonly deadLetterArn: string;
}

/** How often a consumer may give a message back before it is a dead letter. */
const MAX_RECEIVES = 5;

/**
 * Bus, rule, queue with its policy and dead-letter queue, and the target that joins them: what `banyan infra` makes on AWS, on the
 * embedded bus. Calling it again changes the rule's pattern and leaves the rest, messages too.
 */
export async function createQueueTarget(bus: LocalBus, options: QueueTargetOptions): Promise<QueueTarget> {
  const { busName, ruleName, pattern, queueName } = options;
  createBus(bus, busName);
  const { RuleArn: ruleArn } = bus.invoke('PutRule', {
    Name: ruleName,
    EventBusName: busName,
    EventPattern: typeof pattern === 'string' ? pattern : JSON.stringify(pattern),
  }) as { readonly RuleArn: string };
  const fifo = queueName.endsWith('.fifo');
  const baseName = fifo ? queueName.slice(0, -'.fifo'.length) : queueName;
  // EventBridge takes standard queues only as dead-letter queues, and a FIFO queue's own must be FIFO: that one has none.
  const deadLetters = await createQueue(bus, { name: `${baseName}-dead-letters`, ruleArn, attributes: {} });
  const redrive = JSON.stringify({ deadLetterTargetArn: deadLetters.arn, maxReceiveCount: MAX_RECEIVES });
  const queue = await createQueue(bus, {
    name: queueName,
    ruleArn,
    attributes: fifo ? { FifoQueue: 'true', ContentBasedDeduplication: 'true' } : { RedrivePolicy: redrive },
  });
  bus.invoke('PutTargets', {
    Rule: ruleName,
    EventBusName: busName,
    Targets: [
      {
        Id: queueName,
        Arn: queue.arn,
        DeadLetterConfig: { Arn: deadLetters.arn },
        ...(fifo ? { SqsParameters: { MessageGroupId: ruleName } } : {}),
      },
    ],
  });
  return {
    queueUrl: queue.url,
    queueArn: queue.arn,
    deadLetterUrl: deadLetters.url,
    deadLetterArn: deadLetters.arn,
  };
}

function createBus(bus: LocalBus, name: string): void {
  try {
    bus.invoke('CreateEventBus', { Name: name });
  } catch (error) {
    if (!(error instanceof ServiceError) || error.code !== 'ResourceAlreadyExistsException') throw error;
  }
}

async function createQueue(
  bus: LocalBus,
  { name, ruleArn, attributes }: { name: string; ruleArn: string; attributes: Readonly<Record<string, string>> },
): Promise<{ readonly url: string; readonly arn: string }> {
  const arn = `arn:aws:sqs:${bus.region}:${QUEUE_ACCOUNT}:${name}`;
  const { QueueUrl: url } = await bus.invokeQueues('CreateQueue', { QueueName: name, Attributes: attributes });
  await bus.invokeQueues('SetQueueAttributes', { QueueUrl: url, Attributes: { Policy: policyFor(arn, [ruleArn]) } });
  // The URL that fauxqs gives has a host name that not every resolver knows.
  return { url: `${bus.queuesUrl}/${QUEUE_ACCOUNT}/${name}`, arn };
}
