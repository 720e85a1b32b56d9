import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type HttpServer, startHttp } from '../../src/http/server.ts';
import { progressSource } from '../support/progress-report.ts';
import { workerStatus } from '../support/worker-status.ts';

let server: HttpServer;

beforeEach(async () => {
  server = await startHttp({
    host: '127.0.0.1',
    port: 0,
    token: 'a-token-of-the-test-0123',
    status: workerStatus,
    progress: progressSource(),
    log: pino({ level: 'silent' }),
  });
});

afterEach(() => server.close());

describe('the page', () => {
  test('is open, and loads nothing from elsewhere', async () => {
    const response = await fetch(server.url);
    expect([response.status, response.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
    const policy = response.headers.get('content-security-policy') ?? '';
    expect(policy.split('; ')).toEqual(
      expect.arrayContaining(["default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"]),
    );
    expect(policy).not.toMatch(/unsafe|data:|https?:|\*/);
    expect(response.headers.get('x-content-type-options')).toBe('nosniff');
  });

  test('finds every file that it names, each with its type', async () => {
    const types: Readonly<Record<string, string>> = {
      '/': 'text/html; charset=utf-8',
      js: 'text/javascript; charset=utf-8',
      css: 'text/css; charset=utf-8',
      svg: 'image/svg+xml',
    };
    const seen = new Set<string>();
    const left = ['/'];
    for (let path = left.pop(); path !== undefined; path = left.pop()) {
      if (seen.has(path)) continue;
      seen.add(path);
      const response = await fetch(`${server.url}${path}`);
      const type = types[path.split('.').at(-1) ?? ''];
      expect([path, response.status, response.headers.get('content-type')]).toEqual([path, 200, type]);
      const text = await response.text();
      // What the text of a page names, and what modules import; `import` in a comment for types names sources, not files.
      for (const [, named = ''] of text.matchAll(/(?:src|href)="(\/[^"]+)"/g)) left.push(named);
      if (!path.endsWith('.js')) continue;
      for (const [, named = ''] of text.matchAll(/^(?:import|export) [^'"]*?['"]((?:\.\/|\/)[^'"]+)['"];/gm))
        left.push(new URL(named, `${server.url}${path}`).pathname);
    }
    expect(seen.size).toBeGreaterThan(10);
    expect(seen).toContain('/assets/uPlot.esm.js');
  });

  test('is asked about, and not sent again while it is the same', async () => {
    const first = await fetch(`${server.url}/assets/main.js`);
    const etag = first.headers.get('etag') ?? '';
    expect([first.headers.get('cache-control'), etag]).toEqual(['no-cache', expect.stringMatching(/^"[\w-]{20,}"$/)]);
    const again = await fetch(`${server.url}/assets/main.js`, { headers: { 'if-none-match': etag } });
    expect([again.status, await again.text()]).toEqual([304, '']);
  });
});
