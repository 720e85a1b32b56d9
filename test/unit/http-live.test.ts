import { once } from 'node:events';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import fastify, { type FastifyInstance } from 'fastify';
import { afterEach, describe, expect, test } from 'vitest';
import { BanyanError } from '../../src/core/errors.ts';
import type { ProgressReport } from '../../src/core/progress.ts';
import { type LiveOptions, serveLive } from '../../src/http/live.ts';
import { eventually } from '../support/eventually.ts';
import { type Times, withTimes } from '../../src/http/page/moving.js';
import { laterReport, progressReport, tableReport } from '../support/progress-report.ts';

const apps: FastifyInstance[] = [];

afterEach(async () => {
  await Promise.all(apps.splice(0).map((app) => app.close()));
});

async function start(report: () => Promise<ProgressReport>, options: Partial<LiveOptions> = {}): Promise<string> {
  const app = fastify({ forceCloseConnections: 'idle' });
  apps.push(app);
  app.addHook('onRequest', async (_request, reply) => void reply.header('x-guarded', 'yes'));
  serveLive(app, { report, everyMs: 10, ...options });
  return app.listen({ host: '127.0.0.1', port: 0 });
}

interface Listener {
  readonly response: IncomingMessage;
  readonly request: ClientRequest;
  /** The blocks that came so far. */
  readonly events: () => { name: string | undefined; data: string | undefined }[];
}

async function listen(url: string): Promise<Listener> {
  const sent = request(`${url}/v1/events`, { agent: false }).end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  let text = '';
  response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  response.on('error', () => undefined);
  return {
    response,
    request: sent,
    events: () =>
      text
        .split('\n\n')
        .slice(0, -1)
        .map((block) => ({ name: /^event: (.*)$/m.exec(block)?.[1], data: /^data: (.*)$/m.exec(block)?.[1] })),
  };
}

const until = (what: string, holds: () => boolean) =>
  eventually(holds, () => `never: ${what}`, { timeoutMs: 5_000, everyMs: 2 });

describe('events', () => {
  test('are a report at once, only its times while nothing else has changed, and another report when something has', async () => {
    let report = progressReport();
    const url = await start(async () => report);
    const { response, events, request: sent } = await listen(url);
    expect(response.headers).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'x-guarded': 'yes',
    });
    await until('the first report', () => events().length === 1);
    expect(events()[0]).toEqual({ name: 'report', data: JSON.stringify(report) });
    report = laterReport();
    await until('the times', () => events().length === 2);
    expect(events()[1]?.name).toBe('times');
    const times = JSON.parse(events()[1]?.data ?? '') as Times;
    expect(JSON.stringify(withTimes(progressReport(), times))).toBe(JSON.stringify(report));
    report = progressReport({ at: '2026-03-01T12:00:04.000Z', tables: [] });
    await until('the second report', () => events().length === 3);
    expect(events()[2]).toEqual({ name: 'report', data: JSON.stringify(report) });
    sent.destroy();
  });

  test('of a hundred tables are small while only time passes', async () => {
    const tables = Array.from({ length: 100 }, (_, index) => tableReport(`public.table_${index}`));
    let report = progressReport({ tables });
    const url = await start(async () => report);
    const { events, request: sent } = await listen(url);
    await until('the report', () => events().length === 1);
    report = { ...report, at: '2026-03-01T12:00:02.000Z' };
    await until('the times', () => events().length === 2);
    const [whole = 0, times = 0] = events().map(({ data }) => data?.length);
    expect(times).toBeLessThan(whole / 50);
    sent.destroy();
  });

  test('are nothing while the same report is shown again', async () => {
    let asked = 0;
    const url = await start(async () => {
      asked += 1;
      return progressReport();
    });
    const { events, request: sent } = await listen(url);
    await until('some looks', () => asked > 4);
    expect(events()).toHaveLength(1);
    sent.destroy();
  });

  test('ask for nothing while nobody listens', async () => {
    let asked = 0;
    const url = await start(async () => progressReport({ at: `${(asked += 1)}` }));
    expect(asked).toBe(0);
    const { request: sent, events } = await listen(url);
    await until('some looks', () => asked > 3 && events().length > 0);
    sent.destroy();
    let seen = -1;
    await eventually(
      () => {
        const isStill = seen === asked;
        seen = asked;
        return isStill;
      },
      () => 'it goes on asking',
      { timeoutMs: 5_000, everyMs: 60 },
    );
  });

  test('survive a report that can not be made, and say what is the matter', async () => {
    let failure: Error | undefined = new BanyanError('database-unavailable', 'the server does not answer');
    const url = await start(async () => {
      if (failure !== undefined) throw failure;
      return progressReport();
    });
    const { events, request: sent } = await listen(url);
    await until('the problem', () => events().length === 1);
    expect(events()[0]?.name).toBe('problem');
    expect(JSON.parse(events()[0]?.data ?? '')).toMatchObject({ kind: 'database-unavailable' });
    failure = new Error('inner words');
    await until('the other problem', () => events().length === 2);
    expect(events()[1]?.data).toBe('{"kind":"unknown"}');
    failure = undefined;
    await until('the report', () => events().length === 3);
    expect(events()[2]?.name).toBe('report');
    sent.destroy();
  });

  test('have room for so many, and for another one when one has gone', async () => {
    const url = await start(async () => progressReport(), { maxClients: 2 });
    const [first] = [await listen(url), await listen(url)];
    const refused = await fetch(`${url}/v1/events`);
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '10']);
    expect(await refused.json()).toMatchObject({ error: expect.stringContaining('2'), remedy: expect.any(String) });
    first.request.destroy();
    await eventually(
      async () => {
        const response = await fetch(`${url}/v1/events`);
        await response.body?.cancel();
        return response.status === 200;
      },
      () => 'no room',
    );
  });

  test('end with the server', async () => {
    const url = await start(async () => progressReport());
    const { response } = await listen(url);
    const ended = once(response, 'end');
    await apps[0]?.close();
    await ended;
    expect(response.complete).toBe(true);
  });

  test('are not kept for whoever does not read them', async () => {
    const wide = 'x'.repeat(1_000_000);
    let at = 0;
    let heapAtDrop = 0;
    const url = await start(async () => progressReport({ at: `${(at += 1)}`, database: `${at} ${wide}` }), {
      patienceMs: 300,
    });
    const app = apps[0] as FastifyInstance;
    const writable: (() => number)[] = [];
    app.server.on('request', (_request, response) => void writable.push(() => response.writableLength));
    const { port } = new URL(url);
    const socket = connect(Number(port), '127.0.0.1');
    // Nothing is ever read from it.
    socket.pause();
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    socket.write('GET /v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n');
    const connections = async () =>
      new Promise<number>((resolve, reject) => {
        app.server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)));
      });
    await until('the request', () => writable.length === 1);
    await eventually(
      async () => {
        heapAtDrop = Math.max(heapAtDrop, writable[0]?.() ?? 0);
        return (await connections()) === 0;
      },
      () => `it is still connected, with ${heapAtDrop} bytes that wait`,
      { timeoutMs: 10_000, everyMs: 5 },
    );
    expect(heapAtDrop).toBeLessThan(2_500_000);
    socket.destroy();
  });
});
