import pino from 'pino';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { BanyanError } from '../../src/core/errors.ts';
import { formatLsn, type Lsn, parseLsn, ZERO_LSN } from '../../src/core/lsn.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { openReplicationStream, type ReplicationStream } from '../../src/postgres/replication-stream.ts';
import type { ReplicationStreamOptions, StreamItem } from '../../src/postgres/stream-options.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';

const log = pino({ level: 'silent' });
let server: EmbeddedPostgres;
let databases = 0;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server.stop());

describe('a replication stream', () => {
  it('delivers a transaction as messages, and the keepalive position behind it', async () => {
    const place = await makePlace();
    await server.query(`insert into item values (1, 'a'), (2, null)`, place.database);
    const stream = await open(place);
    const items = await readUntil(stream, (item) => item.kind === 'commit');
    expect(kinds(items)).toEqual(['begin', 'relation', 'insert', 'insert', 'commit']);
    expect(items.filter((item) => item.kind === 'insert').map((item) => item.new)).toEqual([
      ['1', 'a'],
      ['2', null],
    ]);
    const commit = items.find((item) => item.kind === 'commit');
    const [keepalive] = await readUntil(stream, (item) => item.kind === 'keepalive');
    expect(keepalive).toMatchObject({ kind: 'keepalive' });
    expect((keepalive as { walEnd: Lsn }).walEnd).toBeGreaterThanOrEqual((commit as { endLsn: Lsn }).endLsn);
  });

  it('sends the second of two transactions that were committed back to back again after the first was confirmed (trap 1)', async () => {
    const place = await makePlace();
    // One session commits both in one round trip, so that no record of anybody else stands between them.
    await server.query(
      `begin; insert into item values (1); commit; begin; insert into item values (2); commit`,
      place.database,
    );
    let watermark: Lsn = ZERO_LSN;
    const first = await open(place, { watermark: () => watermark });
    const items = await readUntil(first, (item) => item.kind === 'insert' && item.new[0] === '2');
    const commit = items.find((item) => item.kind === 'commit') as { endLsn: Lsn };
    watermark = commit.endLsn;
    await first.close();
    expect(await confirmed(place)).toBe(formatLsn(commit.endLsn));
    const second = await open(place);
    const again = await readUntil(second, (item) => item.kind === 'commit');
    expect(again.filter((item) => item.kind === 'insert').map((item) => item.new[0])).toEqual(['2']);
  });

  it('confirms nothing by itself, however long it streams and is asked for replies (trap 2)', async () => {
    const place = await makePlace();
    const before = await confirmed(place);
    await server.query(`insert into item select i from generate_series(1, 50) i`, place.database);
    const stream = await open(place, { statusIntervalMs: 20 });
    await readUntil(stream, (item) => item.kind === 'commit');
    for (let count = 0; count < 10; count++) await readUntil(stream, (item) => item.kind === 'keepalive');
    await stream.close();
    expect(await confirmed(place)).toBe(before);
  });

  it('never confirms less than the slot has, which old minor releases would take as it is (14)', async () => {
    await using old = await EmbeddedPostgres.start({ major: 14 });
    const place = await makePlace(old);
    await old.query(`insert into item values (1)`, place.database);
    let watermark: Lsn = ZERO_LSN;
    const first = await open(place, { watermark: () => watermark });
    const items = await readUntil(first, (item) => item.kind === 'commit');
    watermark = (items.at(-1) as { endLsn: Lsn }).endLsn;
    await first.close();
    const after = await confirmed(place);
    expect(after).toBe(formatLsn(watermark));
    // A new worker that has settled less, or nothing yet.
    const second = await open(place, { statusIntervalMs: 10, watermark: () => 1n as Lsn });
    for (let count = 0; count < 5; count++) await readUntil(second, (item) => item.kind === 'keepalive');
    expect(formatLsn(second.confirmed)).toBe(after);
    await second.close();
    expect(await confirmed(place)).toBe(after);
  });

  it('answers the server that asks, before its own timer would (trap 3)', async () => {
    const place = await makePlace();
    // With the default timeout the timer is 20 s away; then the server wants an answer every 250 ms.
    const stream = await open(place, { statusIntervalMs: 60_000 });
    await server.query(`alter system set wal_sender_timeout = '500ms'`);
    await server.query(`select pg_reload_conf()`);
    onTestFinished(async () => {
      await server.query(`alter system reset wal_sender_timeout`);
      await server.query(`select pg_reload_conf()`);
    });
    const since = Date.now();
    let asked = 0;
    while (Date.now() - since < 2_000) asked += (await readUntil(stream, (item) => item.kind === 'keepalive')).length;
    expect(asked).toBeGreaterThan(3);
  });

  it('keeps rows whole while thousands of messages are queued (trap 6)', async () => {
    const place = await makePlace();
    await server.query(
      `insert into item select i, repeat(md5(i::text), 1 + i % 40) from generate_series(1, 20000) i`,
      place.database,
    );
    const stream = await open(place, { highItems: 100_000, highBytes: 1_000_000_000 });
    const items = await readUntil(stream, (item) => item.kind === 'commit');
    const rows = items.filter((item) => item.kind === 'insert').map((item) => item.new);
    const expected = await server.query(`select id::text, note from item order by item.id`, place.database);
    expect(rows).toEqual(expected.rows.map((row: { id: string; note: string }) => [row.id, row.note]));
  });

  it('pauses the socket while nobody reads, stays connected, and loses nothing when it goes on', async () => {
    const place = await makePlace();
    await server.query(`insert into item select i, repeat('x', 1000) from generate_series(1, 30000) i`, place.database);
    const end = await walEnd(place);
    const stream = await open(place, { highItems: 500, statusIntervalMs: 20, replyTimeoutMs: 300 });
    await until(() => stream.paused);
    const pausedAt = Date.now();
    await until(() => Date.now() - pausedAt > 1_000);
    expect(stream.paused).toBe(true);
    // The transaction is longer than what sockets hold, so the walsender is still in the middle of it.
    const { rows } = await server.query(
      `select sent_lsn < '${end}' as held from pg_stat_replication
       where pid = (select active_pid from pg_replication_slots where slot_name = '${place.slot}')`,
    );
    expect(rows).toEqual([{ held: true }]);
    const items = await readUntil(stream, (item) => item.kind === 'commit');
    const ids = items.filter((item) => item.kind === 'insert').map((item) => Number(item.new[0]));
    expect(ids).toEqual(Array.from({ length: 30_000 }, (_, index) => index + 1));
  });

  it('ends with database-unavailable when the other end is silently gone (trap 17)', async () => {
    const place = await makePlace();
    await using proxy = await startTcpProxy(server.port);
    const stream = await open(place, {
      connection: { url: proxiedUrl(place, proxy), name: 'test' },
      statusIntervalMs: 50,
      replyTimeoutMs: 500,
    });
    await readUntil(stream, (item) => item.kind === 'keepalive');
    proxy.freeze();
    await expect(readUntil(stream, () => false)).rejects.toMatchObject({ kind: 'database-unavailable' });
  });

  it('outlives silence that is longer than the reply timeout on a healthy idle server (trap 17)', async () => {
    const place = await makePlace();
    const stream = await open(place, { statusIntervalMs: 50, replyTimeoutMs: 400 });
    const since = Date.now();
    let heard = 0;
    while (Date.now() - since < 1_500) heard += (await readUntil(stream, (item) => item.kind === 'keepalive')).length;
    expect(heard).toBeGreaterThan(10);
  });

  it('ends with database-unavailable when its walsender is terminated', async () => {
    const place = await makePlace();
    const stream = await open(place);
    const failure = readUntil(stream, () => false).catch((error: unknown) => error);
    await server.query(
      `select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '${place.slot}'`,
    );
    expect(await failure).toMatchObject({ kind: 'database-unavailable', code: '57P01' });
  });

  it('lets the server shut down although nothing is confirmed, whether it can be heard or the socket is paused', async () => {
    await using legacy = await EmbeddedPostgres.start();
    for (const highItems of [8_192, 1]) {
      const place = await makePlace(legacy);
      await legacy.query(
        `insert into item select i, repeat('x', 1000) from generate_series(1, 15000) i`,
        place.database,
      );
      const stream = await open(place, { highItems });
      const items = highItems === 1 ? undefined : readUntil(stream, () => false).catch((error: unknown) => error);
      await until(() => stream.paused === (highItems === 1));
      await legacy.shutdown('fast');
      const failure = await (items ?? readUntil(stream, () => false).catch((error: unknown) => error));
      // Which of the two ends the session is a race: our own look at the server, or the server's last word.
      expect(failure).toMatchObject({ kind: 'database-unavailable' });
      expect((failure as Error).message).toMatch(/shutting down|terminating/);
      await legacy.restart();
      expect((await open(place)).confirmed).toBe(stream.confirmed);
    }
  });

  it('says slot-in-use where another session reads the slot (trap 15)', async () => {
    const place = await makePlace();
    await open(place);
    await expect(open(place)).rejects.toMatchObject({ kind: 'slot-in-use', code: '55006' });
  });

  it('says gap where the slot is missing', async () => {
    const place = await makePlace();
    await expect(open({ ...place, slot: 'nowhere' })).rejects.toMatchObject({ kind: 'gap' });
  });

  it('says gap where the publication is missing, whose rows PostgreSQL 18 would skip and let us confirm (trap 13)', async () => {
    const place = await makePlace();
    await expect(open(place, { publication: 'misspelt' })).rejects.toMatchObject({ kind: 'gap' });
  });

  it('frees the slot before close resolves, with the last status taken, even in the middle of a backlog', async () => {
    const place = await makePlace();
    await server.query(`insert into item values (1)`, place.database);
    await server.query(`insert into item select i, repeat('x', 500) from generate_series(2, 40000) i`, place.database);
    let watermark: Lsn = ZERO_LSN;
    const stream = await open(place, { watermark: () => watermark, highItems: 100 });
    const items = await readUntil(stream, (item) => item.kind === 'commit');
    watermark = (items.find((item) => item.kind === 'commit') as { endLsn: Lsn }).endLsn;
    await stream.close();
    const { rows } = await server.query(
      `select active, confirmed_flush_lsn::text as confirmed from pg_replication_slots where slot_name = '${place.slot}'`,
    );
    expect(rows).toEqual([{ active: false, confirmed: formatLsn(watermark) }]);
  });

  it('confirms on demand once the watermark moved, without waiting for the timer', async () => {
    const place = await makePlace();
    let watermark: Lsn = ZERO_LSN;
    const stream = await open(place, { watermark: () => watermark, statusIntervalMs: 60_000 });
    await server.query(`insert into item values (1)`, place.database);
    const items = await readUntil(stream, (item) => item.kind === 'commit');
    watermark = (items.at(-1) as { endLsn: Lsn }).endLsn;
    stream.acknowledge();
    await expect.poll(() => confirmed(place)).toBe(formatLsn(watermark));
  });

  it('stops the intake on abort and still confirms what settles afterwards', async () => {
    const place = await makePlace();
    await server.query(`insert into item values (1)`, place.database);
    const controller = new AbortController();
    let watermark: Lsn = ZERO_LSN;
    const stream = await open(place, { watermark: () => watermark, signal: controller.signal });
    const items = await readUntil(stream, (item) => item.kind === 'commit');
    const parked = readUntil(stream, () => false).catch((error: unknown) => error);
    controller.abort(new Error('stop'));
    expect(await parked).toMatchObject({ message: 'stop' });
    watermark = (items.at(-1) as { endLsn: Lsn }).endLsn;
    await stream.close();
    expect(await confirmed(place)).toBe(formatLsn(watermark));
  });

  it('gives up connecting when it is aborted', async () => {
    const place = await makePlace();
    await using proxy = await startTcpProxy(server.port);
    proxy.freeze();
    const signal = AbortSignal.timeout(200);
    const since = Date.now();
    await expect(open(place, { connection: { url: proxiedUrl(place, proxy), name: 'test' }, signal })).rejects.toThrow(
      /abort|timeout/i,
    );
    expect(Date.now() - since).toBeLessThan(3_000);
  });

  it('decodes messages in the server’s encoding and rows in its own (24a)', async () => {
    const place = await makePlace(server, `encoding 'LATIN1' template template0`);
    await server.query(
      `begin; select pg_logical_emit_message(true, 'café', 'Zoë'); insert into item values (1, 'Zoë'); commit`,
      place.database,
    );
    const stream = await open(place);
    const items = await readUntil(stream, (item) => item.kind === 'commit');
    expect(items.find((item) => item.kind === 'message')).toMatchObject({ prefix: 'café', content: 'Zoë' });
    expect(items.find((item) => item.kind === 'insert')).toMatchObject({ new: ['1', 'Zoë'] });
  });

  it('pins the settings that decide the text form of values (9)', async () => {
    const place = await makePlace();
    await server.query(
      `alter role postgres in database ${place.database} set datestyle = 'German, DMY';
       alter role postgres in database ${place.database} set timezone = 'Asia/Kolkata';
       alter role postgres in database ${place.database} set bytea_output = 'escape';
       alter role postgres in database ${place.database} set intervalstyle = 'iso_8601'`,
    );
    await server.query(
      `create table form (id int primary key, t timestamptz, b bytea, i interval);
       alter publication p add table form;
       insert into form values (1, '2026-03-01 12:00:00.5+00', '\\xff00', '1 day 02:00:00')`,
      place.database,
    );
    const stream = await open(place);
    const items = await readUntil(stream, (item) => item.kind === 'commit');
    expect(items.find((item) => item.kind === 'insert')).toMatchObject({
      new: ['1', '2026-03-01 12:00:00.5+00', String.raw`\xff00`, '1 day 02:00:00'],
    });
  });
});

interface Place {
  readonly server: EmbeddedPostgres;
  readonly database: string;
  readonly slot: string;
}

/** A database of its own with a table `item (id, note)`, a publication `p`, and a slot. */
async function makePlace(on: EmbeddedPostgres = server, options = ''): Promise<Place> {
  const database = `db${++databases}`;
  const slot = `slot${databases}`;
  await on.createDatabase(database, options);
  await on.query(`create table item (id int primary key, note text); create publication p for table item`, database);
  await on.query(`select pg_create_logical_replication_slot('${slot}', 'pgoutput')`, database);
  return { server: on, database, slot };
}

async function open(place: Place, options: Partial<ReplicationStreamOptions> = {}): Promise<ReplicationStream> {
  const stream = await openReplicationStream({
    connection: { url: place.server.url(place.database), name: 'test' },
    slot: place.slot,
    publication: 'p',
    watermark: () => ZERO_LSN,
    signal: new AbortController().signal,
    log,
    statusIntervalMs: 100,
    ...options,
  });
  onTestFinished(() => stream.close());
  return stream;
}

/** Reads on until an item matches; the chunk's rest is kept out of sight of nobody: tests that read on get the next chunk. */
async function readUntil(stream: ReplicationStream, enough: (item: StreamItem) => boolean): Promise<StreamItem[]> {
  const items: StreamItem[] = [];
  const iterator = stream[Symbol.asyncIterator]();
  for (;;) {
    const { done, value } = await iterator.next();
    if (done === true) throw new BanyanError('unknown', 'the stream ended');
    items.push(...value);
    if (value.some(enough)) return items.filter((item) => item.kind !== 'keepalive' || enough(item));
  }
}

function kinds(items: readonly StreamItem[]): string[] {
  return items.map((item) => item.kind);
}

async function walEnd(place: Place): Promise<string> {
  const { rows } = await place.server.query(`select pg_current_wal_lsn()::text as lsn`);
  return (rows[0] as { lsn: string }).lsn;
}

async function confirmed(place: Place): Promise<string> {
  const { rows } = await place.server.query(
    `select confirmed_flush_lsn::text as lsn from pg_replication_slots where slot_name = '${place.slot}'`,
  );
  return formatLsn(parseLsn((rows[0] as { lsn: string }).lsn));
}

function proxiedUrl(place: Place, proxy: TcpProxy): string {
  return place.server.url(place.database).replace(`:${place.server.port}/`, `:${proxy.port}/`);
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 10));
}
