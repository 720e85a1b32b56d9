import { once } from 'node:events';
import { request } from 'node:http';
import { connect } from 'node:net';
import { pino } from 'pino';
import { afterEach, describe, expect, test } from 'vitest';
import type { WorkerState, WorkerStatus } from '../../src/core/status.ts';
import { type HttpOptions, type HttpServer, startHttp } from '../../src/http/server.ts';
import { progressSource } from '../support/progress-report.ts';
import { workerStatus } from '../support/worker-status.ts';

const TOKEN = 'a-token-of-the-test-0123';
const servers: HttpServer[] = [];
const logged: string[] = [];
const progress = progressSource();
const log = pino({ level: 'debug' }, { write: (line: string) => void logged.push(line) });

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
  logged.length = 0;
});

async function start(status: () => WorkerStatus, options: Partial<HttpOptions> = {}): Promise<string> {
  const server = await startHttp({ host: '127.0.0.1', port: 0, status, progress, log, ...options });
  servers.push(server);
  return server.url;
}

function authorized(token: string): RequestInit {
  return { headers: { authorization: `Bearer ${token}` } };
}

/** By what they are for: nothing that is known of a database is in them. */
function isOpen(path: string): boolean {
  return ['/', '/healthz', '/readyz'].includes(path) || path.startsWith('/assets/');
}

describe('health', () => {
  test('answers 200 while the process is alive, whatever the state', async () => {
    const url = await start(() => workerStatus({ state: 'halted' }));
    const response = await fetch(`${url}/healthz`);
    expect([response.status, await response.text()]).toEqual([200, 'ok\n']);
  });

  test.each<WorkerState>(['streaming', 'catching-up', 'standby'])('is ready while %s, in one word', async (state) => {
    const url = await start(() => workerStatus({ state }));
    const response = await fetch(`${url}/readyz`);
    expect([response.status, await response.text()]).toEqual([200, `${state}\n`]);
  });

  test.each<WorkerState>(['starting', 'waiting', 'halted', 'stopping'])('is not ready while %s', async (state) => {
    const url = await start(() => workerStatus({ state }));
    const response = await fetch(`${url}/readyz`);
    expect(response.status).toBe(503);
    expect(await response.json()).toMatchObject({ state, remedy: expect.any(String) });
  });

  test('says the problem and its remedy', async () => {
    const problem = {
      kind: 'gap',
      message: 'the slot is gone',
      remedy: 'recover',
      since: '2026-03-01T12:00:00Z',
    } as const;
    const url = await start(() => workerStatus({ state: 'halted', problem }));
    expect(await (await fetch(`${url}/readyz`)).json()).toEqual({
      state: 'halted',
      problem: { kind: 'gap', message: 'the slot is gone', since: '2026-03-01T12:00:00Z' },
      remedy: 'recover',
    });
  });

  test('follows the state from one request to the next', async () => {
    let state: WorkerState = 'starting';
    const url = await start(() => workerStatus({ state }));
    expect((await fetch(`${url}/readyz`)).status).toBe(503);
    state = 'streaming';
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
  });
});

describe('access', () => {
  test('a host beyond loopback needs a token', async () => {
    for (const host of ['0.0.0.0', '::', '10.0.0.1', 'example.com']) {
      await expect(startHttp({ host, port: 0, status: workerStatus, progress, log })).rejects.toMatchObject({
        kind: 'config',
        remedy: expect.stringContaining('http.token'),
      });
    }
    await start(workerStatus, { host: '0.0.0.0', token: TOKEN });
  });

  test('everything but health and the files of the page wants the token, whatever routes there are', async () => {
    const server = await startHttp({ host: '127.0.0.1', port: 0, status: workerStatus, progress, log, token: TOKEN });
    servers.push(server);
    const paths = server.routes.map((route) => route.split(' ') as [method: string, path: string]);
    expect(paths.filter(([, path]) => isOpen(path)).length).toBeGreaterThan(10);
    const closed = paths.filter(([, path]) => !isOpen(path));
    expect(closed.map(([, path]) => path)).toEqual(
      expect.arrayContaining([
        '/v1/status',
        '/v1/tables',
        '/v1/tables/:table',
        '/v1/history',
        '/v1/events',
        '/metrics',
      ]),
    );
    for (const [method, path] of closed) {
      const asked = `${server.url}${path.replace(':table', 'public.orders')}`;
      expect([method, path, (await fetch(asked, { method })).status]).toEqual([method, path, 401]);
      const wrong = await fetch(asked, { method, ...authorized(`${TOKEN.slice(0, -1)}x`) });
      expect([method, path, wrong.status, await wrong.text()]).toEqual([
        method,
        path,
        401,
        expect.not.stringContaining('orders'),
      ]);
    }
    for (const [method, path] of paths.filter(([, each]) => isOpen(each)))
      expect([path, (await fetch(`${server.url}${path}`, { method })).status]).toEqual([path, 200]);
  });

  test('a path that is no route wants the token too, and it is exactly the token', async () => {
    const url = await start(workerStatus, { token: TOKEN });
    for (const path of [
      '/v1/status',
      '/metrics',
      '/nothing',
      '/assets/',
      '/assets/nothing.js',
      '/assets/..%2fserver.ts',
      '/assets/../server.ts',
      '/index.html',
      '/healthz/',
      '/HEALTHZ',
      '//healthz',
      '/healthz%2fx',
    ]) {
      const response = await fetch(`${url}${path}`);
      expect([path, response.status]).toEqual([path, 401]);
      expect(response.headers.get('www-authenticate')).toBe('Bearer');
    }
    for (const wrong of ['', TOKEN.slice(1), `${TOKEN}x`, TOKEN.toUpperCase(), `${TOKEN} ${TOKEN}`]) {
      expect((await fetch(`${url}/v1/status`, authorized(wrong))).status).toBe(401);
    }
    const basic = { headers: { authorization: `Basic ${TOKEN}` } };
    expect((await fetch(`${url}/v1/status`, basic)).status).toBe(401);
    expect((await fetch(`${url}/v1/status`, authorized(TOKEN))).status).toBe(200);
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
  });

  test('without a token a page of another name gets nothing through the browser of whoever works here', async () => {
    const url = await start(workerStatus);
    const through = async (host: string, path = '/v1/status') => {
      const sent = request(`${url}${path}`, { headers: { host } }).end();
      const [response] = (await once(sent, 'response')) as [{ statusCode: number; resume: () => void }];
      response.resume();
      return response.statusCode;
    };
    expect(await through('evil.example')).toBe(421);
    expect(await through('evil.example:8080')).toBe(421);
    expect(await through('127.0.0.1.evil.example')).toBe(421);
    expect(await through('evil.example', '/readyz')).toBe(200);
    for (const own of ['localhost', 'LOCALHOST:8080', '127.0.0.1:1', '[::1]:8080'])
      expect(await through(own)).toBe(200);
  });

  test('a path that can not be decoded is refused as the others are', async () => {
    const url = await start(workerStatus, { token: TOKEN });
    const response = await fetch(`${url}/v1/tables/%zz`);
    expect([response.status, response.headers.get('x-content-type-options')]).toEqual([400, 'nosniff']);
    expect(await response.text()).not.toContain('zz');
  });

  test('nothing can be written', async () => {
    const url = await start(workerStatus);
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
      const body = method === 'OPTIONS' ? {} : { body: 'x'.repeat(100_000) };
      const response = await fetch(`${url}/v1/status`, { method, ...body });
      expect([method, response.status, response.headers.get('allow')]).toEqual([method, 405, 'GET, HEAD']);
    }
    const head = await fetch(`${url}/v1/status`, { method: 'HEAD' });
    expect([head.status, await head.text()]).toEqual([200, '']);
  });

  test('every answer forbids to be kept, framed or guessed at', async () => {
    const url = await start(workerStatus, { token: TOKEN });
    for (const path of ['/healthz', '/readyz', '/v1/status', '/nothing']) {
      const { headers } = await fetch(`${url}${path}`);
      expect(headers.get('cache-control')).toBe('no-store');
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('content-security-policy')).toContain("default-src 'none'");
    }
  });
});

describe('routes', () => {
  test('the status is the worker’s own, as JSON', async () => {
    const url = await start(() => workerStatus({ name: 'shop' }));
    const response = await fetch(`${url}/v1/status`);
    expect(response.headers.get('content-type')).toContain('application/json');
    expect(await response.json()).toEqual(JSON.parse(JSON.stringify(workerStatus({ name: 'shop' }))));
  });

  test('an unknown one is answered with those there are', async () => {
    const url = await start(workerStatus);
    const response = await fetch(`${url}/v1/stats`);
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchObject({
      routes: {
        '/healthz': expect.any(String),
        '/readyz': expect.any(String),
        '/v1/status': expect.any(String),
        '/v1/tables': expect.any(String),
        '/metrics': expect.any(String),
      },
    });
  });

  test('are all told of', async () => {
    const server = await startHttp({ host: '127.0.0.1', port: 0, status: workerStatus, progress, log });
    servers.push(server);
    const { routes } = (await (await fetch(`${server.url}/nothing`)).json()) as { routes: object };
    const paths = server.routes
      .map((route) => route.split(' ')[1] ?? '')
      .filter((path) => !path.startsWith('/assets/'));
    expect(Object.keys(routes).toSorted()).toEqual([...new Set(paths)].toSorted());
  });

  test('a failure is logged and not shown', async () => {
    let asked = 0;
    const url = await start(() => {
      if (++asked > 1) throw new Error('inner words');
      return workerStatus();
    });
    const response = await fetch(`${url}/v1/status`);
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain('inner words');
    expect(logged.join('')).toContain('inner words');
  });
});

describe('listening', () => {
  test('on a port that is taken says so, and what to set', async () => {
    const url = await start(workerStatus);
    const port = Number(new URL(url).port);
    await expect(startHttp({ host: '127.0.0.1', port, status: workerStatus, progress, log })).rejects.toMatchObject({
      kind: 'preflight',
      code: 'EADDRINUSE',
      message: expect.stringContaining(`${port}`),
    });
  });

  test('ends with close, also while a client holds a half-sent request', async () => {
    const server = await startHttp({ host: '127.0.0.1', port: 0, status: workerStatus, progress, log });
    const { port } = new URL(server.url);
    const socket = connect(Number(port), '127.0.0.1');
    const ended = once(socket, 'close');
    await once(socket, 'connect');
    socket.on('error', () => undefined);
    socket.write('GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\nGET /v1/sta');
    await once(socket, 'data');
    await server.close();
    await ended;
    await expect(fetch(`${server.url}/healthz`)).rejects.toThrow('fetch failed');
  });
});
