import {
  type BatchResultErrorEntry,
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  type Message,
  type QueueAttributeName,
  ReceiveMessageCommand,
  SQSClient,
  type SQSClientConfig,
} from '@aws-sdk/client-sqs';
import { BanyanError } from '../core/errors.ts';
import { abortReason } from '../flow/supervise.ts';
import { httpHandler, makeLean } from './lean-client.ts';
import { type MessageFault, messageFault, queueError } from './queue-errors.ts';
import { Sha256 } from './sha256.ts';

export interface QueueOptions {
  readonly url: string;
  /** Default: the one in the URL, else the SDK's chain. */
  readonly region?: string | undefined;
  /** Default: where the URL points to. */
  readonly endpoint?: string | undefined;
  /** Default: the SDK's chain (environment, shared files, container, instance). */
  readonly credentials?: NonNullable<SQSClientConfig['credentials']> | undefined;
  /** After this long a call without an answer is ended; a long poll gets its waiting time on top. Default 10,000. */
  readonly requestTimeoutMs?: number | undefined;
}

/** A message that was received, and is invisible to others until its visibility timeout ends. */
export interface QueueMessage {
  /** Given by SQS: the same with each delivery. */
  readonly id: string;
  /** Of this delivery. */
  readonly receipt: string;
  readonly body: string;
  /** How often it was delivered, this time included. */
  readonly receives: number;
  readonly sentAtMs: number | undefined;
  /** MessageGroupId of a FIFO queue. */
  readonly group: string | undefined;
}

export interface QueueFacts {
  readonly isFifo: boolean;
  readonly arn: string | undefined;
  readonly visibilityTimeoutSeconds: number;
  /** How long it keeps a message that nobody deletes. */
  readonly retentionSeconds: number;
  /** After so many deliveries a message goes to a dead-letter queue; undefined: there is none. */
  readonly maxReceives: number | undefined;
}

export interface MessageFailure extends MessageFault {
  readonly message: QueueMessage;
}

export interface ReceiveOptions {
  /** 1 to 10. */
  readonly max: number;
  /** How long the call may wait for a first message, up to 20. */
  readonly waitSeconds: number;
  /** How long the messages are ours without a word. */
  readonly visibilitySeconds: number;
}

/** One SQS queue. Nothing is retried here: only the caller knows what is still worth it. Any number of messages may be given at a time. */
export interface Queue {
  /** Throws a BanyanError, or the signal's reason at once when it aborts. A message may then have been received, and comes again later. */
  receive(options: ReceiveOptions, signal: AbortSignal): Promise<QueueMessage[]>;
  /** From now on they stay ours for so long. Resolves with those that it failed for. */
  extend(messages: readonly QueueMessage[], seconds: number): Promise<MessageFailure[]>;
  delete(messages: readonly QueueMessage[]): Promise<MessageFailure[]>;
  /** Gives them back: others may receive them at once. */
  release(messages: readonly QueueMessage[]): Promise<MessageFailure[]>;
  /** Whether it is there, and of which kind. Throws a BanyanError. */
  probe(signal: AbortSignal): Promise<QueueFacts>;
  close(): void;
}

export const MAX_RECEIVE = 10;
export const MAX_WAIT_SECONDS = 20;

const MAX_BATCH = 10;
const ATTRIBUTES: QueueAttributeName[] = ['QueueArn', 'VisibilityTimeout', 'MessageRetentionPeriod', 'RedrivePolicy'];
const REQUEST_TIMEOUT_MS = 10_000;
/** Deletions must never wait for the end of a long poll. */
const MAX_SOCKETS = 32;

/** SQS by the AWS SDK. */
export function createQueue(options: QueueOptions): Queue {
  const { url } = options;
  const requestTimeoutMs = options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS;
  const client = createClient(options, requestTimeoutMs);

  const changeVisibility = (
    messages: readonly QueueMessage[],
    { seconds, doing }: { seconds: number; doing: string },
  ) =>
    inBatches(messages, {
      doing,
      send: (batch) =>
        client.send(
          new ChangeMessageVisibilityBatchCommand({
            QueueUrl: url,
            Entries: batch.map(({ receipt }, index) => ({
              Id: `${index}`,
              ReceiptHandle: receipt,
              VisibilityTimeout: seconds,
            })),
          }),
        ),
    });

  return {
    async receive({ max, waitSeconds, visibilitySeconds }, signal) {
      try {
        const { Messages: messages = [] } = await client.send(
          new ReceiveMessageCommand({
            QueueUrl: url,
            MaxNumberOfMessages: max,
            WaitTimeSeconds: waitSeconds,
            VisibilityTimeout: visibilitySeconds,
            MessageSystemAttributeNames: ['ApproximateReceiveCount', 'SentTimestamp', 'MessageGroupId'],
          }),
          { abortSignal: signal, requestTimeout: waitSeconds * 1_000 + requestTimeoutMs },
        );
        return messages.map(toMessage);
      } catch (thrown) {
        if (signal.aborted) throw abortReason(signal);
        throw queueError(thrown, 'receiving from the queue');
      }
    },
    extend: (messages, seconds) =>
      changeVisibility(messages, { seconds, doing: 'extending the visibility of messages' }),
    release: (messages) => changeVisibility(messages, { seconds: 0, doing: 'giving messages back' }),
    delete: (messages) =>
      inBatches(messages, {
        doing: 'deleting messages',
        send: (batch) =>
          client.send(
            new DeleteMessageBatchCommand({
              QueueUrl: url,
              Entries: batch.map(({ receipt }, index) => ({ Id: `${index}`, ReceiptHandle: receipt })),
            }),
          ),
      }),
    async probe(signal) {
      try {
        const { Attributes: attributes } = await client.send(
          new GetQueueAttributesCommand({ QueueUrl: url, AttributeNames: ATTRIBUTES }),
          { abortSignal: signal },
        );
        return {
          // Standard queues do not have the attribute FifoQueue, and asking for it is an error in some places; the name must say it in any.
          isFifo: isFifoUrl(url),
          arn: attributes?.QueueArn,
          // The defaults of SQS.
          visibilityTimeoutSeconds: Number(attributes?.VisibilityTimeout ?? 30),
          retentionSeconds: Number(attributes?.MessageRetentionPeriod ?? 345_600),
          maxReceives: maxReceivesOf(attributes?.RedrivePolicy),
        };
      } catch (thrown) {
        if (signal.aborted) throw abortReason(signal);
        throw queueError(thrown, 'asking for the attributes of the queue');
      }
    },
    close: () => client.destroy(),
  };
}

/** JSON that says the dead-letter queue, and the number as a number or as text. */
function maxReceivesOf(redrivePolicy: string | undefined): number | undefined {
  if (redrivePolicy === undefined || redrivePolicy === '') return undefined;
  const { maxReceiveCount } = JSON.parse(redrivePolicy) as { readonly maxReceiveCount?: number | string };
  return maxReceiveCount === undefined ? undefined : Number(maxReceiveCount);
}

/** One of the batch calls, ten messages at a time; a call that failed as a whole failed for each of its messages. */
async function inBatches(
  messages: readonly QueueMessage[],
  { doing, send }: { doing: string; send: (batch: readonly QueueMessage[]) => Promise<BatchAnswer> },
): Promise<MessageFailure[]> {
  const batches: (readonly QueueMessage[])[] = [];
  for (let at = 0; at < messages.length; at += MAX_BATCH) batches.push(messages.slice(at, at + MAX_BATCH));
  const failures = await Promise.all(
    batches.map(async (batch) => {
      try {
        return failuresOf(await send(batch), { batch, doing });
      } catch (thrown) {
        const error = queueError(thrown, doing);
        return batch.map((message) => ({ message, error, isLost: false }));
      }
    }),
  );
  return failures.flat();
}

/** A FIFO queue's name ends so, and no other's may. */
export function isFifoUrl(url: string): boolean {
  return new URL(url).pathname.endsWith('.fifo');
}

/** `https://sqs.eu-west-1.amazonaws.com/…`, and the older `https://eu-west-1.queue.amazonaws.com/…`. */
export function regionOfQueue(url: string): string | undefined {
  const { hostname } = new URL(url);
  return (
    /^sqs(?:-fips)?\.([a-z0-9-]+)\.amazonaws\./.exec(hostname) ?? /^([a-z0-9-]+)\.queue\.amazonaws\./.exec(hostname)
  )?.[1];
}

interface BatchAnswer {
  readonly Successful?: readonly { readonly Id: string | undefined }[] | undefined;
  readonly Failed?: readonly BatchResultErrorEntry[] | undefined;
}

function failuresOf(
  { Successful: successful = [], Failed: failed = [] }: BatchAnswer,
  { batch, doing }: { batch: readonly QueueMessage[]; doing: string },
): MessageFailure[] {
  const done = new Set(successful.map(({ Id }) => Id));
  return batch.flatMap((message, index) => {
    const id = `${index}`;
    const failure = failed.find(({ Id }) => Id === id);
    if (failure !== undefined) return { message, ...messageFault(failure.Code ?? 'Unknown', doing) };
    if (done.has(id)) return [];
    const error = new BanyanError('queue-transient', `${doing}: SQS said nothing of a message`);
    return { message, error, isLost: false };
  });
}

function toMessage({ MessageId, ReceiptHandle, Body, Attributes }: Message): QueueMessage {
  return {
    id: MessageId ?? '',
    receipt: ReceiptHandle ?? '',
    body: Body ?? '',
    receives: Number(Attributes?.ApproximateReceiveCount ?? 1),
    sentAtMs: Attributes?.SentTimestamp === undefined ? undefined : Number(Attributes.SentTimestamp),
    group: Attributes?.MessageGroupId,
  };
}

function createClient({ url, region, endpoint, credentials }: QueueOptions, requestTimeoutMs: number): SQSClient {
  const inUrl = region ?? regionOfQueue(url);
  const client = new SQSClient({
    ...(inUrl === undefined ? {} : { region: inUrl }),
    // The origin of the URL: the SDK would take it too, with a warning on the console.
    endpoint: endpoint ?? new URL(url).origin,
    ...(credentials === undefined ? {} : { credentials }),
    sha256: Sha256,
    // What it would say of sockets and timeouts surfaces as errors of the calls.
    requestHandler: httpHandler({ maxSockets: MAX_SOCKETS, requestTimeoutMs }),
  });
  makeLean(client);
  return client;
}
