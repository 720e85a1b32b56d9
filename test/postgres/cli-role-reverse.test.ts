import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Finding } from '../../src/core/finding.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { type LocalBus, startLocalBus } from '../../src/local-bus/local-bus.ts';
import { banyan } from '../support/banyan-process.ts';

let server: EmbeddedPostgres;
let bus: LocalBus;
let folder: string;
beforeAll(async () => {
  [server, bus] = await Promise.all([EmbeddedPostgres.start(), startLocalBus()]);
  folder = await mkdtemp(join(tmpdir(), 'banyan-role-'));
});
afterAll(async () => {
  await Promise.all([server.stop(), bus.close()]);
  await rm(folder, { recursive: true });
});

const SHOP = `
  create schema shop; create schema kinds;
  create type kinds.state as enum ('placed', 'shipped');
  create table shop.orders (id bigint primary key, state kinds.state, note text, secret text, number serial);
  create table shop.customers (id int primary key, name text)`;

const REVERSE = `
reverse:
  queue: QUEUE
  apply:
    - { match: { source: [shop], detail-type: [Placed] }, table: shop.orders, operation: upsert, key: { id: detail.id }, set: { state: detail.state }, version: detail.v, basedOn: detail.b }
    - { match: { source: [shop], detail-type: [Noted] }, table: shop.orders, operation: update, key: { id: detail.id }, set: { note: detail.note }, carries: patch, version: detail.v, basedOn: detail.b }
    - { match: { source: [shop], detail-type: [Left] }, table: shop.customers, operation: delete, key: { id: detail.id }, version: detail.v, basedOn: detail.b }`;

async function scriptFor(name: string, reverse: string): Promise<{ sql: string; tables: string[]; file: string }> {
  const url = await server.createDatabase(name);
  await server.query(SHOP, name);
  await bus.invokeQueues('CreateQueue', { QueueName: name });
  const file = join(folder, `${name}.yaml`);
  const queue = `${bus.queuesUrl}/000000000000/${name}`;
  await writeFile(
    file,
    `name: ${name}
legacy: { url: "\${LEGACY_DATABASE_URL}" }
bus: { type: local, endpoint: "${bus.url}" }
capture: [{ table: shop.orders }, { table: shop.customers }]${reverse.replace('QUEUE', queue)}`,
  );
  const env = { LEGACY_DATABASE_URL: url };
  const run = await banyan(['init', '--role', `${name} worker`, '--json', '--config', file], { env });
  expect(run).toMatchObject({ code: 0 });
  return { ...(JSON.parse(run.stdout) as { sql: string; tables: string[] }), file };
}

describe('init --role with reverse', () => {
  test('gives the role what its entries need, after which check finds nothing missing', async () => {
    const { sql, tables, file } = await scriptFor('role_back', REVERSE);
    expect(tables).toEqual(['shop.customers', 'shop.orders']);
    expect(sql).toContain('grant usage on schema "kinds" to "role_back worker";');
    expect(sql).toContain(
      'grant select, insert ("id", "state"), update ("state", "note") on "shop"."orders" to "role_back worker";',
    );
    expect(sql).toContain('grant select, update ("id"), delete on "shop"."customers" to "role_back worker";');
    expect(sql).toContain('grant usage on sequence "shop"."orders_number_seq" to "role_back worker";');
    // Everybody has it.
    expect(sql).not.toContain('pg_logical_emit_message');

    await server.query(sql, 'role_back');
    await server.query(sql, 'role_back');
    const asRole = server.url('role_back', 'role_back worker');
    const check = await banyan(['check', '--json', '--config', file], { env: { LEGACY_DATABASE_URL: asRole } });
    const { findings } = JSON.parse(check.stdout) as { findings: Finding[] };
    expect(findings.filter(({ severity }) => severity === 'error')).toEqual([]);
    expect(check.code).toBe(0);

    const client = new pg.Client(asRole);
    await client.connect();
    try {
      for (const forbidden of [
        'update shop.orders set secret = null',
        'insert into shop.orders (id, secret) values (1, null)',
        'delete from shop.orders',
        'insert into shop.customers (id) values (1)',
        `update shop.customers set name = ''`,
        'truncate shop.orders',
      ])
        await expect(client.query(forbidden)).rejects.toMatchObject({ code: '42501' });
    } finally {
      await client.end();
    }
  });

  test('without reverse it grants no write', async () => {
    const { sql } = await scriptFor('role_out', '');
    expect(sql).not.toMatch(/grant [^;]*\b(insert|update|delete|sequence)\b/);
  });

  test('names what of reverse.apply does not fit before there is a script', async () => {
    const name = 'role_wrong';
    const url = await server.createDatabase(name);
    await server.query(SHOP, name);
    const text = `
name: ${name}
legacy: { url: "${url}" }
bus: { type: local, port: 0 }
capture: [{ table: shop.orders }]${REVERSE.replace('QUEUE', 'http://127.0.0.1:9/000000000000/back').replace('note: detail.note', 'nota: detail.note')}`;
    const run = await banyan(['init', '--role', 'x'], { env: { BANYAN_CONFIG_YAML: text } });
    expect(run.code).toBe(5);
    expect(run.stderr).toContain('shop.orders has no column nota');
  });
});
