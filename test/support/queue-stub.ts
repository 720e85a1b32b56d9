import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { StubAnswer } from './eventbridge-stub.ts';

export interface QueueCall {
  /** Without `AmazonSQS.` */
  readonly operation: string;
  readonly input: {
    readonly QueueUrl: string;
    readonly Entries?: readonly {
      readonly Id: string;
      readonly ReceiptHandle: string;
      readonly VisibilityTimeout?: number;
    }[];
    readonly MaxNumberOfMessages?: number;
    readonly WaitTimeSeconds?: number;
  };
}

/** An HTTP server that speaks as much of SQS's wire protocol as a test wants to be answered: for answers that no emulator gives. */
export interface QueueStub extends AsyncDisposable {
  /** Of its only queue. */
  readonly queueUrl: string;
  readonly calls: QueueCall[];
  answer: (call: QueueCall) => StubAnswer;
}

export async function startQueueStub(answer: QueueStub['answer']): Promise<QueueStub> {
  const calls: QueueCall[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const call: QueueCall = {
        operation: String(request.headers['x-amz-target']).replace('AmazonSQS.', ''),
        input: JSON.parse(Buffer.concat(chunks).toString()) as QueueCall['input'],
      };
      calls.push(call);
      const given = stub.answer(call);
      if (given === 'hang') return;
      if (given === 'destroy') {
        response.destroy();
        return;
      }
      response.writeHead(given.status, { 'content-type': 'application/x-amz-json-1.0' });
      response.end(JSON.stringify(given.body));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const stub: QueueStub = {
    queueUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}/000000000000/stub`,
    calls,
    answer,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return stub;
}

/** Every entry of a batch succeeded. */
export function allDone({ input }: QueueCall): StubAnswer {
  return { status: 200, body: { Successful: (input.Entries ?? []).map(({ Id }) => ({ Id })), Failed: [] } };
}
