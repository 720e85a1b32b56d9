import pg from 'pg';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type Lsn, parseLsn } from '../../src/core/lsn.ts';
import { binariesOf, EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { readHistory } from '../../src/progress/history.ts';
import { openState, type State } from '../../src/state/state.ts';
import type { TrafficCount } from '../../src/state/traffic.ts';

/** The oldest server there is here: its SQL is the narrowest. */
const major = binariesOf(14) === undefined ? 15 : 14;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

let server: EmbeddedPostgres;
let pool: pg.Pool;
let state: State;
let databases = 0;

beforeAll(async () => {
  server = await EmbeddedPostgres.start({ major });
});
beforeEach(async () => {
  await pool?.end();
  databases += 1;
  pool = new pg.Pool({ connectionString: await server.createDatabase(`traffic_${databases}`), max: 4 });
  state = await openState({ pool, connector: 'shop', schema: 'banyan' });
});
afterAll(async () => {
  await pool?.end();
  await server?.stop();
});

const lsn = (text: string): Lsn => parseLsn(text);
const start = { epoch: 1, timeline: 1, countedLsn: lsn('0/100'), untilMs: undefined };

/** So long ago, on its minute. */
function ago(ms: number): Date {
  const at = Date.now() - ms;
  return new Date(at - (at % 60_000));
}

function count(table: string, startsAt: Date, more: Partial<TrafficCount> = {}): TrafficCount {
  return { table, startsAt, legacy: 0, reverse: 0, trigger: 0, foreign: 0, events: 0, ...more };
}

test('adds counts and moves the position together, once, however often it is asked', async () => {
  const { traffic } = state;
  expect(await traffic.position()).toBeUndefined();
  const begun = await traffic.begin(start);
  const now = ago(0);
  const next = { ...start, countedLsn: lsn('0/200'), after: begun.version };
  const counts = [count('public.orders', now, { legacy: 3, events: 3 }), count('public.lines', now, { reverse: 2 })];
  const writers = [{ table: 'public.orders', startsAt: now, role: 'crm', application: "o'hara\\", changes: 3 }];
  expect(await traffic.add(counts, writers, next)).toBe(true);
  // Its answer was lost, and it is sent again.
  expect(await traffic.add(counts, writers, next)).toBe(true);
  // A worker that has not heard of it.
  expect(await traffic.add(counts, [], { ...next, countedLsn: lsn('0/300') })).toBe(false);
  const more = [count('public.orders', now, { legacy: 1, trigger: 4, foreign: 5 })];
  expect(await traffic.add(more, [], { ...next, countedLsn: lsn('0/300'), after: next.after + 1 })).toBe(true);
  expect(await traffic.position()).toMatchObject({
    epoch: 1,
    timeline: 1,
    countedLsn: lsn('0/300'),
    countingSince: begun.countingSince,
  });
  expect(Object.fromEntries(await traffic.sums({ seconds: 3_600 }))).toEqual({
    'public.orders': { legacy: 4, reverse: 0, trigger: 4, foreign: 5, events: 3 },
    'public.lines': { legacy: 0, reverse: 2, trigger: 0, foreign: 0, events: 0 },
  });
  expect(await traffic.writers('public.orders', 3_600)).toEqual([{ role: 'crm', application: "o'hara\\", changes: 3 }]);
  const other = await openState({ pool, connector: 'other', schema: 'banyan' });
  expect(await other.traffic.position()).toBeUndefined();
  expect((await other.traffic.sums({ seconds: 3_600 })).size).toBe(0);
});

test('up to when all is counted is what it is told, and never earlier than what it was told before', async () => {
  const { traffic } = state;
  const { version, countedUntil } = await traffic.begin(start);
  expect(countedUntil).toBeUndefined();
  const until = async () => (await traffic.position())?.countedUntil;
  const hourAgo = ago(HOUR_MS);
  await traffic.add([], [], { ...start, after: version });
  expect(await until()).toBeUndefined();
  await traffic.add([], [], { ...start, after: version + 1, untilMs: hourAgo.getTime() });
  expect(await until()).toBe(hourAgo.toISOString());
  await traffic.add([], [], { ...start, after: version + 2, untilMs: hourAgo.getTime() - 5_000 });
  await traffic.add([], [], { ...start, after: version + 3 });
  expect(await until()).toBe(hourAgo.toISOString());
  await traffic.begin({ ...start, epoch: 2 });
  expect(await until()).toBeUndefined();
});

test('beginning anew says since when it counts, and keeps what was counted', async () => {
  const { traffic } = state;
  const first = await traffic.begin(start);
  await traffic.add([count('public.orders', ago(0), { legacy: 1 })], [], { ...start, after: first.version });
  const second = await traffic.begin({ ...start, epoch: 2 });
  expect(second.countingSince > first.countingSince).toBe(true);
  expect(second.version).toBeGreaterThan(first.version);
  expect((await traffic.sums({ seconds: 60 })).get('public.orders')?.legacy).toBe(1);
});

test('windows, last writes and points tell periods apart', async () => {
  const { traffic } = state;
  const { version } = await traffic.begin(start);
  const counts = [
    count('public.orders', ago(3 * HOUR_MS), { foreign: 7 }),
    count('public.orders', ago(2 * HOUR_MS), { reverse: 5 }),
    count('public.orders', ago(60_000), { trigger: 2, events: 9 }),
    count('public.lines', ago(60_000), { legacy: 1 }),
  ];
  await traffic.add(counts, [], { ...start, after: version });
  expect((await traffic.sums({ seconds: 3_600 })).get('public.orders')).toMatchObject({ reverse: 0, trigger: 2 });
  const each = await traffic.sums(new Map([['public.orders', new Date(Date.now() - 2.5 * HOUR_MS)]]));
  expect(Object.fromEntries(each)).toEqual({
    'public.orders': { legacy: 0, reverse: 5, trigger: 2, foreign: 0, events: 9 },
  });
  expect(Object.fromEntries(await traffic.lastWrites(['public.orders', 'public.lines', 'public.never']))).toEqual({
    'public.orders': {
      legacyAt: ago(3 * HOUR_MS).toISOString(),
      reverseAt: ago(2 * HOUR_MS).toISOString(),
    },
    'public.lines': { legacyAt: ago(60_000).toISOString() },
    'public.never': {},
  });
  expect([...(await traffic.sums({ seconds: 86_400, tables: ['public.lines'] })).keys()]).toEqual(['public.lines']);
  const points = await traffic.points({ from: ago(2.5 * HOUR_MS), to: new Date(), stepSeconds: 60 });
  expect(points.map(({ table, at }) => `${table} ${at}`)).toEqual([
    `public.orders ${ago(2 * HOUR_MS).toISOString()}`,
    `public.lines ${ago(60_000).toISOString()}`,
    `public.orders ${ago(60_000).toISOString()}`,
  ]);
  const day = { from: ago(DAY_MS * 2), to: new Date(), stepSeconds: 7 * 86_400, table: 'public.orders' };
  const whole = await traffic.points(day);
  expect(whole.reduce((sum, { foreign, reverse, trigger }) => sum + foreign + reverse + trigger, 0)).toBe(14);
});

test('thinning makes hours of old minutes in small batches, and no sum changes by it', async () => {
  const { traffic, health } = state;
  const { version } = await traffic.begin(start);
  const counts: TrafficCount[] = [];
  const writers = [];
  // Ten hours of every seventh minute, half of it old.
  for (let back = 0; back < 600; back += 7) {
    const startsAt = ago(back * 60_000);
    for (const table of ['public.orders', 'public.lines']) {
      counts.push(count(table, startsAt, { legacy: back, reverse: 2, trigger: 3, foreign: 4, events: 5 }));
      for (const role of ['a', 'b']) writers.push({ table, startsAt, role, application: 'app', changes: 1 + back });
    }
    await health.add({
      at: startsAt.toISOString(),
      lagSeconds: back,
      lagBytes: undefined,
      heldBytes: 10 * back,
      accepted: 1,
      throttled: 2,
      parked: 3,
      applied: 4,
    });
  }
  await traffic.add(counts, writers, { ...start, after: version });
  const all = async () => ({
    sums: Object.fromEntries(await traffic.sums({ seconds: 100_000 })),
    writers: await traffic.writers('public.orders', 100_000),
    // A step that holds all of it.
    health: (await health.points({ from: ago(DAY_MS), to: new Date(), stepSeconds: 1e10 })).map(
      ({ at: _at, ...rest }) => rest,
    ),
    hours: (await traffic.points({ from: ago(DAY_MS), to: new Date(), stepSeconds: 3_600 })).length,
  });
  const before = await all();
  const keep = { minutesMs: 5 * HOUR_MS, hoursMs: DAY_MS, limit: 10 };
  expect(await traffic.thin(keep)).toBe(false);
  expect(await all()).toEqual(before);
  let rounds = 0;
  while (!(await traffic.thin(keep)) || !(await health.thin(keep))) rounds += 1;
  expect(rounds).toBeGreaterThan(3);
  expect(await all()).toEqual(before);
  const rows = await pool.query<{ seconds: number; young: boolean }>(
    `select period_seconds as seconds, bool_and(starts_at >= date_trunc('hour', now() - interval '5h')) as young
     from banyan.traffic group by 1 order by 1`,
  );
  expect(rows.rows).toEqual([
    { seconds: 60, young: true },
    { seconds: 3_600, young: false },
  ]);
  // What is older than the hours are kept goes.
  while (!(await traffic.thin({ ...keep, hoursMs: 7 * HOUR_MS }))) rounds += 1;
  const left = await pool.query(`select 1 from banyan.traffic where starts_at < now() - interval '7h'`);
  expect(left.rows).toEqual([]);
});

test('history of a time whose minutes have become hours is told by hours, whole ones, and says so', async () => {
  const { traffic, health } = state;
  const { version } = await traffic.begin(start);
  const counts: TrafficCount[] = [];
  for (const back of [0, 30, 90, 150, 310, 330, 370]) {
    const startsAt = ago(back * 60_000);
    counts.push(count('public.orders', startsAt, { legacy: 1 }), count('public.lines', startsAt, { reverse: 10 }));
    const none = { lagSeconds: undefined, lagBytes: undefined, heldBytes: undefined };
    await health.add({ at: startsAt.toISOString(), ...none, accepted: 100, throttled: 0, parked: 0, applied: 0 });
  }
  await traffic.add(counts, [], { ...start, after: version });
  const now = new Date();
  const ask = (fromMs: number, toMs: number, table?: string, stepSeconds = 60) =>
    readHistory(state, {
      table,
      from: new Date(now.getTime() - fromMs),
      to: new Date(now.getTime() - toMs),
      stepSeconds,
      keepMinutesMs: 5 * HOUR_MS,
      countedUntil: undefined,
      now,
    });
  // What is older than minutes are kept is told by hours also while it still has its minutes: one answer, whenever it is asked.
  const before = await ask(7 * HOUR_MS, 0);
  const keep = { minutesMs: 5 * HOUR_MS, hoursMs: DAY_MS, limit: 1_000 };
  expect([await traffic.thin(keep), await health.thin(keep)]).toEqual([true, true]);
  expect(await ask(7 * HOUR_MS, 0)).toEqual(before);
  const isHour = ({ at }: { readonly at: string }) => Date.parse(at) % HOUR_MS === 0;
  for (const [table, sum] of [
    [undefined, 77],
    ['public.orders', 7],
  ] as const) {
    const history = await ask(7 * HOUR_MS, 0, table, 300);
    expect([history.stepSeconds, history.traffic.every(isHour), history.health.every(isHour)]).toEqual([
      3_600,
      true,
      true,
    ]);
    expect(history.traffic.reduce((all, { legacy, reverse }) => all + legacy + reverse, 0)).toBe(sum);
    expect(history.health.reduce((all, { accepted }) => all + accepted, 0)).toBe(table === undefined ? 700 : 0);
  }
  expect((await ask(7 * HOUR_MS, 0, undefined, 5_400)).stepSeconds).toBe(7_200);
  // From the middle of an hour: that hour is there, whole.
  const old = await ask(330 * 60_000 - 1, 5 * HOUR_MS + 1, 'public.orders');
  expect([old.stepSeconds, old.traffic.length > 0]).toEqual([3_600, true]);
  const young = await ask(2 * HOUR_MS, 0, 'public.orders');
  expect([young.stepSeconds, young.traffic.length]).toEqual([60, 3]);
  // Minutes were once kept for a shorter time than they are now.
  const longer = { from: ago(7 * HOUR_MS), to: now, stepSeconds: 60, keepMinutesMs: 10 * DAY_MS, now };
  expect((await readHistory(state, { table: undefined, ...longer, countedUntil: undefined })).stepSeconds).toBe(3_600);
});

test('history says since when and up to when all of it was counted', async () => {
  const { traffic } = state;
  const span = { from: ago(HOUR_MS), to: new Date(), stepSeconds: 60, keepMinutesMs: DAY_MS, now: new Date() };
  const ask = async (table?: string, countedUntil?: string) => {
    const history = await readHistory(state, { table, ...span, countedUntil });
    return [history.countedSince, history.countedUntil];
  };
  expect(await ask()).toEqual([undefined, undefined]);
  const { version, countingSince } = await traffic.begin(start);
  const stored = new Date(Date.now() + 1_000).toISOString();
  await traffic.add([], [], { ...start, after: version, untilMs: Date.parse(stored) });
  expect(await ask()).toEqual([countingSince, stored]);
  const later = new Date(Date.now() + 2_000).toISOString();
  expect(await ask(undefined, later)).toEqual([countingSince, later]);
  expect(await ask('public.orders')).toEqual([undefined, stored]);
  await state.tables.save([{ table: 'public.orders', oid: 1, publishedSinceLsn: lsn('0/100') }]);
  const [since] = await ask('public.orders');
  expect(since !== undefined && since > countingSince).toBe(true);
});
