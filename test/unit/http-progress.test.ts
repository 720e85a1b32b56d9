import { pino } from 'pino';
import { afterEach, describe, expect, test } from 'vitest';
import { BanyanError } from '../../src/core/errors.ts';
import type { ProgressReport, TableReport } from '../../src/core/progress.ts';
import { type HistoryQuery, parseHistoryQuery } from '../../src/http/history-query.ts';
import type { ProgressSource } from '../../src/http/progress-routes.ts';
import { type HttpServer, startHttp } from '../../src/http/server.ts';
import { laterReport, progressReport, progressSource, tableReport } from '../support/progress-report.ts';
import { workerStatus } from '../support/worker-status.ts';

const servers: HttpServer[] = [];
const log = pino({ level: 'silent' });

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

async function start(progress: ProgressSource): Promise<string> {
  const server = await startHttp({ host: '127.0.0.1', port: 0, status: workerStatus, progress, log });
  servers.push(server);
  return server.url;
}

const away = new BanyanError('database-unavailable', 'the server does not answer');

describe('/v1/tables', () => {
  test('is the report', async () => {
    const url = await start(progressSource());
    const response = await fetch(`${url}/v1/tables`);
    expect([response.status, response.headers.get('cache-control')]).toEqual([200, 'no-store']);
    expect(await response.json()).toEqual(JSON.parse(JSON.stringify(progressReport())));
  });

  test('says why there is none, and when to come again', async () => {
    const url = await start({ ...progressSource(), report: async () => Promise.reject(away) });
    for (const path of ['/v1/tables', '/v1/tables/public.orders', '/v1/history?table=public.orders']) {
      const response = await fetch(`${url}${path}`);
      expect([path, response.status, response.headers.get('retry-after')]).toEqual([path, 503, '5']);
      expect(await response.json()).toEqual({ error: away.message, kind: away.kind, remedy: away.remedy });
    }
  });
});

describe('/v1/tables/{table}', () => {
  const names = [
    'public.orders',
    'Sales.Order Items',
    'public.a/b',
    'public.ä%?#',
    `${'s'.repeat(63)}.${'ä'.repeat(31)}`,
  ];

  test.each(names)('is the table %s, percent-encoded', async (name) => {
    const url = await start(progressSource(() => progressReport({ tables: names.map((each) => tableReport(each)) })));
    const response = await fetch(`${url}/v1/tables/${encodeURIComponent(name)}`);
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({ table: name, primary: 'legacy', at: '2026-03-01T12:00:00.000Z' });
    expect(response.headers.get('cache-control')).toBe('private, max-age=5');
    expect(response.headers.get('vary')).toBe('authorization');
  });

  test('is not sent again while only time passes: what was looked at again, and the lag of the moment, are no news', async () => {
    const url = await start(progressSource(() => report));
    let report = progressReport();
    const first = await fetch(`${url}/v1/tables/public.orders`);
    const etag = first.headers.get('etag') ?? '';
    report = laterReport();
    const second = await fetch(`${url}/v1/tables/public.orders`, { headers: { 'if-none-match': etag } });
    expect([second.status, second.headers.get('etag')]).toEqual([304, etag]);
    // A pass that has become a fail is.
    const [orders] = report.tables.map((table) => ({
      ...table,
      gates: table.gates.map((gate) => (gate.code === 'LAG' ? { ...gate, result: 'fail' as const } : gate)),
    }));
    report = { ...report, tables: [orders as TableReport] };
    const third = await fetch(`${url}/v1/tables/public.orders`, { headers: { 'if-none-match': etag } });
    expect(third.status).toBe(200);
  });

  test('is not sent again to whoever has it, until it changes', async () => {
    let report = progressReport();
    const url = await start(progressSource(() => report));
    const ask = async (etag?: string) => {
      const response = await fetch(`${url}/v1/tables/public.orders`, {
        headers: etag === undefined ? {} : { 'if-none-match': etag },
      });
      return { status: response.status, etag: response.headers.get('etag') ?? '', body: await response.text() };
    };
    const first = await ask();
    report = progressReport({ at: '2026-03-01T12:00:02.000Z' });
    expect(await ask(first.etag)).toEqual({ status: 304, etag: first.etag, body: '' });
    expect((await ask(`"other", ${first.etag.slice(2)}`)).status).toBe(304);
    report = progressReport({ tables: [tableReport('public.orders', { stage: 'new-primary', primary: 'new' })] });
    const moved = await ask(first.etag);
    expect([moved.status, JSON.parse(moved.body).primary]).toEqual([200, 'new']);
    expect(moved.etag).not.toBe(first.etag);
  });

  test('says that it is old, which is news', async () => {
    let report = progressReport();
    const url = await start(progressSource(() => report));
    const etag = (await fetch(`${url}/v1/tables/public.orders`)).headers.get('etag') ?? '';
    const { kind, message, remedy } = away;
    report = progressReport({ stale: { kind, message, remedy, since: '2026-03-01T12:00:01.000Z' } });
    const response = await fetch(`${url}/v1/tables/public.orders`, { headers: { 'if-none-match': etag } });
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({ stale: { kind } });
  });

  test('is 404 for a name that is none, with how many are known and what to do', async () => {
    const url = await start(progressSource());
    const response = await fetch(`${url}/v1/tables/orders`);
    expect(response.status).toBe(404);
    expect(await response.json()).toEqual({
      error: 'no table of that name; 2 are known',
      remedy: expect.stringContaining('/v1/tables'),
    });
  });
});

describe('/v1/history', () => {
  test('gives the parameters on, and answers for known tables only', async () => {
    const asked: HistoryQuery[] = [];
    const url = await start({
      ...progressSource(),
      history: async (query) => {
        asked.push(query);
        return progressSource().history(query);
      },
    });
    const [from, to] = ['2026-03-01T00:00:00Z', '2026-03-01T12:00:00%2B01:00'];
    const response = await fetch(`${url}/v1/history?table=public.orders&from=${from}&to=${to}&step=600`);
    expect(await response.json()).toEqual({ table: 'public.orders', stepSeconds: 600, traffic: [], health: [] });
    expect(asked).toEqual([
      {
        table: 'public.orders',
        from: new Date('2026-03-01T00:00:00Z'),
        to: new Date('2026-03-01T11:00:00Z'),
        stepSeconds: 600,
      },
    ]);
    expect((await fetch(`${url}/v1/history`)).status).toBe(200);
    expect(asked[1]?.table).toBeUndefined();
    expect((await fetch(`${url}/v1/history?table=public.nothing`)).status).toBe(404);
    expect(asked).toHaveLength(2);
  });

  test.each([
    ['tables=x', 'there is no parameter tables', 'table, from, to, step'],
    ['step=60&step=120', 'step is given more than once', 'once'],
    ['table=', 'table is empty', 'leave it out'],
    ['from=yesterday', 'from is no time', 'ISO 8601'],
    ['from=2026-03-01T12:00:00', 'from is no time', 'time zone'],
    ['to=2026-13-01T12:00:00Z', 'to is no time', 'ISO 8601'],
    ['from=2026-02-30T00:00:00Z', 'from is no time', 'ISO 8601'],
    ['from=2026-03-01T12:00:00Z&to=2026-03-01T12:00:00Z', 'from is not before to', 'earlier'],
    ['step=59', 'step is no number of whole minutes', 'whole minutes'],
    ['step=90s', 'step is no number of whole minutes', 'whole minutes'],
    ['step=-60', 'step is no number of whole minutes', 'whole minutes'],
    ['from=2026-01-01T00:00:00Z&to=2026-03-01T00:00:00Z&step=60', '84960 points, more than 2000', 'a step of 2580 s'],
  ])('refuses ?%s, and says how it is written', async (query, error, remedy) => {
    const url = await start(progressSource());
    const response = await fetch(`${url}/v1/history?${query}`);
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({
      kind: 'usage',
      error: expect.stringContaining(error),
      remedy: expect.stringContaining(remedy),
    });
  });

  test('has a step that people think in, whatever the span, and never too many points', () => {
    const now = new Date('2026-03-01T12:00:00Z');
    const stepOf = (hours: number) => {
      const from = new Date(now.getTime() - hours * 3_600_000).toISOString();
      return parseHistoryQuery({ from }, now).stepSeconds;
    };
    expect([1, 5, 24, 48, 168, 720, 24 * 365, 24 * 3_650].map(stepOf)).toEqual([
      60, 60, 300, 600, 3_600, 21_600, 172_800, 1_123_200,
    ]);
    expect(parseHistoryQuery({}, now)).toEqual({
      table: undefined,
      from: new Date('2026-02-28T12:00:00Z'),
      to: now,
      stepSeconds: 300,
    });
    expect(parseHistoryQuery({ step: '1h' }, now).stepSeconds).toBe(3_600);
  });
});

describe('the report’s JSON', () => {
  test('is made once for all who ask', async () => {
    let made = 0;
    const report = { ...progressReport(), toJSON: () => ((made += 1), progressReport()) } as ProgressReport;
    const url = await start(progressSource(() => report));
    await Promise.all(Array.from({ length: 5 }, async () => (await fetch(`${url}/v1/tables`)).text()));
    expect(made).toBe(1);
  });
});
