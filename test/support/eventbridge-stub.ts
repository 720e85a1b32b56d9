import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface StubEntry {
  readonly Source: string;
  readonly DetailType: string;
  readonly Detail: string;
  readonly EventBusName: string;
  readonly Resources: readonly string[];
  readonly Time: number;
}

export interface StubCall {
  readonly operation: string;
  readonly entries: readonly StubEntry[];
  /** Of DescribeEventBus. */
  readonly name: string | undefined;
  /** Of the signature. */
  readonly accessKeyId: string | undefined;
  readonly signedAtMs: number;
  readonly userAgent: string | undefined;
}

/** hang: no answer ever. destroy: the connection breaks before an answer. */
export type StubAnswer = 'hang' | 'destroy' | { readonly status: number; readonly body: object };

/** An HTTP server that speaks as much of EventBridge's wire protocol as a test wants to be answered. */
export interface EventBridgeStub {
  readonly url: string;
  readonly calls: StubCall[];
  /** Connections that were opened so far. */
  readonly connections: () => number;
  answer: (call: StubCall) => StubAnswer;
  /** The service's clock, milliseconds since 1970-01-01 UTC. */
  nowMs: () => number;
  readonly close: () => Promise<void>;
}

/** Accepts every entry. */
export function acceptAll(call: StubCall): StubAnswer {
  if (call.operation === 'DescribeEventBus') return { status: 200, body: { Name: call.name } };
  return {
    status: 200,
    body: { FailedEntryCount: 0, Entries: call.entries.map((_entry, index) => ({ EventId: `${index}` })) },
  };
}

/** An error of the whole request, as the service gives it. */
export function serviceError(code: string, options: { message?: string; status?: number } = {}): StubAnswer {
  return { status: options.status ?? 400, body: { __type: code, message: options.message ?? `${code} happened` } };
}

export async function startEventBridgeStub(): Promise<EventBridgeStub> {
  let connections = 0;
  const calls: StubCall[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const input = JSON.parse(Buffer.concat(chunks).toString()) as { Entries?: StubEntry[]; Name?: string };
      const operation = String(request.headers['x-amz-target']).replace('AWSEvents.', '');
      const call: StubCall = {
        operation,
        entries: input.Entries ?? [],
        name: input.Name,
        ...signatureOf(request.headers),
        userAgent: request.headers['user-agent'],
      };
      calls.push(call);
      const answer = stub.answer(call);
      if (answer === 'hang') return;
      if (answer === 'destroy') {
        response.destroy();
        return;
      }
      response.writeHead(answer.status, {
        'content-type': 'application/x-amz-json-1.1',
        date: new Date(stub.nowMs()).toUTCString(),
      });
      response.end(JSON.stringify(answer.body));
    });
  });
  server.on('connection', () => (connections += 1));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const stub: EventBridgeStub = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    connections: () => connections,
    answer: acceptAll,
    nowMs: Date.now,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return stub;
}

/** Signature version 4 says who signed, and when: `20260301T120000Z`. */
function signatureOf(headers: IncomingHttpHeaders): Pick<StubCall, 'accessKeyId' | 'signedAtMs'> {
  const time = String(headers['x-amz-date']).replace(/^(....)(..)(..T..)(..)(..Z)$/, '$1-$2-$3:$4:$5');
  return { accessKeyId: /Credential=([^/]+)/.exec(headers.authorization ?? '')?.[1], signedAtMs: Date.parse(time) };
}
