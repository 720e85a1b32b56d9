import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { binariesOf, EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import type { ConflictListing, NewConflict } from '../../src/state/conflicts.ts';
import type { NewReverseLetter } from '../../src/state/reverse-letters.ts';
import { removeState } from '../../src/state/remove.ts';
import { openState, type State } from '../../src/state/state.ts';

/** The oldest server there is here: its SQL is the narrowest. */
const major = binariesOf(14) === undefined ? 15 : 14;

let server: EmbeddedPostgres;
let pool: pg.Pool;
let state: State;
let other: State;

beforeAll(async () => {
  server = await EmbeddedPostgres.start({ major });
  await server.createDatabase('state', `encoding 'LATIN1' template template0 lc_collate 'C' lc_ctype 'C'`);
  pool = new pg.Pool({ connectionString: server.url('state'), max: 4 });
  state = await openState({ pool, connector: 'shop', schema: 'banyan' });
  other = await openState({ pool, connector: 'crm', schema: 'banyan' });
});
afterAll(async () => {
  await pool?.end();
  await server?.stop();
});

async function within<T>(use: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  try {
    await client.query('begin');
    const result = await use(client);
    await client.query('commit');
    return result;
  } finally {
    client.release();
  }
}

const applied = { outcome: 'applied', eventTime: undefined } as const;

function key(eventId: string, target = 'public.orders#1') {
  return { producer: 'new', eventId, target };
}

function sequence(n: number): string {
  return `0001-00000001-${`${n}`.padStart(16, '0')}-0000000000-00`;
}

function letter(lane: string, version: number, more: object = {}): NewReverseLetter {
  return {
    eventId: `new ${lane}-${version} public.orders#1`,
    entry: 0,
    group: lane,
    table: 'public.orders',
    sequence: `${version}`,
    kind: 'row-refused',
    code: undefined,
    message: 'refused',
    behind: false,
    waitForMs: undefined,
    event: '{}',
    ...more,
  };
}

function record(conflict: NewConflict): Promise<number> {
  return within((client) => state.conflicts.record(client, conflict));
}

async function listed(listing: ConflictListing): Promise<number[]> {
  return (await state.conflicts.list(listing)).map(({ id }) => id);
}

test('the secret is made once, whoever asks first, and is another one for each connector', async () => {
  const secrets = await Promise.all(Array.from({ length: 8 }, () => state.reverseSecret.get()));
  expect(new Set(secrets.map((secret) => secret.toString('hex'))).size).toBe(1);
  expect(secrets[0]).toHaveLength(32);
  expect(await other.reverseSecret.get()).not.toEqual(secrets[0]);
});

describe('the inbox', () => {
  test('takes an event in once for each target', async () => {
    const results = await within(async (client) => [
      await state.inbox.add(client, key('a'), applied),
      await state.inbox.add(client, key('a'), applied),
      await state.inbox.add(client, key('a', 'public.orders#2'), applied),
      await other.inbox.add(client, key('a'), applied),
    ]);
    expect(results).toEqual([true, false, true, true]);
  });

  test('marks what the stream has shown, for all targets of the event and for nobody else', async () => {
    await within(async (client) => {
      await state.inbox.add(client, key('seen'), applied);
      await state.inbox.add(client, key('seen', 'public.orders#2'), applied);
      await other.inbox.add(client, key('seen'), applied);
      await state.inbox.add(client, key('known'), applied);
      await state.inbox.settle(client, key('known'), { outcome: 'applied', verdict: 'correction' });
      await state.inbox.add(client, key('refused'), { ...applied, outcome: 'refused' });
    });
    await state.inbox.observe([]);
    await state.inbox.observe([
      { producer: 'new', eventId: 'seen', verdict: 'echo' },
      { producer: 'new', eventId: 'seen', verdict: 'echo' },
      { producer: 'new', eventId: 'known', verdict: 'echo' },
      { producer: 'new', eventId: 'refused', verdict: 'echo' },
      { producer: 'new', eventId: 'never', verdict: 'echo' },
    ]);
    const seen = { verdict: 'echo', observedAt: expect.any(String) as string };
    expect(await state.inbox.get(key('seen'))).toMatchObject(seen);
    expect(await state.inbox.get(key('seen', 'public.orders#2'))).toMatchObject(seen);
    expect(await other.inbox.get(key('seen'))).toMatchObject({ verdict: undefined, observedAt: undefined });
    expect(await state.inbox.get(key('known'))).toMatchObject({ ...seen, verdict: 'correction' });
    expect(await state.inbox.get(key('refused'))).toMatchObject({ verdict: undefined, observedAt: undefined });
  });

  test('forgets what is older than the horizon, a batch at a time', async () => {
    await within(async (client) => {
      for (const id of ['o1', 'o2', 'o3', 'young']) await state.inbox.add(client, key(id), applied);
    });
    await pool.query(`update banyan.inbox set received_at = now() - interval '15 days' where event_id like 'o_'`);
    const horizon = 14 * 86_400;
    expect(await state.inbox.purge(horizon, 2)).toBe(2);
    expect(await state.inbox.purge(horizon, 2)).toBe(1);
    expect(await state.inbox.purge(horizon, 2)).toBe(0);
    expect(await state.inbox.get(key('young'))).toBeDefined();
  });
});

describe('legacy changes', () => {
  test('keep the highest sequence of each key, in whatever order they come', async () => {
    const table = 'public.orders';
    const keys = { plain: ['1'], composite: ['1', 'a,"{}\\'], unit: ['1', ''] };
    await state.legacyChanges.record([]);
    await state.legacyChanges.record([
      { table, key: keys.plain, sequence: sequence(3) },
      { table, key: keys.plain, sequence: sequence(5) },
      { table, key: keys.composite, sequence: sequence(4) },
      { table, key: keys.unit, sequence: sequence(1) },
      { table: 'public.lines', key: keys.plain, sequence: sequence(9) },
    ]);
    await state.legacyChanges.record([{ table, key: keys.plain, sequence: sequence(4) }]);
    const found = await within(async (client) => [
      await state.legacyChanges.sequenceOf(client, table, keys.plain),
      await state.legacyChanges.sequenceOf(client, table, keys.composite),
      await state.legacyChanges.sequenceOf(client, table, keys.unit),
    ]);
    expect(found).toEqual([sequence(5), sequence(4), sequence(1)]);
    expect(await within((client) => other.legacyChanges.sequenceOf(client, table, keys.plain))).toBeUndefined();
  });
});

describe('a conflict', () => {
  const conflict: NewConflict = {
    table: 'public.orders',
    key: { id: '1' },
    kind: 'update_origin_differs',
    policy: 'park',
    resolution: 'parked',
    producer: 'new',
    eventId: 'e1',
    target: 'public.orders#1',
    expected: undefined,
    proposed: { note: 'a character that LATIN1 lacks: €' },
    current: { note: null },
  };
  test('is open until a person decides, once', async () => {
    const id = await record(conflict);
    expect(await record({ ...conflict, current: { note: 'again' } })).toBe(id);
    expect(await state.conflicts.get(id)).toMatchObject({
      ...conflict,
      current: { note: 'again' },
      resolvedAt: undefined,
      resolvedBy: undefined,
    });
    expect(await state.conflicts.countOpen()).toBe(1);
    expect(await other.conflicts.get(id)).toBeUndefined();
    const decision = { resolution: 'legacy-wins', by: 'a person', note: 'as it was' } as const;
    expect(await other.conflicts.resolve(id, decision)).toBe(false);
    expect(await state.conflicts.resolve(id, decision)).toBe(true);
    expect(await state.conflicts.resolve(id, decision)).toBe(false);
    expect(await state.conflicts.countOpen()).toBe(0);
    expect(await state.conflicts.get(id)).toMatchObject({
      resolution: 'legacy-wins',
      resolvedBy: 'a person',
      note: 'as it was',
    });
  });

  test('that its policy decided is not open, and says once which person had asked for that', async () => {
    const id = await record({ ...conflict, eventId: 'e2', policy: 'new-wins', resolution: 'new-wins' });
    const open = await state.conflicts.countOpen();
    const resolvedAt = expect.any(String) as string;
    expect(await state.conflicts.get(id)).toMatchObject({ resolvedAt, resolvedBy: undefined });
    const decision = { resolution: 'new-wins', by: 'a person', note: undefined } as const;
    expect(await state.conflicts.resolve(id, decision)).toBe(true);
    expect(await state.conflicts.resolve(id, { ...decision, by: 'another' })).toBe(false);
    expect(await state.conflicts.get(id)).toMatchObject({ resolvedBy: 'a person' });
    expect(await state.conflicts.countOpen()).toBe(open);
  });

  test('of an event that ends is decided with it, by what became of the event, and never anew', async () => {
    const by = { resolution: undefined, appliedTo: 'public.orders#1', by: 'a person', note: undefined };
    for (const [outcome, resolution] of [
      ['applied', 'new-wins'],
      ['stale', 'legacy-wins'],
    ] as const) {
      const event = key(`ends-${outcome}`);
      const [open, decided] = [
        await record({ ...conflict, ...event, resolution: 'parked' }),
        await record({ ...conflict, ...key(`decided-${outcome}`), resolution: 'legacy-wins' }),
      ];
      expect(await state.conflicts.openOf(event)).toBe(open);
      await within(async (client) => {
        for (const each of [event, key(`decided-${outcome}`)]) {
          await state.inbox.add(client, each, { outcome, eventTime: undefined });
          await state.conflicts.settleIn(client, each, by);
        }
      });
      expect(await state.conflicts.openOf(event)).toBeUndefined();
      expect(await state.conflicts.get(open)).toMatchObject({ resolution, resolvedBy: 'a person' });
      expect(await state.conflicts.get(decided)).toMatchObject({ resolution: 'legacy-wins', resolvedBy: undefined });
    }
  });

  test('is listed newest first, by page, table and state', async () => {
    const ids: number[] = [];
    for (const [index, table] of ['public.a', 'public.b', 'public.a'].entries()) {
      ids.push(await record({ ...conflict, eventId: `list ${index}`, table }));
    }
    expect((await listed({ open: true })).slice(0, 3)).toEqual(ids.toReversed());
    expect(await listed({ table: 'public.a' })).toEqual([ids[2], ids[0]]);
    expect(await listed({ table: 'public.a', before: ids[2] ?? 0 })).toEqual([ids[0]]);
    expect(await listed({ open: true, limit: 1 })).toEqual([ids[2]]);
  });
});

describe('letters of a lane', () => {
  const behind = { behind: true };
  const waits = { kind: 'row-missing', waitForMs: 60_000 } as const;

  test('wait behind nothing where no letter before them waits for a person', async () => {
    const { reverseLetters } = state;
    await state.stages.set('public.orders', 'shadow', 'a person');
    await reverseLetters.park([
      letter('held:1', 1),
      letter('held:1', 2, behind),
      letter('free:1', 2, behind),
      letter('free:1', 3),
      letter('free:2', 1, waits),
      letter('free:2', 2, behind),
      letter('table:public.orders', 1, behind),
      letter('done:1', 1),
    ]);
    expect(await reverseLetters.lanesBehind(10, ['shadow'])).toEqual(['free:1', 'free:2']);
    expect(await reverseLetters.lanesBehind(1, ['shadow'])).toEqual(['free:1']);
    expect(await reverseLetters.lanesBehind(10, ['dual'])).toEqual([]);
    expect(await other.reverseLetters.lanesBehind(10, ['shadow'])).toEqual([]);
    await pool.query('delete from banyan.table_stage');
    const found = async (only?: 'waiting' | 'holding') =>
      (await reverseLetters.next('free:2', { rows: 9, bytes: 999, ...(only === undefined ? {} : { only }) })).map(
        (each) => each.sequence,
      );
    expect(await found()).toEqual(['1', '2']);
    expect(await found('waiting')).toEqual(['1']);
    expect(await found('holding')).toEqual(['2']);
  });

  test('that have waited behind another begin to wait for what they lack; those that wait for a person go on', async () => {
    const { reverseLetters } = state;
    await reverseLetters.park([letter('lacks:1', 1, behind), letter('lacks:2', 1)]);
    await within(async (client) => {
      for (const lane of ['lacks:1', 'lacks:2']) await reverseLetters.parkIn(client, letter(lane, 1, waits));
    });
    expect(await reverseLetters.lookAt('lacks:1')).toEqual({ dead: false, waiting: true });
    expect(await reverseLetters.lookAt('lacks:2')).toEqual({ dead: true, waiting: false });
  });

  test('that were settled are opened again when their event comes again, and not by a try that was on its way', async () => {
    const { reverseLetters } = state;
    const ids: number[] = [];
    for (const [index, settle] of (['redriven', 'discarded'] as const).entries()) {
      const lane = `again:${index}`;
      const settled = async (): Promise<void> => {
        if (settle === 'redriven') await reverseLetters.markRedriven(ids.slice(-1));
        else await reverseLetters.discard({ group: lane });
      };
      await reverseLetters.park([letter(lane, 1)]);
      const [first] = await reverseLetters.next(lane, { rows: 1, bytes: 999 });
      ids.push(first?.id ?? 0);
      await settled();
      const later = letter(lane, 1, { ...waits, sequence: '9', message: 'not there', event: '{"again":true}' });
      const tried = await within((client) => reverseLetters.parkIn(client, later, { isRetry: true }));
      expect([tried, await reverseLetters.get(first?.id ?? 0)]).toMatchObject([false, { status: settle }]);
      expect(await within((client) => reverseLetters.parkIn(client, later))).toBe(true);
      const { waitForMs: _waitForMs, ...asNew } = later;
      const waitsUntil = expect.any(String) as string;
      const open = { ...asNew, id: first?.id, status: 'parked', settledAt: undefined };
      expect(await reverseLetters.next(lane, { rows: 9, bytes: 999 })).toMatchObject([{ ...open, waitsUntil }]);
      await settled();
      await reverseLetters.park([letter(lane, 1, behind), letter(lane, 2, behind)]);
      expect(await reverseLetters.next(lane, { rows: 9, bytes: 999 })).toMatchObject([
        { id: first?.id, behind: true, sequence: '1', event: '{}', waitsUntil: undefined, settledAt: undefined },
        { behind: true },
      ]);
      await reverseLetters.discard({ group: lane });
    }
  });
});

test('a table is in the stage that it was moved to, else in the first one', async () => {
  expect(await state.stages.get('public.orders')).toBe('mapped');
  await state.stages.set('public.orders', 'new-primary', 'a person');
  await state.stages.set('public.orders', 'retired', 'another person');
  expect(await state.stages.get('public.orders')).toBe('retired');
  expect(await state.stages.list()).toMatchObject([
    { table: 'public.orders', stage: 'retired', changedBy: 'another person' },
  ]);
  expect(await other.stages.list()).toEqual([]);
});

test('what is removed of one connector leaves the other its own', async () => {
  expect(await removeState({ pool, connector: 'shop', schema: 'banyan' })).toEqual({
    schema: 'kept',
    otherConnectors: ['crm'],
  });
  const tables = ['reverse_secret', 'inbox', 'legacy_change', 'conflict', 'table_stage'];
  for (const table of tables) {
    const { rows } = await pool.query(`select from banyan.${table} where connector = 'shop'`);
    expect([table, rows.length]).toEqual([table, 0]);
  }
  expect(await removeState({ pool, connector: 'crm', schema: 'banyan' })).toEqual({
    schema: 'dropped',
    otherConnectors: [],
  });
});
