import pg from 'pg';
import pino from 'pino';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { type Lsn, parseLsn, ZERO_LSN } from '../../src/core/lsn.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { withClient } from '../../src/postgres/connection.ts';
import { compareTables, gapError } from '../../src/postgres/gap.ts';
import { openReplicationStream } from '../../src/postgres/replication-stream.ts';
import type { StreamItem } from '../../src/postgres/stream-options.ts';
import { identifyServer } from '../../src/postgres/server.ts';
import { type Blocker, createSlot, dropSlot, observeSlot, type ObservedSlot } from '../../src/postgres/slot.ts';
import { classifySlot, type RecordedSlot, type SlotSituation } from '../../src/postgres/slot-verdict.ts';
import { parseTimelineHistory } from '../../src/postgres/timeline.ts';

const signal = new AbortController().signal;
let server: EmbeddedPostgres;
let old: EmbeddedPostgres;

beforeAll(async () => {
  [server, old] = await Promise.all([EmbeddedPostgres.start(), EmbeddedPostgres.start({ major: 15 })]);
});
afterAll(() => Promise.all([server.stop(), old.stop()]));

describe('createSlot', () => {
  it('makes a pgoutput slot that reads from the position it returns', async () => {
    for (const on of [server, old]) {
      const lsn = await createSlot(settings(on), { slotName: 'made', lockTimeoutMs: 1_000, signal });
      const slot = await observe(on, 'made');
      expect(slot).toMatchObject({
        plugin: 'pgoutput',
        database: 'postgres',
        holder: undefined,
        walStatus: 'reserved',
      });
      expect(slot?.confirmedLsn).toBe(lsn);
      expect(slot?.invalidation).toBeUndefined();
      expect(await drop(on, 'made')).toBe(true);
      expect(await drop(on, 'made')).toBe(false);
    }
  });

  it('asks standbys to keep a copy where the server can (16)', async () => {
    await createSlot(settings(server), { slotName: 'failover', lockTimeoutMs: 1_000, signal });
    expect((await observe(server, 'failover'))?.failover).toBe(true);
    await drop(server, 'failover');
  });

  it('gives up after lock_timeout, names the blocking session but not its query, and leaves no orphan (trap 14)', async () => {
    for (const on of [server, old]) {
      const blocker = await client(on, 'a batch job');
      await blocker.query(`begin; create table held_${on.port} as select 'secret value' as v`);
      const seen: Blocker[] = [];
      const failure = await createSlot(settings(on), {
        slotName: 'blocked',
        lockTimeoutMs: 700,
        signal,
        onWaiting: (blockers) => seen.push(...blockers),
      }).catch((error: unknown) => error);
      const { rows } = await blocker.query(`select pg_backend_pid() as pid`);
      const pid = (rows[0] as { pid: number }).pid;
      expect(failure).toMatchObject({ kind: 'database-unavailable', code: '55P03' });
      expect(String(failure)).toContain(`pid ${pid} (role postgres, application a batch job, idle in transaction`);
      expect(String(failure)).not.toContain('secret');
      expect(seen).toMatchObject([{ pid, applicationName: 'a batch job' }]);
      expect(await observe(on, 'blocked')).toBeUndefined();
      await blocker.query('rollback');
    }
  });

  it('leaves the slot of another worker alone that made it first', async () => {
    await createSlot(settings(server), { slotName: 'twice', lockTimeoutMs: 1_000, signal });
    await expect(
      createSlot(settings(server), { slotName: 'twice', lockTimeoutMs: 1_000, signal }),
    ).rejects.toMatchObject({
      kind: 'slot-in-use',
    });
    expect(await observe(server, 'twice')).toBeDefined();
    await drop(server, 'twice');
  });

  it('stops waiting when it is aborted', async () => {
    const blocker = await client(server, 'job');
    await blocker.query('begin; create table waiting (i int)');
    const controller = new AbortController();
    const creation = createSlot(settings(server), {
      slotName: 'aborted',
      lockTimeoutMs: 30_000,
      signal: controller.signal,
      onWaiting: () => controller.abort(new Error('stop')),
    });
    await expect(creation).rejects.toThrow('stop');
    await blocker.query('rollback');
  });
});

describe('observeSlot', () => {
  it('measures what the slot holds and how far it is behind, and says when its WAL is gone (16)', async () => {
    await using small = await EmbeddedPostgres.start({
      settings: { max_slot_wal_keep_size: '1MB', max_wal_size: '32MB', min_wal_size: '32MB' },
    });
    await createSlot(settings(small), { slotName: 's', lockTimeoutMs: 1_000, signal });
    await small.query(`create table filler as select repeat('x', 1000) from generate_series(1, 20000)`);
    const held = await observe(small, 's');
    expect(held?.heldBytes).toBeGreaterThan(20_000_000);
    expect(held?.lagBytes).toBeGreaterThan(20_000_000);
    await small.query(`insert into filler select * from filler; select pg_switch_wal()`);
    await small.query('checkpoint');
    const lost = await observe(small, 's');
    expect(lost).toMatchObject({ walStatus: 'lost', invalidation: 'wal_removed' });
    expect(classifySlot(situation({ observed: lost, recorded }))).toMatchObject({
      status: 'gap',
      gap: { kind: 'slot-lost' },
    });
  });
});

const recorded: RecordedSlot = {
  slotName: 's',
  systemId: '7',
  timeline: 1,
  epoch: 1,
  createdLsn: parseLsn('0/100'),
  confirmedLsn: parseLsn('0/500'),
  updatedAt: '2026-03-01T12:00:00Z',
};
const present: ObservedSlot = {
  plugin: 'pgoutput',
  database: 'postgres',
  holder: undefined,
  restartLsn: parseLsn('0/400'),
  confirmedLsn: parseLsn('0/600'),
  walStatus: 'reserved',
  safeWalBytes: undefined,
  invalidation: undefined,
  failover: undefined,
  heldBytes: 0,
  lagBytes: 0,
};

describe('classifySlot', () => {
  it('starts fresh only where neither slot nor record is', () => {
    expect(classifySlot(situation({}))).toEqual({ status: 'fresh' });
    expect(verdictOf({ recorded })).toBe('slot-missing');
  });

  it('goes on from the slot’s own position, be it ahead of the record', () => {
    expect(classifySlot(situation({ observed: present, recorded }))).toEqual({
      status: 'resume',
      confirmedLsn: parseLsn('0/600'),
      promoted: false,
    });
  });

  it('takes a slot that no record knows', () => {
    expect(classifySlot(situation({ observed: present }))).toMatchObject({ status: 'adopt' });
  });

  it('stands by while another session reads, before it judges the position', () => {
    const holder = { pid: 1, applicationName: 'banyan shop', role: 'r' };
    const observed = { ...present, holder, confirmedLsn: parseLsn('0/1') };
    expect(classifySlot(situation({ observed, recorded }))).toEqual({ status: 'in-use', holder });
  });

  it('refuses a slot of another plugin, of another database, and a physical one', () => {
    for (const strange of [{ plugin: 'wal2json' }, { database: 'other' }, { plugin: undefined, database: undefined }]) {
      expect(classifySlot(situation({ observed: { ...present, ...strange }, recorded })).status).toBe('foreign');
    }
  });

  it('reports a gap on another system, a lost slot, and one from before ours was made', () => {
    expect(verdictOf({ observed: present, recorded: { ...recorded, systemId: '8' } })).toBe('system-changed');
    expect(verdictOf({ recorded: { ...recorded, systemId: '8' } })).toBe('system-changed');
    expect(verdictOf({ observed: { ...present, walStatus: 'lost' }, recorded })).toBe('slot-lost');
    expect(verdictOf({ observed: { ...present, invalidation: 'idle_timeout' }, recorded })).toBe('slot-lost');
    expect(verdictOf({ observed: { ...present, confirmedLsn: parseLsn('0/FF') }, recorded })).toBe('slot-behind');
  });

  it('goes on after a promotion, and reports a gap where the new timeline lacks what was read or the slot was made anew', () => {
    expect(classifySlot(situation({ observed: present, recorded, ...after('0/600') }))).toMatchObject({
      status: 'resume',
      promoted: true,
    });
    expect(verdictOf({ observed: present, recorded, ...after('0/4FF') })).toBe('timeline-diverged');
    expect(verdictOf({ observed: present, recorded, ...after('0/5FF') })).toBe('slot-recreated');
    expect(verdictOf({ observed: present, recorded: { ...recorded, timeline: 3 }, ...after('0/600') })).toBe(
      'timeline-diverged',
    );
  });

  it('reports a gap where a slot of another name begins behind what was read of the one before', () => {
    const other = { ...recorded, slotName: 'before' };
    expect(verdictOf({ observed: present, recorded: other })).toBe('slot-changed');
    expect(verdictOf({ observed: { ...present, confirmedLsn: parseLsn('0/500') }, recorded: other })).toBe('resume');
    expect(verdictOf({ recorded: other })).toBe('slot-missing');
  });

  it('reports since when what may be missing', () => {
    const verdict = classifySlot(situation({ recorded }));
    const gap = verdict.status === 'gap' ? verdict.gap : undefined;
    expect(gap?.message).toBe(
      'slot s: the replication slot is gone; changes committed after 0/500 (2026-03-01T12:00:00Z) may be missing',
    );
    expect(gap?.report).toMatchObject({ missingAfter: '0/500', lastSeen: '2026-03-01T12:00:00Z', recordedTimeline: 1 });
  });
});

describe('a crash of the server', () => {
  it('takes the slot back behind what is recorded, which is no gap', async () => {
    await using crashing = await EmbeddedPostgres.start();
    const created = await createSlot(settings(crashing), { slotName: 's', lockTimeoutMs: 1_000, signal });
    await crashing.query(`create table t (i int); insert into t select generate_series(1, 1000)`);
    await crashing.query(`select pg_replication_slot_advance('s', pg_current_wal_lsn())`);
    await crashing.query('checkpoint');
    await crashing.query(`create publication p for table t`);
    await crashing.query(`insert into t select generate_series(1, 1000)`);
    const stream = await openReplicationStream({
      connection: settings(crashing),
      slot: 's',
      publication: 'p',
      watermark: () => watermark,
      signal,
      log: pino({ level: 'silent' }),
    });
    let watermark = ZERO_LSN;
    // The first status after a move of restart_lsn is written to disk at once; those that follow are not.
    for (let count = 0; count < 3; count++) {
      for (let moved = false; !moved;) {
        const { value } = (await stream[Symbol.asyncIterator]().next()) as { value: readonly StreamItem[] };
        const commit = value.find((item) => item.kind === 'commit');
        if (commit === undefined) continue;
        watermark = commit.endLsn;
        moved = true;
      }
      stream.acknowledge();
      await expect.poll(async () => (await observe(crashing, 's'))?.confirmedLsn).toBe(watermark);
      await crashing.query(`insert into t values (1)`);
    }
    await stream.close();
    expect((await observe(crashing, 's'))?.confirmedLsn).toBe(watermark);
    await crashing.shutdown('immediate');
    await crashing.restart();
    const server = await identifyServer(settings(crashing));
    const observed = await observe(crashing, 's');
    expect(observed?.confirmedLsn).toBeLessThan(watermark);
    const record = { ...recorded, systemId: server.systemId, createdLsn: created, confirmedLsn: watermark };
    expect(classifySlot({ ...server, slotName: 's', observed, recorded: record })).toMatchObject({ status: 'resume' });
  });
});

describe('compareTables', () => {
  it('is content while name, OID and membership agree, and with tables that were never captured', async () => {
    const place = await capturedTable('agree');
    expect(compareTables([place.recorded], await presentOf('agree'))).toEqual([]);
    expect(compareTables([], await presentOf('agree'))).toEqual([]);
  });

  it('finds a rename swap, where the publication has stayed with the old table (trap 13)', async () => {
    const place = await capturedTable('swap');
    await server.query(
      `create table fresh (id int primary key); alter table item rename to item_old; alter table fresh rename to item`,
      'swap',
    );
    expect(compareTables([place.recorded], await presentOf('swap'))).toMatchObject([
      { kind: 'table-replaced', subject: 'public.item', message: expect.stringContaining('now public.item_old') },
    ]);
  });

  it('finds a table that somebody took out of the publication, and one that is gone (trap 13)', async () => {
    const place = await capturedTable('taken');
    await server.query(`alter publication p drop table item`, 'taken');
    const [gap] = compareTables([place.recorded], await presentOf('taken'));
    expect(gap).toMatchObject({ kind: 'table-unpublished', report: { publishedSince: '0/1' } });
    expect(gap && gapError(gap)).toMatchObject({ kind: 'gap', context: { subject: 'public.item' } });
    await server.query(`drop table item`, 'taken');
    expect(compareTables([place.recorded], await presentOf('taken'))).toMatchObject([{ kind: 'table-missing' }]);
  });
});

async function capturedTable(database: string) {
  await server.createDatabase(database);
  await server.query(`create table item (id int primary key); create publication p for table item`, database);
  const { rows } = await server.query(`select 'item'::regclass::oid::int8::text as oid`, database);
  return {
    recorded: {
      table: 'public.item',
      oid: Number((rows[0] as { oid: string }).oid),
      publishedSinceLsn: 1n as Lsn,
    },
  };
}

async function presentOf(database: string) {
  const catalog = await server.query(
    `select oid::int8::int as oid, relname as name, 'public' as schema from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'`,
    database,
  );
  const published = await server.query(
    `select prrelid::int8::int as oid, 'public.' || relname as name from pg_publication_rel join pg_class c on c.oid = prrelid`,
    database,
  );
  return {
    catalog: catalog.rows as { oid: number; schema: string; name: string }[],
    published: new Map((published.rows as { oid: number; name: string }[]).map((row) => [row.oid, row.name])),
  };
}

function situation(part: Partial<SlotSituation>): SlotSituation {
  return {
    slotName: 's',
    database: 'postgres',
    systemId: '7',
    timelines: parseTimelineHistory('', 1),
    observed: undefined,
    recorded: undefined,
    ...part,
  };
}

/** A server on timeline 2, which left timeline 1 at `end`. */
function after(end: string) {
  return { timelines: parseTimelineHistory(`1\t${end}\tno recovery target specified\n`, 2) };
}

function verdictOf(part: Partial<SlotSituation>): string {
  const verdict = classifySlot(situation(part));
  return verdict.status === 'gap' ? verdict.gap.kind : verdict.status;
}

function settings(on: EmbeddedPostgres) {
  return { url: on.url(), name: 'test' };
}

async function client(on: EmbeddedPostgres, application_name: string): Promise<pg.Client> {
  const made = new pg.Client({ connectionString: on.url(), application_name });
  await made.connect();
  onTestFinished(() => made.end());
  return made;
}

async function observe(on: EmbeddedPostgres, slotName: string) {
  return withClient(settings(on), (client) => observeSlot(client, slotName));
}

async function drop(on: EmbeddedPostgres, slotName: string) {
  return withClient(settings(on), (client) => dropSlot(client, slotName));
}
