import { writeFile } from 'node:fs/promises';
import { createServer, type Server as TcpServer } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseLsn } from '../../src/core/lsn.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { identifyServer, readServerFacts, serverFindings } from '../../src/postgres/server.ts';
import { timelineAt } from '../../src/postgres/timeline.ts';

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server.stop());

describe('identifyServer', () => {
  it('reads version, encoding, system identifier and timeline', async () => {
    const { rows } = await server.query(`select system_identifier::text as id from pg_control_system()`);
    const found = await identifyServer({ url: server.url(), name: 'test' });
    expect(found).toMatchObject({
      encoding: 'UTF8',
      walLevel: 'logical',
      systemId: (rows[0] as { id: string }).id,
      timeline: 1,
      pooled: false,
      pinned: true,
      walSenderTimeoutMs: 60_000,
    });
    expect(Math.floor(found.versionNumber / 10_000)).toBe(18);
  });

  it('knows which timeline wrote a position, right after a promotion', async () => {
    await using promoted = await EmbeddedPostgres.start({ major: 14 });
    const before = await walEnd(promoted);
    await promoted.shutdown();
    await writeFile(join(promoted.dataDirectory, 'standby.signal'), '');
    await promoted.restart();
    await expect(identifyServer({ url: promoted.url(), name: 'test' })).rejects.toMatchObject({
      kind: 'database-unavailable',
    });
    await promoted.query(`select pg_promote()`);
    const found = await identifyServer({ url: promoted.url(), name: 'test' });
    expect(found.timeline).toBe(2);
    expect(timelineAt(found.timelines, parseLsn(before))).toBe(1);
    expect(timelineAt(found.timelines, found.walEnd)).toBe(2);
  });

  it('refuses a database whose encoding nobody knows', async () => {
    const url = await server.createDatabase('ascii', `encoding 'SQL_ASCII' template template0`);
    await expect(identifyServer({ url, name: 'test' })).rejects.toMatchObject({
      kind: 'preflight',
      context: { code: 'SERVER_ENCODING_UNKNOWN' },
    });
  });

  it('refuses a server that does not write logical WAL, with the statement that mends it', async () => {
    await using replica = await EmbeddedPostgres.start({ settings: { wal_level: 'replica' } });
    await expect(identifyServer({ url: replica.url(), name: 'test' })).rejects.toMatchObject({
      kind: 'preflight',
      remedy: expect.stringContaining('alter system set wal_level = logical'),
    });
  });

  it('says database-unavailable where nothing listens, and does not quote the URL', async () => {
    const error = await identifyServer({ url: 'postgresql://u:secret@127.0.0.1:1/x', name: 'test' }).catch(
      (error: unknown) => error,
    );
    expect(error).toMatchObject({ kind: 'database-unavailable', code: 'ECONNREFUSED' });
    expect(String(error)).not.toContain('secret');
  });
});

describe('serverFindings', () => {
  const usable = {
    versionNumber: 180_000,
    encoding: 'UTF8',
    walLevel: 'logical',
    inRecovery: false,
    database: 'd',
    role: 'r',
    walSenderTimeoutMs: 60_000,
    pooled: false,
    pinned: true,
  };

  it('finds nothing on a usable server', () => {
    expect(serverFindings(usable)).toEqual([]);
  });

  it('finds a server that is too old', () => {
    expect(serverFindings({ ...usable, versionNumber: 130_011 })).toMatchObject([{ code: 'SERVER_TOO_OLD' }]);
  });

  it('finds start-up options that a pooler dropped', () => {
    expect(serverFindings({ ...usable, pinned: false })).toMatchObject([{ code: 'POOLER_DROPS_OPTIONS' }]);
  });
});

describe('a connection pooler', () => {
  it('is recognised by a backend that is not the one that answered the start-up', async () => {
    const pooler = await startPooler(server.port);
    const address = pooler.address() as { port: number };
    const client = new pg.Client({ connectionString: server.url().replace(`:${server.port}/`, `:${address.port}/`) });
    await client.connect();
    try {
      const facts = await readServerFacts(client);
      expect(facts.pooled).toBe(true);
      expect(serverFindings({ ...facts, pinned: true })).toMatchObject([{ code: 'POOLER_SUSPECTED' }]);
    } finally {
      await client.end();
      pooler.close();
    }
  });
});

/** As poolers do, this hands out cancel keys of its own: it changes the process id in BackendKeyData on the way through. */
async function startPooler(port: number): Promise<TcpServer> {
  const { connect } = await import('node:net');
  const relay = createServer((near) => {
    const far = connect(port, '127.0.0.1');
    near.pipe(far);
    let changed = false;
    far.on('data', (data: Buffer) => {
      const at = changed ? -1 : data.indexOf(Buffer.from([0x4b, 0, 0, 0, 12]));
      if (at !== -1) {
        data.writeInt32BE(77, at + 5);
        changed = true;
      }
      near.write(data);
    });
    far.on('close', () => near.destroy());
    near.on('close', () => far.destroy());
    near.on('error', () => far.destroy());
    far.on('error', () => near.destroy());
  });
  relay.listen(0, '127.0.0.1');
  await once(relay, 'listening');
  return relay;
}

async function walEnd(on: EmbeddedPostgres): Promise<string> {
  const { rows } = await on.query(`select pg_current_wal_lsn()::text as lsn`);
  return (rows[0] as { lsn: string }).lsn;
}
