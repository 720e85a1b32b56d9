import { once } from 'node:events';
import fastify, { type FastifyInstance, type FastifyReply } from 'fastify';
import type { Logger } from 'pino';
import { BanyanError, toBanyanError } from '../core/errors.ts';
import type { WorkerStatus } from '../core/status.ts';
import { isOwnHostHeader, refuseOpenHost, tokenCheck } from './access.ts';
import { serveLive } from './live.ts';
import { createMetrics } from './metrics.ts';
import { readPageFiles, servePage } from './page-files.ts';
import { type ProgressSource, reportInTime, serveProgress } from './progress-routes.ts';
import { isReady, notReady, readyText } from './readiness.ts';

export interface HttpOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** What `Authorization: Bearer` must carry; /healthz, /readyz and the files of the page are open. */
  readonly token?: string | undefined;
  /** Asked on every request, so it must be cheap. */
  readonly status: () => WorkerStatus;
  readonly progress: ProgressSource;
  readonly log: Logger;
}

export interface HttpServer {
  /** `http://host:port`, with the port that was given where 0 was asked for. */
  readonly url: string;
  /** `METHOD /path`, all that there are. */
  readonly routes: readonly string[];
  /** Answers what has been asked, then closes; connections that are still open after a second are ended. */
  close(): Promise<void>;
}

/** Open to whoever reaches the port: what an orchestrator asks, which has no token. So are the files of the page, which hold no data. */
const OPEN_ROUTES: readonly string[] = ['/healthz', '/readyz'];
const ROUTES: Readonly<Record<string, string>> = {
  '/': 'the page',
  '/healthz': '200 while the process is alive',
  '/readyz':
    '200 and the state in one word while it makes progress or stands by; 503 with problem and remedy otherwise',
  '/v1/status': 'the whole status of the worker as JSON',
  '/v1/tables': 'how far the migration is: every table, with the facts about the connector',
  '/v1/tables/:table':
    'one table; who is primary, for a facade to route by: ask every few seconds, not for each request',
  '/v1/history': 'traffic and health over time: ?table=&from=&to=&step=',
  '/v1/events': 'server-sent events: `report` whenever /v1/tables has changed, `times` where only time has passed',
  '/metrics': 'Prometheus metrics',
};

/** A scrape gives up after ten seconds, as Prometheus is set up by default. */
const SCRAPE_MS = 5_000;

const SECURITY_HEADERS: Readonly<Record<string, string>> = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
};

/**
 * Health, status, progress and metrics of the worker, and its page; it serves nothing that changes anything.
 *
 * @throws BanyanError `config` for a host beyond loopback without a token; `preflight` where the port can not be had.
 */
export async function startHttp(options: HttpOptions): Promise<HttpServer> {
  refuseOpenHost(options.host, options.token);
  const files = await readPageFiles();
  const app = fastify({
    // No route takes a body.
    bodyLimit: 1,
    // A client that dawdles holds a socket, not the worker.
    requestTimeout: 10_000,
    keepAliveTimeout: 5_000,
    forceCloseConnections: 'idle',
    exposeHeadRoutes: true,
    // Two names of 63 bytes, percent-encoded.
    routerOptions: { maxParamLength: 400 },
    // A path that can not be decoded, or has a name in it that none can have, never comes to a route, nor to the guard.
    frameworkErrors: (_error, _request, reply) =>
      void (reply as unknown as FastifyReply)
        .code(400)
        .headers(SECURITY_HEADERS)
        .send({ error: 'a path that is not percent-encoded, or too long' }),
  });
  const routes: string[] = [];
  app.addHook('onRoute', ({ method, url }) => void routes.push(...[method].flat().map((each) => `${each} ${url}`)));
  guard(app, { token: options.token, open: new Set([...OPEN_ROUTES, ...files.keys()]) });
  serve(app, options);
  servePage(app, files);
  const { host, port } = options;
  try {
    await app.listen({ host, port });
  } catch (error) {
    throw listenError(error, { host, port });
  }
  return { url: urlOf(app), routes, close: () => close(app) };
}

function guard(
  app: FastifyInstance,
  { token, open }: { readonly token: string | undefined; readonly open: ReadonlySet<string> },
): void {
  const authorized = token === undefined ? undefined : tokenCheck(token);
  app.addHook('onRequest', async (request, reply) => {
    reply.headers(SECURITY_HEADERS);
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      // Its body is not read, so the connection can not be used again.
      await reply
        .code(405)
        .header('allow', 'GET, HEAD')
        .header('connection', 'close')
        .send({ error: 'read only: GET and HEAD' });
      return;
    }
    if (request.routeOptions.url !== undefined && open.has(request.routeOptions.url)) return;
    if (authorized === undefined) {
      if (!isOwnHostHeader(request.headers.host)) {
        await reply.code(421).send({ error: 'without http.token only requests to localhost are answered' });
      }
    } else if (!authorized(request.headers.authorization)) {
      await reply
        .code(401)
        .header('www-authenticate', 'Bearer')
        .send({ error: 'send `Authorization: Bearer TOKEN` (http.token)' });
    }
  });
}

function serve(app: FastifyInstance, options: HttpOptions): void {
  const { status, progress, log } = options;
  const metrics = createMetrics(status().name);

  app.get('/healthz', (_request, reply) => text(reply, 'ok'));

  app.get('/readyz', (_request, reply) => {
    const now = status();
    return isReady(now.state) ? text(reply, readyText(now)) : reply.code(503).send(notReady(now));
  });

  app.get('/v1/status', (_request, reply) => reply.send(status()));

  app.get('/metrics', async (_request, reply) => {
    const report = await reportInTime(progress, SCRAPE_MS);
    return reply.type(metrics.contentType).send(await metrics.expose(status(), report));
  });

  serveProgress(app, progress);
  serveLive(app, { report: () => progress.report() });

  app.setNotFoundHandler((_request, reply) => reply.code(404).send({ error: 'no such route', routes: ROUTES }));

  app.setErrorHandler((error, request, reply) => {
    const { kind, message } = toBanyanError(error, `answering ${request.routeOptions.url ?? 'a request'}`);
    log.error({ kind }, message);
    return reply.code(500).send({ error: 'this failed; the worker’s log says why' });
  });
}

function text(reply: FastifyReply, body: string): FastifyReply {
  return reply.type('text/plain; charset=utf-8').send(`${body}\n`);
}

function listenError(error: unknown, place: { host: string; port: number }): BanyanError {
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  const reasons: Readonly<Record<string, string>> = {
    EADDRINUSE: 'another process listens there',
    EACCES: 'the user may not open this port',
    EADDRNOTAVAIL: 'this machine has no such address',
    ENOTFOUND: 'no such host',
  };
  const reason = (code === undefined ? undefined : reasons[code]) ?? code ?? 'unknown';
  return new BanyanError('preflight', `can not listen on ${place.host}, port ${place.port}: ${reason}`, {
    cause: error,
    remedy: 'set http.host and http.port to an address of this machine and a free port (0 takes any)',
    ...(code === undefined ? {} : { code }),
  });
}

function urlOf(app: FastifyInstance): string {
  const [address] = app.addresses();
  if (address === undefined || typeof address === 'string')
    throw new BanyanError('unknown', 'the HTTP server has no address');
  const host = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return `http://${host}:${address.port}`;
}

async function close(app: FastifyInstance): Promise<void> {
  const { server } = app;
  // A request that never ends must not keep the worker from stopping.
  const deadline = setTimeout(() => server.closeAllConnections(), 1_000);
  try {
    const closed = server.listening ? once(server, 'close') : undefined;
    await app.close();
    await closed;
  } finally {
    clearTimeout(deadline);
  }
}
