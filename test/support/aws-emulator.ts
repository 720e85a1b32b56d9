import {
  CreateEventBusCommand,
  EventBridgeClient,
  PutRuleCommand,
  PutTargetsCommand,
} from '@aws-sdk/client-eventbridge';
import {
  CreateQueueCommand,
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs';
import type { SeenEvent } from './worker-harness.ts';

/** What an emulator looks at no closer; the worker finds them in the environment, as it does on AWS. */
export const EMULATOR_CREDENTIALS = { AWS_ACCESS_KEY_ID: 'testing', AWS_SECRET_ACCESS_KEY: 'testing' };
export const EMULATOR_REGION = 'us-east-1';

/** A bus with a rule for all events and a queue behind it, on an emulator of AWS that others wrote. */
export interface EmulatedBus extends Disposable {
  readonly busName: string;
  /** Receives until `count` different events are there and then looks once more; returns all bodies, repeats included. */
  receive(count: number): Promise<string[]>;
}

export async function emulatedBus(endpoint: string, name: string): Promise<EmulatedBus> {
  const options = {
    endpoint,
    region: EMULATOR_REGION,
    credentials: {
      accessKeyId: EMULATOR_CREDENTIALS.AWS_ACCESS_KEY_ID,
      secretAccessKey: EMULATOR_CREDENTIALS.AWS_SECRET_ACCESS_KEY,
    },
  };
  const events = new EventBridgeClient(options);
  const queues = new SQSClient(options);
  await events.send(new CreateEventBusCommand({ Name: name }));
  const { QueueUrl } = await queues.send(new CreateQueueCommand({ QueueName: name }));
  const { Attributes } = await queues.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['QueueArn'] }));
  const rule = { EventBusName: name, Name: 'everything' };
  await events.send(new PutRuleCommand({ ...rule, EventPattern: JSON.stringify({ source: [{ prefix: 'legacy.' }] }) }));
  const targets = await events.send(
    new PutTargetsCommand({
      EventBusName: name,
      Rule: rule.Name,
      Targets: [{ Id: 'queue', Arn: Attributes?.['QueueArn'] }],
    }),
  );
  if (targets.FailedEntryCount !== 0) throw new Error('the emulator did not take the queue as a target');

  async function poll(waitSeconds: number): Promise<string[]> {
    const { Messages = [] } = await queues.send(
      new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: waitSeconds }),
    );
    if (Messages.length === 0) return [];
    await queues.send(
      new DeleteMessageBatchCommand({
        QueueUrl,
        Entries: Messages.map(({ ReceiptHandle }, index) => ({ Id: `${index}`, ReceiptHandle })),
      }),
    );
    return Messages.map(({ Body }) => Body ?? '');
  }

  return {
    busName: name,
    async receive(count) {
      const bodies: string[] = [];
      const deadline = performance.now() + 45_000;
      const seen = () => new Set(bodies.map((body) => eventOfBody(body).metadata.id)).size;
      while (seen() < count) {
        if (performance.now() > deadline) throw new Error(`${seen()} of ${count} events came into the queue`);
        bodies.push(...(await poll(2)));
      }
      // One that should not be there would come with this one.
      return [...bodies, ...(await poll(1))];
    },
    [Symbol.dispose]() {
      events.destroy();
      queues.destroy();
    },
  };
}

/** The body of a message is the envelope itself, with nothing around it. */
export function eventOfBody(body: string): SeenEvent {
  const envelope = JSON.parse(body) as Record<string, unknown> & {
    source: string;
    'detail-type': string;
    detail: Pick<SeenEvent, 'metadata' | 'data' | 'previous'>;
  };
  return { source: envelope.source, detailType: envelope['detail-type'], ...envelope.detail, detail: body };
}

/** The fields of an envelope as AWS sends it, but for `account`, which moto leaves out. */
export const ENVELOPE_FIELDS = ['detail', 'detail-type', 'id', 'region', 'resources', 'source', 'time', 'version'];
