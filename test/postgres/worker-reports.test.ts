import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ProgressReport } from '../../src/core/progress.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { type Times, withTimes } from '../../src/http/page/moving.js';
import { eventually } from '../support/eventually.ts';
import { makeBed, type WorkerBed } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});

afterAll(async () => {
  await server?.stop();
});

const setup = `create table orders (id integer primary key, note text);
  create table "Order Items" (id integer primary key)`;
const config = {
  capture: [{ table: 'public.orders' }, { table: 'public."Order Items"' }],
  legacy: { heartbeat: '1s' },
};

async function streaming(bed: WorkerBed): Promise<string> {
  const { worker } = await bed.start(config);
  await bed.sql(`insert into orders values (1, 'x')`);
  await bed.confirmed();
  return worker.url;
}

test('the report names a table for people, and as commands take it', async () => {
  await using bed = await makeBed(server, { name: 'reports_names', setup });
  const url = await streaming(bed);
  const { tables } = (await (await fetch(`${url}/v1/tables`)).json()) as ProgressReport;
  expect(Object.fromEntries(tables.map(({ table, display }) => [table, display]))).toEqual({
    'public.Order Items': 'public."Order Items"',
    'public.orders': 'public.orders',
  });
});

describe('while nothing but time passes, the worker', () => {
  test('answers 304 to whoever has the table, however often it was looked at since', async () => {
    await using bed = await makeBed(server, { name: 'reports_etag', setup });
    const url = await streaming(bed);
    const lookedAt = async () => ((await (await fetch(`${url}/v1/tables`)).json()) as ProgressReport).at;
    const ask = async (etag: string) => fetch(`${url}/v1/tables/public.orders`, { headers: { 'if-none-match': etag } });
    let etag = '';
    let at = '';
    // What the start brings comes to an end: two looks in a row, with the same answer.
    await eventually(
      async () => {
        const now = await lookedAt();
        if (now === at) return false;
        at = now;
        const response = await ask(etag);
        etag = response.headers.get('etag') ?? '';
        return response.status === 304;
      },
      () => `every look gave another table; the last one has ${etag}`,
      { timeoutMs: 20_000, everyMs: 200 },
    );

    await bed.sql(`insert into orders values (2, 'y')`);
    const seen = await eventually(
      async () => {
        const response = await ask(etag);
        return response.status === 200 && ((await response.json()) as ProgressReport['tables'][number]);
      },
      () => 'the write is no news',
      { timeoutMs: 10_000, everyMs: 100 },
    );
    expect(seen.writes.legacy).toBe(2);
  });

  test('sends those who listen the times alone, and with them the report is as it is asked for', async () => {
    await using bed = await makeBed(server, { name: 'reports_events', setup });
    const url = await streaming(bed);
    const names: string[] = [];
    let report: ProgressReport | undefined;
    const hangUp = new AbortController();
    const { body } = await fetch(`${url}/v1/events`, { signal: hangUp.signal });
    for await (const { name, data } of eventsOf(body)) {
      names.push(name);
      if (name === 'report') report = JSON.parse(data);
      if (name === 'times') report = withTimes(report as ProgressReport, JSON.parse(data) as Times);
      if (names.slice(-3).every((each) => each === 'times') && names.length > 3) break;
      expect(names.length, `of 12 events the last were ${names.slice(-4).join()}`).toBeLessThan(12);
    }
    hangUp.abort();
    const asked = (await (await fetch(`${url}/v1/tables`)).json()) as ProgressReport;
    const { at, tables } = report as ProgressReport;
    expect(Date.parse(asked.at) - Date.parse(at)).toBeLessThan(10_000);
    expect(JSON.stringify(withTimes(asked, { values: [], order: [] }))).toBe(
      JSON.stringify(withTimes(report as ProgressReport, { values: [], order: [] })),
    );
    expect(Date.parse(tables[0]?.writes.countedUntil ?? '')).toBeLessThanOrEqual(Date.parse(at));
  });
});

async function* eventsOf(body: ReadableStream<Uint8Array> | null): AsyncGenerator<{ name: string; data: string }> {
  let text = '';
  for await (const chunk of body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += chunk;
    const blocks = text.split('\n\n');
    text = blocks.pop() ?? '';
    for (const block of blocks) {
      const [, name] = /^event: (.*)$/m.exec(block) ?? [];
      const [, data] = /^data: (.*)$/m.exec(block) ?? [];
      if (name !== undefined && data !== undefined) yield { name, data };
    }
  }
}
