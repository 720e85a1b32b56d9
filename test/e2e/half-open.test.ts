import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { createPool } from '../../src/postgres/connection.ts';
import { withReplicationClient } from '../../src/postgres/server.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(async () => {
  await server.stop();
});

test('a query on a connection that swallows everything ends, on every kind of connection', async () => {
  await using proxy = await startTcpProxy(server.port);
  const settings = { url: proxy.through(server.url()), name: 'shop', statementTimeoutMs: 500 };
  const pool = createPool(settings, { log: pino({ level: 'silent' }) });
  await pool.query('select 1');
  const identifying = withReplicationClient(settings, async (client) => {
    await client.query('select 1');
    proxy.freeze();
    await client.query('select 1');
  });
  await expect(identifying).rejects.toMatchObject({ kind: 'database-unavailable' });
  await expect(pool.query('select 1')).rejects.toThrow('Query read timeout');
  proxy.thaw();
  // The dead connection is not handed out again.
  expect((await pool.query('select 1 as alive')).rows).toEqual([{ alive: 1 }]);
  await pool.end();
});
