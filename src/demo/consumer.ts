import { DeleteMessageBatchCommand, ReceiveMessageCommand, type Message, type SQSClient } from '@aws-sdk/client-sqs';

/** The envelope as EventBridge puts it into a queue: the body is the event, nothing around it. */
export interface Envelope {
  readonly 'detail-type': string;
  readonly detail: {
    readonly metadata: {
      readonly id: string;
      readonly sequence: string;
      readonly operation: string;
      readonly table: string;
      readonly key: Readonly<Record<string, unknown>>;
      /** `legacy`, or what reverse sync led to: `correction`, `trigger`. */
      readonly origin: string;
      /** Id of the event that reverse sync applied. */
      readonly causedBy?: string;
      readonly hops?: number;
      /** A row that a backfill read has none, and neither has the event about a run. */
      readonly transaction?: { readonly committedAt: string };
    };
    readonly data: Readonly<Record<string, unknown>>;
  };
}

export interface ConsumerOptions {
  readonly sqs: SQSClient;
  readonly queueUrl: string;
  readonly onEvent: (event: Envelope) => void | Promise<void>;
}

/** Receives until `signal` aborts. A message is deleted only after `onEvent` took it, so a consumer that dies gets it again. */
export async function consume({ sqs, queueUrl, onEvent }: ConsumerOptions, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const messages = await receive(sqs, { queueUrl, signal });
    for (const message of messages) await onEvent(JSON.parse(message.Body ?? '') as Envelope);
    if (messages.length > 0) await remove(sqs, { queueUrl, messages });
  }
}

async function receive(sqs: SQSClient, place: { queueUrl: string; signal: AbortSignal }): Promise<readonly Message[]> {
  try {
    const answer = await sqs.send(
      new ReceiveMessageCommand({ QueueUrl: place.queueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 5 }),
      { abortSignal: place.signal },
    );
    return answer.Messages ?? [];
  } catch (error) {
    if (place.signal.aborted) return [];
    throw error;
  }
}

async function remove(sqs: SQSClient, what: { queueUrl: string; messages: readonly Message[] }): Promise<void> {
  const answer = await sqs.send(
    new DeleteMessageBatchCommand({
      QueueUrl: what.queueUrl,
      Entries: what.messages.map((message, i) => ({ Id: `${i}`, ReceiptHandle: message.ReceiptHandle ?? '' })),
    }),
  );
  const [failed] = answer.Failed ?? [];
  if (failed !== undefined) throw new Error(`the queue did not delete a message: ${failed.Code ?? 'no code'}`);
}
