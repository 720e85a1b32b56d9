import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { endChild, startChild } from './child.ts';

/** One entry of PutEvents as the worker sent it; the reference sends the same ones. */
export interface RecordedEntry {
  readonly Source: string;
  readonly DetailType: string;
  readonly Detail: string;
  readonly Resources?: readonly string[];
  readonly Time?: number;
  readonly EventBusName?: string;
}

/** Requests whose bodies are kept, for the reference to send again. */
const RECORDED_REQUESTS = 500;

/** Unescaped, this can only stand at the top of an entry: within a Detail every quote has a backslash before it. */
const ENTRY_MARK = Buffer.from('"Detail":');

export interface EventBridgeStub extends AsyncDisposable {
  readonly endpoint: string;
  /** Entries and requests since the last call. */
  counted(): Promise<{ entries: number; requests: number }>;
  /** The first requests' entries. */
  recorded(): Promise<readonly (readonly RecordedEntry[])[]>;
}

/**
 * An EventBridge in another process that accepts everything and looks at nothing: it counts entries, and answers as fast as node:http does.
 */
export async function startStub(): Promise<EventBridgeStub> {
  const child = startChild('eventbridge-stub.ts');
  const [{ port }] = (await once(child, 'message')) as [{ port: number }];
  const endpoint = `http://127.0.0.1:${port}`;
  const get = async (path: string): Promise<unknown> => (await fetch(`${endpoint}${path}`)).json();
  return {
    endpoint,
    counted: async () => (await get('/counted')) as { entries: number; requests: number },
    recorded: async () => (await get('/recorded')) as (readonly RecordedEntry[])[],
    [Symbol.asyncDispose]: () => endChild(child),
  };
}

/** Prepared once: an answer that accepts `count` entries. */
function answerOf(count: number): Buffer {
  const entries = Array.from({ length: count }, (_, i) => ({
    EventId: `00000000-0000-4000-8000-${`${i}`.padStart(12, '0')}`,
  }));
  return Buffer.from(JSON.stringify({ FailedEntryCount: 0, Entries: entries }));
}

async function serve(): Promise<void> {
  const answers = Array.from({ length: 11 }, (_, count) => answerOf(count));
  const bodies: Buffer[] = [];
  let entries = 0;
  let requests = 0;

  const put = (body: Buffer): Buffer => {
    let count = 0;
    for (let at = body.indexOf(ENTRY_MARK); at !== -1; at = body.indexOf(ENTRY_MARK, at + ENTRY_MARK.length))
      count += 1;
    const answer = answers[count];
    if (answer === undefined) throw new RangeError(`${count} entries in one request`);
    entries += count;
    requests += 1;
    if (bodies.length < RECORDED_REQUESTS) bodies.push(body);
    return answer;
  };

  const answer = (request: IncomingMessage, body: Buffer): Buffer => {
    if (request.url === '/counted') {
      const counted = Buffer.from(JSON.stringify({ entries, requests }));
      entries = 0;
      requests = 0;
      return counted;
    }
    if (request.url === '/recorded') {
      return Buffer.from(`[${bodies.map((text) => JSON.stringify(JSON.parse(text.toString()).Entries)).join(',')}]`);
    }
    if (request.headers['x-amz-target'] === 'AWSEvents.DescribeEventBus') {
      return Buffer.from(
        JSON.stringify({ Name: 'bench', Arn: 'arn:aws:events:eu-west-1:000000000000:event-bus/bench' }),
      );
    }
    return put(body);
  };

  const server = createServer({ keepAliveTimeout: 60_000 }, (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const [first] = chunks;
      const text = answer(request, chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks));
      response.writeHead(200, { 'content-type': 'application/x-amz-json-1.1', 'content-length': text.length });
      response.end(text);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the stub has no port');
  process.once('disconnect', () => process.exit());
  process.send?.({ port: address.port });
}

if (import.meta.main) await serve();
