import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { EmbeddedPostgres, type PostgresMajor } from '../../src/demo/embedded-postgres.ts';
import type { BackfillRun, NewPart } from '../../src/state/backfills.ts';
import { lettersLost, removeState } from '../../src/state/remove.ts';
import { openState, type State } from '../../src/state/state.ts';
import { isMissing } from '../support/majors.ts';

const majors: readonly PostgresMajor[] = [14, 18];

for (const major of majors) {
  const missing = isMissing(major);
  describe.skipIf(missing)(`on PostgreSQL ${major}`, () => {
    let server: EmbeddedPostgres;
    let pool: pg.Pool;
    let state: State;
    let other: State;
    const pools: pg.Pool[] = [];

    beforeAll(async () => {
      server = await EmbeddedPostgres.start({ major });
    });
    afterAll(async () => {
      await Promise.all(pools.map((each) => each.end()));
      await server?.stop();
    });
    beforeEach(async () => {
      const name = `state_${pools.length}`;
      await server.createDatabase(name);
      pool = new pg.Pool({ connectionString: server.url(name), max: 4 });
      pools.push(pool);
      state = await openState({ pool, connector: 'shop', schema: 'banyan' });
      other = await openState({ pool, connector: 'crm', schema: 'banyan' });
    });

    const parts = [
      { number: 0, oid: 4_294_967_295, relation: 'public.orders_2025', attached: '745/744', filenode: undefined },
      { number: 1, oid: 16_400, relation: 'public."Orders 2026"', attached: undefined, filenode: 4_294_967_294 },
    ];

    const key = ['id integer', 'note text collate pg_catalog."C"'];

    async function created(table = 'public.orders', where?: string): Promise<BackfillRun> {
      const run = await state.backfills.create({ table, where, requestedBy: 'ann' });
      if (run === undefined) throw new Error(`a run of ${table} is open already`);
      return run;
    }

    async function started(table?: string): Promise<BackfillRun> {
      const run = await created(table);
      await state.backfills.start(run.id, { parts, key, rowsEstimated: 5_000_000_000 });
      return run;
    }

    test('a run is asked for, planned, advanced and completed', async () => {
      const { backfills } = state;
      const run = await created('public.orders', `note = 'it''s' -- x`);
      const iso = expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/);
      expect(run).toEqual({
        id: expect.any(Number),
        table: 'public.orders',
        status: 'waiting',
        where: `note = 'it''s' -- x`,
        partition: undefined,
        key: undefined,
        requestedBy: 'ann',
        rowsSent: 0,
        rowsEstimated: undefined,
        requestedAt: iso,
        startedAt: undefined,
        finishedAt: undefined,
        reason: undefined,
      });
      expect(await backfills.get(run.id)).toEqual(run);
      await backfills.setReason(run.id, 'waits for pid 7');
      await backfills.start(run.id, { parts, key, rowsEstimated: 5_000_000_000 });
      expect(await backfills.get(run.id)).toMatchObject({
        status: 'running',
        key,
        startedAt: iso,
        rowsEstimated: 5_000_000_000,
        reason: undefined,
      });
      expect(await backfills.parts(run.id)).toEqual(parts.map((part) => ({ ...part, cursor: undefined, done: false })));
      const cursor = ['7', `{"a": "b"}`, `"'\\ \n日本 NULL,{}`, ''];
      await backfills.advance(run.id, { part: 0, cursor, done: false, rows: 3_000_000_000 });
      await backfills.advance(run.id, { part: 1, cursor: ['(12,3)'], done: true, rows: 2 });
      expect(await backfills.parts(run.id)).toEqual([
        { ...parts[0], cursor, done: false },
        { ...parts[1], cursor: ['(12,3)'], done: true },
      ]);
      expect(await backfills.get(run.id)).toMatchObject({ rowsSent: 3_000_000_002, finishedAt: undefined });
      expect(await backfills.move(run.id, 'completed', ['running'])).toBe(true);
      expect(await backfills.get(run.id)).toMatchObject({ status: 'completed', finishedAt: iso });
      expect(await backfills.open()).toEqual([]);
    });

    test('a table has one open run, and another one only behind its end', async () => {
      const { backfills } = state;
      const first = await started();
      for (const status of ['running', 'paused', 'waiting'] as const) {
        await backfills.move(first.id, status, ['running', 'paused', 'waiting']);
        expect(await backfills.create({ table: 'public.orders', requestedBy: 'bob' })).toBeUndefined();
      }
      expect(await backfills.create({ table: 'public.items', requestedBy: 'bob' })).toMatchObject({
        status: 'waiting',
      });
      for (const end of ['replaced', 'failed', 'completed'] as const) {
        const [last] = await backfills.latest('public.orders');
        expect(await backfills.move(last?.id ?? 0, end, ['waiting'])).toBe(true);
        expect((await created()).id).toBeGreaterThan(last?.id ?? 0);
      }
    });

    test('of askers at the same time one gets the run', async () => {
      const asked = await Promise.all(
        Array.from({ length: 8 }, () => state.backfills.create({ table: 'public.orders', requestedBy: 'all' })),
      );
      expect(asked.filter((run) => run !== undefined)).toHaveLength(1);
    });

    test('a state is only left from where it may be left', async () => {
      const { backfills } = state;
      const run = await started();
      expect(await backfills.move(run.id, 'completed', ['waiting', 'paused'])).toBe(false);
      expect(await backfills.move(run.id, 'paused', ['waiting', 'running'], 'ann said so')).toBe(true);
      expect(await backfills.get(run.id)).toMatchObject({ status: 'paused', reason: 'ann said so' });
      await backfills.setReason(run.id, 'the bus is slow');
      expect(await backfills.get(run.id)).toMatchObject({ reason: 'ann said so' });
      expect(await backfills.move(run.id, 'failed', ['paused'], 'its table is gone')).toBe(true);
      expect(await backfills.get(run.id)).toMatchObject({
        finishedAt: expect.any(String),
        reason: 'its table is gone',
      });
      expect(await backfills.move(run.id, 'running', ['failed'])).toBe(true);
      expect(await backfills.get(run.id)).toMatchObject({ finishedAt: undefined, reason: undefined });
      expect(await backfills.move(run.id + 1_000, 'running', ['failed'])).toBe(false);
    });

    test('what was on its way when a run was paused still counts, and behind its end nothing does', async () => {
      const { backfills } = state;
      const run = await started();
      await backfills.move(run.id, 'paused', ['running']);
      await backfills.advance(run.id, { part: 0, cursor: ['5'], done: false, rows: 5 });
      expect(await backfills.get(run.id)).toMatchObject({ status: 'paused', rowsSent: 5 });
      await backfills.move(run.id, 'replaced', ['paused']);
      await backfills.advance(run.id, { part: 0, cursor: ['9'], done: true, rows: 4 });
      expect(await backfills.get(run.id)).toMatchObject({ rowsSent: 5 });
      expect((await backfills.parts(run.id))[0]).toMatchObject({ cursor: ['5'], done: false });
    });

    test('a start that comes twice, or behind a pause, plans nothing again', async () => {
      const { backfills } = state;
      const run = await started();
      await backfills.advance(run.id, { part: 0, cursor: ['5'], done: false, rows: 5 });
      const before = [await backfills.get(run.id), await backfills.parts(run.id)];
      await backfills.start(run.id, { parts: parts.slice(0, 1), key, rowsEstimated: 1 });
      expect([await backfills.get(run.id), await backfills.parts(run.id)]).toEqual(before);
      const waiting = await created('public.items');
      await backfills.move(waiting.id, 'paused', ['waiting']);
      await backfills.start(waiting.id, { parts, key, rowsEstimated: 1 });
      expect(await backfills.get(waiting.id)).toMatchObject({ status: 'paused', startedAt: undefined });
      expect(await backfills.parts(waiting.id)).toEqual([]);
    });

    test('a part whose file is another one begins anew', async () => {
      const { backfills } = state;
      const run = await started();
      await backfills.advance(run.id, { part: 1, cursor: ['(3,1)'], done: false, rows: 5 });
      await other.backfills.restartPart(run.id, { part: 1, filenode: 1 });
      expect((await backfills.parts(run.id))[1]).toMatchObject({ cursor: ['(3,1)'], filenode: 4_294_967_294 });
      await backfills.restartPart(run.id, { part: 1, filenode: 4_294_967_293 });
      expect(await backfills.parts(run.id)).toEqual([
        { ...parts[0], cursor: undefined, done: false },
        { ...parts[1], cursor: undefined, done: false, filenode: 4_294_967_293 },
      ]);
    });

    test('parts that begin anew belong to the key that is named then', async () => {
      const { backfills } = state;
      const run = await started();
      for (const part of [0, 1]) await backfills.advance(run.id, { part, cursor: ['5', 'a'], done: true, rows: 5 });
      await other.backfills.restartParts(run.id, ['other text']);
      expect(await backfills.get(run.id)).toMatchObject({ key });
      await backfills.restartParts(run.id, ['note text']);
      expect(await backfills.get(run.id)).toMatchObject({ key: ['note text'], rowsSent: 10 });
      expect(await backfills.parts(run.id)).toEqual(parts.map((part) => ({ ...part, cursor: undefined, done: false })));
    });

    test('a table is covered by the leaves of its runs over all rows, once one of the whole table has completed', async () => {
      const { backfills } = state;
      const whole = await started();
      expect(await backfills.coverage('public.orders')).toBeUndefined();
      await backfills.move(whole.id, 'completed', ['running']);
      const leaves = [
        { oid: 4_294_967_295, attached: '745/744' },
        { oid: 16_400, attached: undefined },
      ];
      expect(await backfills.coverage('public.orders')).toEqual({ run: whole.id, leaves, failed: [] });
      await backfills.cover(whole.id, [{ oid: 16_401, relation: 'public.empty', attached: '800' }]);
      expect((await backfills.parts(whole.id))[2]).toMatchObject({ number: 2, relation: 'public.empty', done: true });
      const some = await created('public.orders', 'id > 5');
      const start = { key, rowsEstimated: undefined };
      await backfills.start(some.id, { parts: [{ ...(parts[1] as NewPart), oid: 16_402 }], ...start });
      await backfills.move(some.id, 'completed', ['running']);
      const own = await backfills.create({ table: 'public.orders', partition: 'public.broken', requestedBy: 'ann' });
      expect(own).toMatchObject({ partition: 'public.broken', where: undefined });
      await backfills.move(own?.id ?? 0, 'failed', ['waiting']);
      expect(await backfills.coverage('public.orders')).toEqual({
        run: whole.id,
        leaves: [...leaves, { oid: 16_401, attached: '800' }],
        failed: ['public.broken'],
      });
      expect(await other.backfills.coverage('public.orders')).toBeUndefined();
    });

    test('the reason why a run waits is written only where it is another one', async () => {
      const { backfills } = state;
      const run = await started();
      const version = async () =>
        (await pool.query('select xmin::text, reason from banyan.backfill_run where id = $1', [run.id])).rows[0];
      const first = await version();
      await backfills.setReason(run.id, undefined);
      expect(await version()).toEqual(first);
      await backfills.setReason(run.id, 'the bus is slow');
      const second = await version();
      expect(second).toMatchObject({ reason: 'the bus is slow' });
      await backfills.setReason(run.id, 'the bus is slow');
      expect(await version()).toEqual(second);
      await backfills.setReason(run.id, undefined);
      expect(await version()).toMatchObject({ reason: null });
    });

    test('the last run of each table is listed, open ones oldest first', async () => {
      const { backfills } = state;
      const first = await created('public.b');
      await backfills.move(first.id, 'failed', ['waiting'], 'gone');
      const second = await created('public.b');
      const third = await created('public.a');
      expect((await backfills.latest()).map(({ id }) => id)).toEqual([third.id, second.id]);
      expect((await backfills.latest('public.b')).map(({ id }) => id)).toEqual([second.id]);
      expect(await backfills.latest('public.c')).toEqual([]);
      expect((await backfills.open()).map(({ id }) => id)).toEqual([second.id, third.id]);
    });

    test('a connector has no part in the runs of another', async () => {
      const run = await started();
      const store = other.backfills;
      expect(await store.get(run.id)).toBeUndefined();
      expect(await store.parts(run.id)).toEqual([]);
      expect([await store.open(), await store.latest()]).toEqual([[], []]);
      expect(await store.move(run.id, 'failed', ['running'])).toBe(false);
      await store.advance(run.id, { part: 0, cursor: ['9'], done: true, rows: 9 });
      await store.setReason(run.id, 'not mine');
      expect(await state.backfills.get(run.id)).toMatchObject({ status: 'running', rowsSent: 0, reason: undefined });
      expect(await store.create({ table: 'public.orders', requestedBy: 'bob' })).toMatchObject({ status: 'waiting' });
    });

    test('a connector that is forgotten leaves no runs, and others theirs', async () => {
      await started();
      const kept = await other.backfills.create({ table: 'public.orders', requestedBy: 'bob' });
      await other.backfills.start(kept?.id ?? 0, { parts, key, rowsEstimated: undefined });
      await removeState({ pool, connector: 'shop', schema: 'banyan' });
      expect(await state.backfills.latest()).toEqual([]);
      expect(await other.backfills.latest()).toHaveLength(1);
      expect((await pool.query('select distinct run::int from banyan.backfill_part')).rows).toEqual([
        { run: kept?.id },
      ]);
      expect(await removeState({ pool, connector: 'crm', schema: 'banyan' })).toMatchObject({ schema: 'dropped' });
    });

    test('a schema of somebody else is left alone, whatever its tables are called', async () => {
      await pool.query(
        `create schema theirs; create table theirs.migration (number int); create table theirs.request (connector text)`,
      );
      expect(await removeState({ pool, connector: 'shop', schema: 'theirs' })).toMatchObject({ schema: 'absent' });
      expect(await lettersLost({ pool, connector: 'shop', schema: 'theirs' })).toBe(0);
      await pool.query('select number from theirs.migration, theirs.request');
    });

    test('a schema that no worker of this version has opened can be removed', async () => {
      await pool.query(
        `drop table banyan.backfill_part, banyan.backfill_run; delete from banyan.migration where number > 1`,
      );
      expect(await removeState({ pool, connector: 'shop', schema: 'banyan' })).toMatchObject({ schema: 'dropped' });
    });
  });
}

test('texts of a run and of its keys are kept where the database is not UTF8', async () => {
  await using server = await EmbeddedPostgres.start();
  await server.createDatabase('latin', `encoding 'LATIN1' locale 'C' template template0`);
  const pool = new pg.Pool({ connectionString: server.url('latin') });
  try {
    const { backfills } = await openState({ pool, connector: 'shop', schema: 'banyan' });
    const run = await backfills.create({ table: 'public.größe', where: `note = 'ä'`, requestedBy: 'ann 日本' });
    expect(run).toMatchObject({ table: 'public.größe', where: `note = 'ä'`, requestedBy: 'ann ??' });
    const part = { number: 0, oid: 7, relation: 'public.größe', attached: undefined, filenode: undefined };
    await backfills.start(run?.id ?? 0, { parts: [part], key: ['größe text'], rowsEstimated: 1 });
    await backfills.advance(run?.id ?? 0, { part: 0, cursor: ['ß', 'ä"'], done: false, rows: 1 });
    expect(await backfills.parts(run?.id ?? 0)).toEqual([{ ...part, cursor: ['ß', 'ä"'], done: false }]);
  } finally {
    await pool.end();
  }
});
