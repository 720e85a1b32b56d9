import type { ServerResponse } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { toBanyanError } from '../core/errors.ts';
import type { ProgressReport } from '../core/progress.ts';
import { splitMoving } from './page/moving.js';
import { jsonOf } from './progress-routes.ts';

export interface LiveOptions {
  readonly report: () => Promise<ProgressReport>;
  /** Default: 50. */
  readonly maxClients?: number;
  /** Default: 2 s. */
  readonly everyMs?: number;
  /** How long a client may leave what it was sent unread. Default: 15 s. */
  readonly patienceMs?: number;
}

const MAX_CLIENTS = 50;
const EVERY_MS = 2_000;
const PATIENCE_MS = 15_000;
/** A line that says nothing, so that neither side takes the connection for dead. */
const COMMENT_MS = 15_000;

interface Client {
  readonly response: ServerResponse;
  /** When its last event was written. */
  writtenAtMs: number;
  /** What it was sent last, for it not to be sent again. */
  sent: News | undefined;
}

/** Reports to whoever looks, when they have changed, and only their times where nothing else has. Nothing is asked for while nobody looks. */
export function serveLive(app: FastifyInstance, options: LiveOptions): void {
  const { report, maxClients = MAX_CLIENTS, everyMs = EVERY_MS, patienceMs = PATIENCE_MS } = options;
  const clients = new Set<Client>();
  let timer: NodeJS.Timeout | undefined;
  let looking = false;

  const look = async (): Promise<void> => {
    if (looking) return;
    looking = true;
    try {
      const news = await eventOf(report);
      for (const client of clients) send(client, news);
    } finally {
      looking = false;
    }
  };

  const send = (client: Client, news: News): void => {
    const { response, sent } = client;
    const silentMs = performance.now() - client.writtenAtMs;
    if (response.writableNeedDrain) {
      // Whoever does not read what there is gets nothing more, and misses nothing: the next report says all that this one does.
      if (silentMs > patienceMs) response.destroy();
      return;
    }
    const event = eventAfter(sent, news);
    if (event === undefined && silentMs < COMMENT_MS) return;
    client.writtenAtMs = performance.now();
    client.sent = news;
    response.write(event ?? ': nothing new\n\n');
  };

  app.get('/v1/events', { exposeHeadRoute: false }, async (_request, reply) => {
    if (clients.size >= maxClients) {
      return reply
        .code(503)
        .header('retry-after', '10')
        .send({ error: `${maxClients} look already`, remedy: 'close a page, or ask /v1/tables every few seconds' });
    }
    reply.hijack();
    const response = reply.raw;
    const client: Client = { response, writtenAtMs: performance.now(), sent: undefined };
    clients.add(client);
    response.on('close', () => {
      clients.delete(client);
      if (clients.size > 0) return;
      clearInterval(timer);
      timer = undefined;
    });
    response.on('error', () => response.destroy());
    response.writeHead(200, {
      ...(reply.getHeaders() as Record<string, string>),
      'content-type': 'text/event-stream; charset=utf-8',
      // A proxy that collects what comes would make it old.
      'x-accel-buffering': 'no',
    });
    response.flushHeaders();
    timer ??= setInterval(() => void look(), everyMs);
    send(client, await eventOf(report));
    return reply;
  });

  app.addHook('preClose', async () => {
    for (const { response } of clients) response.end();
  });
}

interface News {
  readonly event: string;
  /** Equal while nothing has changed but the time. */
  readonly key: string;
  /** Of that alone. */
  readonly times: string;
}

/** undefined: nothing. */
function eventAfter(sent: News | undefined, { event, key, times }: News): string | undefined {
  if (key !== sent?.key) return event;
  return times === sent.times ? undefined : times;
}

async function eventOf(report: () => Promise<ProgressReport>): Promise<News> {
  try {
    const now = await report();
    const { lasting, times } = splitMoving(now);
    return {
      event: `event: report\ndata: ${jsonOf(now)}\n\n`,
      key: JSON.stringify(lasting),
      times: `event: times\ndata: ${JSON.stringify(times)}\n\n`,
    };
  } catch (error) {
    const { kind, message, remedy } = toBanyanError(error, 'looking at how far the tables are');
    const text = JSON.stringify(kind === 'unknown' ? { kind } : { kind, message, remedy });
    return { event: `event: problem\ndata: ${text}\n\n`, key: text, times: '' };
  }
}
