import fc from 'fast-check';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Lsn, parseLsn } from '../../src/core/lsn.ts';
import { binariesOf, EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import type { NewDeadLetter } from '../../src/state/dead-letters.ts';
import { removeState } from '../../src/state/remove.ts';
import { openState, readState, type State } from '../../src/state/state.ts';

/** The oldest server there is here: its SQL is the narrowest. */
const major = binariesOf(14) === undefined ? 15 : 14;

let server: EmbeddedPostgres;
let pool: pg.Pool;
let database = 0;

beforeAll(async () => {
  server = await EmbeddedPostgres.start({ major });
});
afterAll(async () => {
  await server?.stop();
});

async function freshPool(options = '', user = 'postgres'): Promise<pg.Pool> {
  const name = `state_${++database}`;
  await server.createDatabase(name, options);
  const made = new pg.Pool({ connectionString: server.url(name, user), max: 4 });
  pools.push(made);
  return made;
}

const pools: pg.Pool[] = [];
afterAll(async () => {
  await Promise.all(pools.map((each) => each.end()));
});

/** Larger than any test's. */
const page = { rows: 100, bytes: 1_000_000 };

function lsn(text: string): Lsn {
  return parseLsn(text);
}

function letter(number: number, more: Partial<NewDeadLetter> = {}): NewDeadLetter {
  return {
    eventId: `7-1-${number}`,
    entry: 0,
    group: 'public.orders:1',
    previousGroup: undefined,
    table: 'public.orders',
    sequence: `0001-00000001-${`${number}`.padStart(16, '0')}-0000000000-00`,
    kind: 'event-rejected',
    code: 'MalformedDetail',
    message: 'the bus refused it',
    behind: false,
    event: `{"detail":{"n":${number}}}`,
    change: undefined,
    ...more,
  };
}

describe('the schema', () => {
  beforeEach(async () => {
    pool = await freshPool();
  });

  test('is made once by installs that run at the same time', async () => {
    const wide = new pg.Pool({ connectionString: server.url(`state_${database}`), max: 8 });
    pools.push(wide);
    await Promise.all(Array.from({ length: 8 }, () => openState({ pool: wide, connector: 'shop', schema: 'banyan' })));
    const { rows } = await wide.query('select number, name, breaking from banyan.migration order by number');
    expect(rows).toEqual([
      { number: 1, name: '0001-tables', breaking: false },
      { number: 2, name: '0002-backfill', breaking: false },
      { number: 3, name: '0003-reverse', breaking: false },
      { number: 4, name: '0004-progress', breaking: false },
    ]);
  });

  test('that is up to date is opened without a write', async () => {
    await openState({ pool, connector: 'shop', schema: 'banyan' });
    const readOnly = new pg.Pool({
      connectionString: server.url(`state_${database}`),
      options: '-c default_transaction_read_only=on',
    });
    pools.push(readOnly);
    await openState({ pool: readOnly, connector: 'shop', schema: 'banyan' });
    await expect(openState({ pool: readOnly, connector: 'shop', schema: 'other' })).rejects.toMatchObject({
      code: '25006',
    });
  });

  test('can have any name', async () => {
    const state = await openState({ pool, connector: 'shop', schema: 'Odd "name"' });
    await state.held.set('public.orders', { kind: 'schema-drift', message: 'gone', remedy: 'mend it' });
    expect(await state.held.list()).toHaveLength(1);
  });

  test('of a newer version with a breaking migration is refused, and one without is worked with', async () => {
    await openState({ pool, connector: 'shop', schema: 'banyan' });
    await pool.query(`insert into banyan.migration values (900, '0900-more', false)`);
    await openState({ pool, connector: 'shop', schema: 'banyan' });
    await pool.query(`insert into banyan.migration values (901, '0901-other.breaking', true)`);
    const refused = { kind: 'preflight', message: expect.stringContaining('0901-other.breaking') };
    await expect(openState({ pool, connector: 'shop', schema: 'banyan' })).rejects.toMatchObject(refused);
    await expect(readState({ pool, connector: 'shop', schema: 'banyan' })).rejects.toMatchObject(refused);
  });

  test('is only read by commands, which say where it is not there or too old', async () => {
    await expect(readState({ pool, connector: 'shop', schema: 'banyan' })).rejects.toMatchObject({
      kind: 'preflight',
      message: 'there is no state schema banyan in this database yet',
      remedy: expect.stringContaining('banyan run'),
    });
    expect((await pool.query(`select from pg_namespace where nspname = 'banyan'`)).rowCount).toBe(0);
    await openState({ pool, connector: 'shop', schema: 'banyan' });
    await readState({ pool, connector: 'shop', schema: 'banyan' });
    await pool.query('delete from banyan.migration');
    await expect(readState({ pool, connector: 'shop', schema: 'banyan' })).rejects.toMatchObject({
      kind: 'preflight',
      message: expect.stringContaining('0001-tables'),
    });
  });

  test('works for a role that owns it and may not create one', async () => {
    await pool.query(`create role worker_${database} login; create schema banyan authorization worker_${database}`);
    const name = `state_${database}`;
    const limited = new pg.Pool({ connectionString: server.url(name, `worker_${database}`) });
    pools.push(limited);
    const state = await openState({ pool: limited, connector: 'shop', schema: 'banyan' });
    expect(await state.deadLetters.park([letter(1)])).toBe(1);
    await expect(openState({ pool: limited, connector: 'shop', schema: 'other' })).rejects.toMatchObject({
      kind: 'database-privilege',
      remedy: expect.stringContaining(`create schema "other" authorization "worker_${database}"`),
    });
  });

  test('leaves nothing half done where a migration fails', async () => {
    await pool.query('create schema banyan; create view banyan.gap as select 1 as id');
    await expect(openState({ pool, connector: 'shop', schema: 'banyan' })).rejects.toThrow('state schema banyan');
    const { rows } = await pool.query(
      `select relname from pg_class c join pg_namespace n on n.oid = relnamespace where nspname = 'banyan'`,
    );
    expect(rows).toEqual([{ relname: 'gap' }]);
  });
});

describe('removing the state', () => {
  beforeEach(async () => {
    pool = await freshPool();
  });

  test('drops the schema with the last connector, and never what others put there', async () => {
    const shop = await openState({ pool, connector: 'shop', schema: 'banyan' });
    const crm = await openState({ pool, connector: 'crm', schema: 'banyan' });
    await shop.deadLetters.park([letter(1)]);
    await crm.deadLetters.park([letter(1)]);
    expect(await removeState({ pool, connector: 'shop', schema: 'banyan' })).toEqual({
      schema: 'kept',
      otherConnectors: ['crm'],
    });
    expect(await shop.deadLetters.counts()).toEqual({ parked: 0, groups: 0 });
    expect(await crm.deadLetters.counts()).toEqual({ parked: 1, groups: 1 });
    await pool.query('create table banyan.of_the_dba (id int)');
    expect(await removeState({ pool, connector: 'crm', schema: 'banyan' })).toEqual({
      schema: 'kept',
      otherConnectors: [],
    });
    await pool.query('drop table banyan.of_the_dba');
    await openState({ pool, connector: 'crm', schema: 'banyan' });
    expect(await removeState({ pool, connector: 'crm', schema: 'banyan' })).toMatchObject({ schema: 'dropped' });
    expect(await removeState({ pool, connector: 'crm', schema: 'banyan' })).toMatchObject({ schema: 'absent' });
  });
});

describe('the stores', () => {
  let state: State;
  let other: State;

  beforeEach(async () => {
    pool = await freshPool();
    state = await openState({ pool, connector: 'shop', schema: 'banyan' });
    other = await openState({ pool, connector: 'crm', schema: 'banyan' });
  });

  test('remember the slot, and only raise its confirmed position', async () => {
    expect(await state.slots.get()).toBeUndefined();
    const record = {
      slotName: 'banyan_shop',
      systemId: '18446744073709551615',
      epoch: 1,
      timeline: 4_294_967_295,
      createdLsn: lsn('0/FF'),
      confirmedLsn: lsn('0/FF'),
    };
    await state.slots.save(record);
    expect(await state.slots.get()).toMatchObject(record);
    expect(await other.slots.get()).toBeUndefined();
    expect(await state.slots.advance(lsn('FFFFFFFF/FFFFFFFF'))).toBe(true);
    expect(await state.slots.advance(lsn('0/100'))).toBe(false);
    expect((await state.slots.get())?.confirmedLsn).toBe(lsn('FFFFFFFF/FFFFFFFF'));
    await state.slots.save({ ...record, epoch: 2 });
    expect(await state.slots.get()).toMatchObject({ epoch: 2, confirmedLsn: lsn('0/FF') });
  });

  test('compare positions as positions, not as text', async () => {
    const zero = { slotName: 's', systemId: '1', epoch: 1, timeline: 1, createdLsn: lsn('0/0') };
    const position = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((value) => value as Lsn);
    await fc.assert(
      fc.asyncProperty(position, position, async (first, second) => {
        await state.slots.save({ ...zero, confirmedLsn: first });
        expect(await state.slots.advance(second)).toBe(second > first);
        expect((await state.slots.get())?.confirmedLsn).toBe(second > first ? second : first);
      }),
      { numRuns: 50 },
    );
  });

  test('remember tables by name and OID, and do not write what is the same', async () => {
    const orders = { table: 'public.orders', oid: 4_294_967_295, publishedSinceLsn: lsn('0/10') };
    const lines = { table: 'public."Order.Lines"', oid: 16_385, publishedSinceLsn: lsn('0/20') };
    await state.tables.save([orders, lines]);
    const versions = 'select xmin::text from banyan.table_record order by table_name';
    const before = (await pool.query(versions)).rows;
    await state.tables.save([orders, lines]);
    expect((await pool.query(versions)).rows).toEqual(before);
    await state.tables.save([{ ...orders, oid: 20_000 }]);
    expect(await state.tables.list()).toEqual([lines, { ...orders, oid: 20_000 }]);
    await state.tables.forgetPosition(orders.table);
    expect(await state.tables.list()).toEqual([lines, { ...orders, oid: 20_000, publishedSinceLsn: lsn('0/0') }]);
    await state.tables.save([{ ...orders, oid: 20_000 }]);
    await state.tables.remove([lines.table]);
    expect(await state.tables.list()).toEqual([{ ...orders, oid: 20_000 }]);
    expect(await other.tables.list()).toEqual([]);
  });

  test('hold a table since the first time, with the latest reason', async () => {
    await state.held.set('public.orders', { kind: 'schema-drift', message: 'no column a', remedy: 'mend it' });
    const [first] = await state.held.list();
    await state.held.set('public.orders', { kind: 'schema-drift', message: 'no column b', remedy: 'mend it' });
    expect(await state.held.list()).toEqual([
      { table: 'public.orders', problem: { ...first?.problem, message: 'no column b' } },
    ]);
    await state.held.clear('public.orders');
    expect(await state.held.list()).toEqual([]);
  });

  test('record an open gap once, and the same gap anew after it was accepted', async () => {
    const gap = { kind: 'slot-missing', subject: 'banyan_shop', report: { since: '0/10', note: '\u0000 ’' } };
    const id = await state.gaps.record(gap);
    expect(await state.gaps.record({ ...gap, report: { since: '0/20' } })).toBe(id);
    expect(await state.gaps.open()).toMatchObject([{ id, report: gap.report, acceptedAt: undefined }]);
    expect(await state.gaps.accept('ada')).toEqual([id]);
    expect(await state.gaps.open()).toEqual([]);
    expect(await state.gaps.record(gap)).toBeGreaterThan(id);
  });

  describe('dead letters', () => {
    test('that are delivered again stay as they were and where they were', async () => {
      expect(await state.deadLetters.park([letter(2), letter(1)])).toBe(2);
      expect(await state.deadLetters.park([letter(1, { message: 'again' }), letter(3), letter(3)])).toBe(1);
      const parked = await state.deadLetters.nextOfGroups(['public.orders:1'], page);
      expect(parked.map(({ eventId, message }) => [eventId, message])).toEqual([
        ['7-1-1', 'the bus refused it'],
        ['7-1-2', 'the bus refused it'],
        ['7-1-3', 'the bus refused it'],
      ]);
      await state.deadLetters.markRedriven([parked[0]?.id ?? 0]);
      await state.deadLetters.discard({ ids: [parked[1]?.id ?? 0] });
      expect(await state.deadLetters.park([letter(1), letter(2), letter(3)])).toBe(0);
      expect(await state.deadLetters.counts()).toEqual({ parked: 1, groups: 1 });
      expect(await other.deadLetters.park([letter(1)])).toBe(1);
    });

    test('are kept for each entry whose first event has the same number', async () => {
      expect(await state.deadLetters.park([letter(1, { entry: 0 }), letter(1, { entry: 1 })])).toBe(2);
    });

    test('keep what was to be sent and the raw change to the byte', async () => {
      const event = '{"detail":{"big":12345678901234567890,"text":"é ’ 😀 \\u0000 \\\\"}}';
      await state.deadLetters.park([letter(1, { event, change: '{"a":"ü"}' })]);
      const [parked] = await state.deadLetters.nextOfGroups(['public.orders:1'], page);
      expect(parked).toMatchObject({ change: '{"a":"ü"}', status: 'parked', settledAt: undefined });
      expect(await state.deadLetters.get(parked?.id ?? 0)).toEqual({ ...parked, event });
      expect(await other.deadLetters.get(parked?.id ?? 0)).toBeUndefined();
    });

    test('of a key update hold up both keys', async () => {
      await state.deadLetters.park([letter(1, { group: 'b', previousGroup: 'a' }), letter(2, { group: 'c' })]);
      expect((await state.deadLetters.parkedGroups()).toSorted()).toEqual(['a', 'b', 'c']);
      expect(await state.deadLetters.counts()).toEqual({ parked: 2, groups: 3 });
      expect(await state.deadLetters.nextOfGroups(['a'], page)).toHaveLength(1);
      expect(await state.deadLetters.groupsOf({ group: 'a' })).toEqual(['a', 'b']);
    });

    test('come in the order of their sequence, whatever order they were stored in', async () => {
      await fc.assert(
        fc.asyncProperty(fc.uniqueArray(fc.nat(), { minLength: 1, maxLength: 20 }), async (numbers) => {
          await pool.query('truncate banyan.dead_letter');
          await state.deadLetters.park(numbers.map((number) => letter(number)));
          const letters = await state.deadLetters.nextOfGroups(['public.orders:1'], page);
          const sorted = numbers.toSorted((a, b) => a - b).map((number) => `7-1-${number}`);
          expect(letters.map(({ eventId }) => eventId)).toEqual(sorted);
        }),
        { numRuns: 20 },
      );
    });

    test('come in pages of so many rows, and end with the change that makes so many bytes', async () => {
      const large = (number: number, entry: number) => letter(number, { entry, change: `"${'x'.repeat(998)}"` });
      const idsOf = async (limits: { rows: number; bytes: number }) => {
        const letters = await state.deadLetters.nextOfGroups(['public.orders:1'], limits);
        return letters.map(({ eventId, entry }) => `${eventId}/${entry}`);
      };
      await state.deadLetters.park([large(1, 0), large(1, 1), large(1, 2), large(2, 0), letter(3)]);
      const all = ['7-1-1/0', '7-1-1/1', '7-1-1/2', '7-1-2/0', '7-1-3/0'];
      expect(await idsOf({ rows: 4, bytes: 1_000_000 })).toEqual(all.slice(0, 4));
      expect(await idsOf({ rows: 100, bytes: 1 })).toEqual(all.slice(0, 3));
      expect(await idsOf({ rows: 100, bytes: 3_000 })).toEqual(all.slice(0, 3));
      expect(await idsOf({ rows: 100, bytes: 3_001 })).toEqual(all.slice(0, 4));
      expect(await idsOf({ rows: 100, bytes: 4_001 })).toEqual(all);
    });

    test('tell which groups have some', async () => {
      await state.deadLetters.park([letter(1, { group: 'b', previousGroup: 'a' }), letter(2, { group: 'c' })]);
      await state.deadLetters.discard({ group: 'c' });
      expect((await state.deadLetters.parkedAmong(['a', 'b', 'c', 'd'])).toSorted()).toEqual(['a', 'b']);
    });

    test('of held tables are counted against the limit', async () => {
      const held = { event: undefined, change: '{"a":"é"}', group: 'table:public.orders', behind: true };
      await state.deadLetters.park([letter(1, held), letter(2, held), letter(3)]);
      expect(await state.deadLetters.heldTables()).toEqual([{ table: 'public.orders', rows: 2, bytes: 20 }]);
    });

    test('are listed newest first by status, table and group, without their payload', async () => {
      await state.deadLetters.park([
        letter(1),
        letter(2, { table: 'public.lines', group: 'public.lines:1' }),
        letter(3),
      ]);
      const all = await state.deadLetters.list({});
      expect(all.map(({ eventId }) => eventId)).toEqual(['7-1-3', '7-1-2', '7-1-1']);
      expect(all[0]).not.toHaveProperty('event');
      const page = await state.deadLetters.list({ before: all[0]?.id ?? 0, limit: 1 });
      expect(page.map(({ eventId }) => eventId)).toEqual(['7-1-2']);
      expect(await state.deadLetters.list({ table: 'public.lines' })).toHaveLength(1);
      expect(await state.deadLetters.list({ group: 'public.orders:1' })).toHaveLength(2);
      expect(await state.deadLetters.discard({ table: 'public.lines' })).toBe(1);
      expect(await state.deadLetters.list({ status: 'discarded' })).toHaveLength(1);
      expect(await state.deadLetters.discard({})).toBe(2);
      expect(await state.deadLetters.discard({})).toBe(0);
    });

    test('say why a redrive stopped at them', async () => {
      await state.deadLetters.park([letter(1, { behind: true })]);
      const [parked] = await state.deadLetters.list({});
      await state.deadLetters.setReason(parked?.id ?? 0, { kind: 'mapping-failed', code: undefined, message: 'still' });
      expect(await state.deadLetters.list({})).toMatchObject([
        { kind: 'mapping-failed', code: undefined, message: 'still', behind: false },
      ]);
    });
  });

  describe('requests', () => {
    const redrive = { command: 'redrive', arguments: { ids: [1] }, requestedBy: 'ada' };
    const signal = new AbortController().signal;

    test('go to one worker each, the oldest first', async () => {
      const ids = [await state.requests.insert(redrive), await state.requests.insert(redrive)];
      const claimed = await Promise.all([1, 2, 3].map(() => state.requests.claimNext()));
      const taken = claimed.filter((request) => request !== undefined);
      expect(new Set(taken.map(({ id }) => id))).toEqual(new Set(ids));
      expect(taken).toHaveLength(2);
      expect(taken[0]).toMatchObject(redrive);
      expect(await other.requests.claimNext()).toBeUndefined();
    });

    test('bring back what the worker says', async () => {
      const id = await state.requests.insert(redrive);
      const outcome = state.requests.await(id, { timeoutMs: 10_000, signal });
      const claimed = await state.requests.claimNext();
      await state.requests.finish(claimed?.id ?? 0, { result: { sent: 3 } });
      expect(await outcome).toEqual({ status: 'finished', result: { sent: 3 } });
      const second = await state.requests.insert(redrive);
      await state.requests.claimNext();
      await state.requests.finish(second, { error: 'no such letter' });
      expect(await state.requests.await(second, { timeoutMs: 0, signal })).toEqual({
        status: 'failed',
        error: 'no such letter',
      });
      const third = await state.requests.insert(redrive);
      await state.requests.claimNext();
      await state.requests.finish(third, { error: 'no such letter', remedy: 'name another' });
      expect(await state.requests.await(third, { timeoutMs: 0, signal })).toEqual({
        status: 'failed',
        error: 'no such letter',
        remedy: 'name another',
      });
    });

    test('that nobody took in time are withdrawn', async () => {
      const id = await state.requests.insert(redrive);
      expect(await state.requests.await(id, { timeoutMs: 1, signal })).toEqual({ status: 'unclaimed' });
      expect(await state.requests.claimNext()).toBeUndefined();
    });

    test('that take longer than the wait go on', async () => {
      const id = await state.requests.insert(redrive);
      await state.requests.claimNext();
      expect(await state.requests.await(id, { timeoutMs: 1, signal })).toEqual({ status: 'running' });
      await state.requests.finish(id, { result: 1 });
      expect(await state.requests.await(id, { timeoutMs: 1, signal })).toEqual({ status: 'finished', result: 1 });
    });

    test('of a worker that died fail, those that nobody took yet do not', async () => {
      const [first, second] = [await state.requests.insert(redrive), await state.requests.insert(redrive)];
      await state.requests.claimNext();
      expect(await state.requests.failInterrupted()).toBe(1);
      expect(await state.requests.await(first, { timeoutMs: 0, signal })).toMatchObject({ status: 'failed' });
      expect((await state.requests.claimNext())?.id).toBe(second);
    });

    test('stop waiting when told to', async () => {
      const id = await state.requests.insert(redrive);
      const abort = new AbortController();
      const wait = state.requests.await(id, { timeoutMs: 60_000, signal: abort.signal });
      abort.abort();
      await expect(wait).rejects.toThrow(/abort/i);
    });
  });
});

test('a database that is not UTF8 keeps characters that it has no form for', async () => {
  pool = await freshPool(`encoding 'LATIN1' template template0`);
  const state = await openState({ pool, connector: 'shop', schema: 'banyan' });
  await state.deadLetters.park([letter(1, { event: '{"detail":"é ’ 😀"}', message: 'the table’s mapping' })]);
  const [listed] = await state.deadLetters.list({});
  const parked = await state.deadLetters.get(listed?.id ?? 0);
  expect(JSON.parse(parked?.event ?? '')).toEqual({ detail: 'é ’ 😀' });
  expect(parked?.message).toBe("the table's mapping");
  await state.gaps.record({ kind: 'slot-missing', subject: 's', report: { remedy: 'mend the table’s mapping' } });
  expect((await state.gaps.open())[0]?.report).toEqual({ remedy: 'mend the table’s mapping' });
});

test('a database that goes away is an error that retries, and never quotes a value', async () => {
  pool = await freshPool();
  const state = await openState({ pool, connector: 'shop', schema: 'banyan' });
  await pool.query('drop schema banyan cascade');
  const error: unknown = await state.deadLetters
    .park([letter(1, { message: 'secret' })])
    .catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ name: 'BanyanError', message: expect.stringContaining('state schema banyan') });
  expect(String(error)).not.toContain('secret');
  const gone = new pg.Pool({ connectionString: 'postgresql://postgres@127.0.0.1:1/none' });
  pools.push(gone);
  await expect(openState({ pool: gone, connector: 'shop', schema: 'banyan' })).rejects.toMatchObject({
    kind: 'database-unavailable',
    reaction: 'retry',
  });
});
