import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseLsn } from '../../src/core/lsn.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { streamSession } from '../support/live-session.ts';
import { ownTransaction } from '../support/own-transaction.ts';
import { ScriptedPublisher } from '../support/scripted-publisher.ts';
import { makeBed, seen, type SeenEvent, type WorkerBed } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});

afterAll(async () => {
  await server?.stop();
});

const ROWS = 3_000;
const setup = `create table orders (id integer primary key, note text)`;

const setNote = (event: string, id: number, note: string) => ({
  event,
  table: 'orders',
  op: 'update' as const,
  key: { id: `${id}` },
  sql: `update orders set note = '${note}' where id = ${id}`,
});

function isRead({ detailType }: { readonly detailType: string }): boolean {
  return detailType === 'OrdersImported';
}

/** What of an event must be the same whenever its transaction is streamed. */
function shown({ metadata, data }: SeenEvent): string {
  const { id, origin, causedBy } = metadata as SeenEvent['metadata'] & { origin?: string; causedBy?: string };
  return `${id} ${origin} ${causedBy} ${JSON.stringify(data)}`;
}

describe('a session that ends before anything is confirmed', () => {
  test('shows the same in the next one: echoes stay unpublished, and what is published has its cause and its id', async () => {
    await using bed = await makeBed(server, {
      name: 'own_again',
      setup: `${setup}; insert into orders select n, '' from generate_series(1, 4) n;
        create function stamp() returns trigger language plpgsql as $$ begin
          update orders set note = 'touched' where id = 4; return null; end $$;
        create trigger stamp after update on orders for each row when (new.id = 3) execute function stamp()`,
    });
    const publisher = new ScriptedPublisher(() => ({ do: 'hold' }));
    const running = await bed.start({ capture: [{ table: 'public.orders' }] }, { publisher });
    await bed.sql(`insert into banyan.inbox (connector, producer, event_id, target)
      values ('own_again', 'orders.new', 'echo', 't'), ('own_again', 'orders.new', 'cause', 't')`);
    await ownTransaction(bed, 'own_again', async (own) => {
      await own.write(setNote('echo', 1, 'as meant'));
      await own.write({ ...setNote('fix', 2, 'cut'), asMeant: 'false' });
      await own.write(setNote('cause', 3, 'as meant'));
    });
    await publisher.until(() => publisher.inFlight.size === 2);
    const first = publisher.requests.flat().map(seen).map(shown).toSorted();
    const [walsender] = await bed.sql<{ pid: number }>(
      `select active_pid as pid from pg_replication_slots where slot_name = '${bed.slot}'`,
    );
    await bed.sql(`select pg_terminate_backend(${walsender?.pid})`);
    publisher.decide = () => ({ do: 'accept' });
    await publisher.until(() => publisher.accepted.length === 2);
    await bed.confirmed();
    expect(publisher.accepted.map(seen).map(shown).toSorted()).toEqual(first);
    expect(first.map((line) => line.split(' ').slice(1, 3).join(' ')).toSorted()).toEqual([
      'correction fix',
      'trigger cause',
    ]);
    expect(running.status().stream.reconnects).toBeGreaterThan(0);
    expect(await bed.sql(`select event_id from banyan.inbox where observed_at is null`)).toEqual([]);
  });
});

describe('a backfill', () => {
  test('reads a row again whose change was an echo, since no event told of it', async () => {
    await using bed = await makeBed(server, {
      name: 'own_backfill',
      setup: `${setup}; insert into orders select n, 'old' from generate_series(1, ${ROWS}) n`,
    });
    const publisher = new ScriptedPublisher((event) => (isRead(event) ? { do: 'hold' } : { do: 'accept' }));
    const running = await bed.start({ capture: [{ table: 'public.orders', backfill: true }] }, { publisher });
    await publisher.until(() => publisher.requests.flat().some(isRead));
    // Some of chunks that were read ahead, some behind them.
    const ids = Array.from({ length: 30 }, (_, n) => n * 100 + 99);
    await ownTransaction(bed, 'own_backfill', async (own) => {
      for (const id of ids) await own.write(setNote(`e${id}`, id, 'echoed'));
    });
    await running.until('the echoes passed', () => running.table('public.orders').origins.echo === ids.length);
    publisher.decide = () => ({ do: 'accept' });
    publisher.release();
    await eventually(
      async () => (await (await bed.state()).backfills.latest('public.orders'))[0]?.status === 'completed',
      () => 'the backfill never ended',
      { timeoutMs: 20_000 },
    );
    const notes = new Map<unknown, unknown>();
    for (const { metadata, data } of publisher.accepted.map(seen)) {
      if (metadata.operation === 'read') notes.set(data['id'], data['note']);
      expect(metadata.operation).not.toBe('update');
    }
    // None is missing. What was handed on before its echo is as it was then, all behind it as it is now.
    expect(notes.size).toBe(ROWS);
    const handedOn = ids.findIndex((id) => notes.get(id) === 'echoed');
    expect(handedOn).toBeLessThan(10);
    expect(ids.slice(handedOn).map((id) => notes.get(id))).toEqual(ids.slice(handedOn).map(() => 'echoed'));
  });
});

function config(bed: WorkerBed, name: string): object {
  return {
    name,
    legacy: { url: bed.url, heartbeat: '100ms' },
    bus: { type: 'local', name: 'none', endpoint: 'http://127.0.0.1:9' },
    capture: [{ table: 'public.orders' }],
    reverse: {
      queue: 'http://127.0.0.1:9/000000000000/none',
      endpoint: 'http://127.0.0.1:9',
      apply: [
        {
          match: { 'detail-type': ['OrderNoted'] },
          table: 'public.orders',
          operation: 'update',
          key: { id: 'detail.id' },
          set: { note: 'detail.note' },
          version: 'detail.version',
          basedOn: 'detail.basedOn',
        },
      ],
    },
  };
}

async function changesKnown(bed: WorkerBed): Promise<Map<string, string>> {
  const rows = await bed.sql<{ key: string; sequence: string }>(
    `select key[1] as key, sequence from banyan.legacy_change where table_name = 'public.orders'`,
  );
  return new Map(rows.map(({ key, sequence }) => [key, sequence]));
}

describe('what others changed last', () => {
  test('is known when the stream has caught up, and is nothing that our own writes did', async () => {
    await using bed = await makeBed(server, { name: 'own_caught_up', setup });
    const publisher = new ScriptedPublisher();
    await using live = await streamSession(config(bed, 'own_caught_up'), publisher);
    const { ownWrites } = live.session;
    const signal = AbortSignal.timeout(20_000);
    for (let id = 1; id <= 20; id += 1) {
      await bed.sql(`insert into orders values (${id}, '')`);
      // Several that ask at once share a mark, and none is answered too early.
      await Promise.all([ownWrites.caughtUp(signal), ownWrites.caughtUp(signal)]);
      expect([...(await changesKnown(bed)).keys()]).toContain(`${id}`);
    }
    const before = await changesKnown(bed);
    await ownTransaction(bed, 'own_caught_up', async (own) => {
      await own.write(setNote('echo', 1, 'as meant'));
      await own.write({ ...setNote('fix', 2, 'cut'), asMeant: 'false' });
    });
    await bed.sql('update orders set id = 99 where id = 3');
    await bed.sql('delete from orders where id = 4');
    await ownWrites.caughtUp(signal);
    const after = await changesKnown(bed);
    expect(after.get('1')).toBe(before.get('1'));
    for (const key of ['2', '3', '4'])
      expect([key, (after.get(key) ?? '') > (before.get(key) ?? '')]).toEqual([key, true]);
    expect(after.get('99')).toBe(after.get('3'));
    // The event of the change says the same sequence, so that an event of the new system can be based on it.
    await publisher.until(() => publisher.accepted.map(seen).some(({ metadata }) => metadata.operation === 'delete'));
    const deleted = publisher.accepted.map(seen).find(({ metadata }) => metadata.operation === 'delete');
    expect(after.get('4')).toBe(deleted?.metadata.sequence);
    await expect(ownWrites.caughtUp(AbortSignal.abort())).rejects.toThrow('aborted');
  });

  test('is never behind the position that the slot has confirmed', async () => {
    await using bed = await makeBed(server, { name: 'own_watermark', setup });
    const streaming = await streamSession(config(bed, 'own_watermark'), new ScriptedPublisher());
    const ends: bigint[] = [];
    const writer = new pg.Client({ connectionString: bed.url });
    await writer.connect();
    const looks: { confirmed: number; known: number }[] = [];
    const deadline = performance.now() + 4_000;
    while (performance.now() < deadline) {
      await writer.query(`insert into orders values (${ends.length}, '')`);
      const { rows } = await writer.query<{ lsn: string }>('select pg_current_wal_insert_lsn()::text as lsn');
      ends.push(parseLsn(rows[0]?.lsn ?? ''));
      // The position first: what it covers is there already.
      const [slot] = await bed.sql<{ lsn: string }>(
        `select confirmed_flush_lsn::text as lsn from pg_replication_slots where slot_name = '${bed.slot}'`,
      );
      const known = await changesKnown(bed);
      const position = parseLsn(slot?.lsn ?? '');
      const covered = ends.flatMap((end, id) => (end <= position ? [`${id}`] : []));
      expect(covered.filter((id) => !known.has(id))).toEqual([]);
      looks.push({ confirmed: covered.length, known: known.size });
    }
    await writer.end();
    // It moved on the way, or nothing was seen at all.
    expect(new Set(looks.map(({ confirmed }) => confirmed)).size).toBeGreaterThan(2);
    // A stop writes down and confirms what was received.
    await eventually(
      () => streaming.session.progress.changes === ends.length,
      () => `${streaming.session.progress.changes} of ${ends.length} changes came`,
      { everyMs: 2 },
    );
    await streaming.stop();
    expect((await changesKnown(bed)).size).toBe(ends.length);
    const [slot] = await bed.sql<{ lsn: string }>(
      `select confirmed_flush_lsn::text as lsn from pg_replication_slots where slot_name = '${bed.slot}'`,
    );
    expect(parseLsn(slot?.lsn ?? '')).toBeGreaterThanOrEqual(ends.at(-1) ?? 0n);
    await streaming[Symbol.asyncDispose]();
  });
});

describe('the self-test of reverse sync', () => {
  test('passes where the stream shows what is written, and finds where it does not', async () => {
    await using bed = await makeBed(server, { name: 'own_self_test', setup });
    const elsewhere = await server.createDatabase('own_self_test_elsewhere');
    await using live = await streamSession(config(bed, 'own_self_test'), new ScriptedPublisher());
    const { ownWrites, findings, pool } = live.session;
    const signal = AbortSignal.timeout(20_000);
    expect(await ownWrites.selfTest(pool, signal)).toBeUndefined();
    expect(findings).toEqual([]);
    const other = new pg.Pool({ connectionString: elsewhere, max: 1 });
    try {
      const finding = await ownWrites.selfTest(other, signal);
      expect(finding).toMatchObject({ code: 'LOOP_PROTECTION_OFF', severity: 'error' });
      expect(findings).toEqual([finding]);
    } finally {
      await other.end();
    }
    expect(await ownWrites.selfTest(pool, signal)).toBeUndefined();
    expect(findings).toEqual([]);
    expect(ownWrites.status.forged).toBe(0);
    await expect(ownWrites.selfTest(pool, AbortSignal.abort())).rejects.toThrow('aborted');
  });

  test('waits for a stream that is behind instead of failing', async () => {
    await using bed = await makeBed(server, { name: 'own_self_test_late', setup });
    const publisher = new ScriptedPublisher(() => ({ do: 'hold' }));
    await using live = await streamSession(config(bed, 'own_self_test_late'), publisher);
    // More than may be on its way: the stream stands until the bus answers.
    await bed.sql(`insert into orders select n, '' from generate_series(1, 3000) n`);
    await publisher.until(() => publisher.inFlight.size > 0);
    let isOver = false;
    const testing = live.session.ownWrites
      .selfTest(live.session.pool, AbortSignal.timeout(20_000))
      .finally(() => (isOver = true));
    const [now] = await bed.sql<{ lsn: string }>('select pg_current_wal_insert_lsn()::text as lsn');
    expect(live.session.progress.receivedLsn ?? 0n).toBeLessThan(parseLsn(now?.lsn ?? ''));
    expect(isOver).toBe(false);
    publisher.decide = () => ({ do: 'accept' });
    publisher.release();
    expect(await testing).toBeUndefined();
  });
});
