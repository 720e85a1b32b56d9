import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { endChild, startChild } from './child.ts';
import { envelopeOf, reverseEvent } from './reverse-events.ts';

/** A queue with prepared messages, which it gives out once it is opened. */
export interface QueueStub extends AsyncDisposable {
  readonly queueUrl: string;
}

/**
 * An SQS in another process that looks at nothing: every message is a piece of text that was made before, checksum and all, and a deletion is a number. The embedded queue
 * would parse, store and copy each message, and would be what is measured.
 */
export async function startQueueStub(events: number): Promise<QueueStub> {
  const child = startChild('queue-stub.ts');
  child.send({ events });
  const [{ port }] = (await once(child, 'message')) as [{ port: number }];
  return {
    queueUrl: `http://127.0.0.1:${port}/000000000000/bench`,
    [Symbol.asyncDispose]: () => endChild(child),
  };
}

/** Lets the messages out. */
export async function open(queueUrl: string): Promise<void> {
  await (await fetch(new URL('/open', queueUrl))).text();
}

/** Resolves when every message is deleted. */
export async function allDeleted(queueUrl: string): Promise<void> {
  await (await fetch(new URL('/deleted', queueUrl))).text();
}

const EMPTY = Buffer.from('{}');

async function serve(): Promise<void> {
  process.once('disconnect', () => process.exit());
  const [{ events }] = (await once(process, 'message')) as [{ events: number }];
  const messages = Array.from({ length: events }, (_, n) => messageOf(envelopeOf(reverseEvent(n, events)), n));
  let next = events;
  let deleted = 0;
  /** Receives that wait for a message. */
  const waiting: (() => void)[] = [];
  const allGone = Promise.withResolvers<void>();

  const receive = async (body: Buffer): Promise<Buffer> => {
    const asked = JSON.parse(body.toString()) as { MaxNumberOfMessages: number };
    if (next >= events) await new Promise<void>((resolve) => waiting.push(resolve));
    const given = messages.slice(next, next + asked.MaxNumberOfMessages);
    next += given.length;
    return Buffer.from(`{"Messages":[${given.join(',')}]}`);
  };

  const answer = async ({ url, headers }: IncomingMessage, body: Buffer): Promise<Buffer> => {
    if (url === '/open') {
      next = 0;
      for (const resolve of waiting.splice(0)) resolve();
      return EMPTY;
    }
    if (url === '/deleted') {
      await allGone.promise;
      return EMPTY;
    }
    switch (headers['x-amz-target']) {
      case 'AmazonSQS.ReceiveMessage':
        return await receive(body);
      case 'AmazonSQS.DeleteMessageBatch': {
        const { Entries } = JSON.parse(body.toString()) as { Entries: readonly { Id: string }[] };
        if ((deleted += Entries.length) >= events) allGone.resolve();
        return Buffer.from(JSON.stringify({ Successful: Entries.map(({ Id }) => ({ Id })), Failed: [] }));
      }
      case 'AmazonSQS.GetQueueAttributes':
        return Buffer.from(
          '{"Attributes":{"VisibilityTimeout":"60","QueueArn":"arn:aws:sqs:eu-west-1:000000000000:bench"}}',
        );
      default:
        return EMPTY;
    }
  };

  const server = createServer({ keepAliveTimeout: 60_000 }, (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      void respond(response, answer(request, Buffer.concat(chunks)));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the stub has no port');
  process.send?.({ port: address.port });
}

async function respond(response: ServerResponse, answer: Promise<Buffer>): Promise<void> {
  const text = await answer;
  response.writeHead(200, { 'content-type': 'application/x-amz-json-1.0', 'content-length': text.length });
  response.end(text);
}

/** One element of a ReceiveMessage answer, with the checksum that the SDK looks at. */
function messageOf(body: string, n: number): string {
  return JSON.stringify({
    MessageId: `message-${n}`,
    ReceiptHandle: `receipt-${n}`,
    MD5OfBody: createHash('md5').update(body).digest('hex'),
    Body: body,
    Attributes: { ApproximateReceiveCount: '1', SentTimestamp: '1772366400000' },
  });
}

if (import.meta.main) await serve();
