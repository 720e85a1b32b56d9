import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Ledger } from '../../src/capture/ledger.ts';
import { Routes } from '../../src/capture/routes.ts';
import { Traffic } from '../../src/capture/traffic.ts';
import { BanyanError } from '../../src/core/errors.ts';
import type { Lsn } from '../../src/core/lsn.ts';
import type { StoredPosition, TrafficCount, TrafficStore } from '../../src/state/traffic.ts';

const MINUTE_MS = 60_000;
const NOW = Date.UTC(2026, 2, 1, 12, 30, 15);

beforeEach(() => vi.useFakeTimers({ now: NOW }));
afterEach(() => void vi.useRealTimers());

type Add = TrafficStore['add'];

/** Traffic of one table in a stream that a test plays. */
function play(add: Add = async () => true, counted: Partial<StoredPosition> = {}, waitingWriters = 0) {
  const written: { counts: readonly TrafficCount[]; lsn: Lsn; untilMs: number | undefined }[] = [];
  const passed = { untilMs: NOW };
  const errors: BanyanError[] = [];
  const ended = new AbortController();
  const ledger = new Ledger();
  const routes = new Routes(() => undefined, new Map());
  const counters = routes.countersOf('public.orders');
  let changes = 0;
  const traffic = new Traffic({
    store: {
      add: async (counts, writers, position) => {
        const isOurs = await add(counts, writers, position);
        written.push({ counts, lsn: position.countedLsn, untilMs: position.untilMs });
        return isOurs;
      },
    },
    counted: {
      epoch: 1,
      timeline: 1,
      countedLsn: 0n as Lsn,
      version: 0,
      countingSince: '',
      countedUntil: undefined,
      ...counted,
    },
    ledger,
    counters: () => routes.counters(),
    changes: () => changes,
    writers: { begin() {}, take() {}, drain: () => [], size: waitingWriters },
    passedUntilMs: () => passed.untilMs,
    onWritten() {},
    onHalt: (error) => void errors.push(error),
    signal: ended.signal,
  });
  const begin = (commit: number, { timeline = 1, atMs = NOW }: { timeline?: number; atMs?: number } = {}) => {
    const header = { xid: 1, commitLsn: BigInt(commit) as Lsn, committedAtMicros: BigInt(atMs) * 1_000n, timeline };
    traffic.begin(header);
    return { header, transaction: ledger.begin(header.commitLsn) };
  };
  const rows = (count: number) => {
    counters.insert += count;
    changes += count;
  };
  const commit = ({ header, transaction }: ReturnType<typeof begin>) => {
    traffic.commit(header);
    ledger.commit(transaction, (header.commitLsn + 5n) as Lsn);
    traffic.committed();
  };
  const run = (position: number, count: number, more?: { timeline?: number; atMs?: number }) => {
    const begun = begin(position, more);
    rows(count);
    commit(begun);
  };
  const accepted = (count: number) => {
    counters.settled += count;
    traffic.accepted();
  };
  const counts = () =>
    written.flatMap((each) => each.counts.map(({ startsAt, legacy }) => [(startsAt.getTime() - NOW) / 1_000, legacy]));
  return { traffic, ledger, written, errors, ended, begin, rows, commit, run, accepted, counts, passed };
}

test('what is not written is not confirmed, and what changed nothing holds nothing', async () => {
  const { traffic, ledger, run, counts } = play();
  run(100, 0);
  expect(ledger.watermark).toBe(105n);
  run(200, 3);
  run(300, 0);
  run(400, 2);
  expect(ledger.watermark).toBe(105n);
  expect(traffic.countedUntilMs).toBeUndefined();
  await traffic.flush();
  expect(ledger.watermark).toBe(405n);
  expect(traffic.countedUntilMs).toBe(NOW);
  expect(counts()).toEqual([[-15, 5]]);
});

test('of a transaction that is being received nothing is counted, and those before it wait for its end', async () => {
  const { traffic, ledger, begin, rows, commit, run, written, counts } = play();
  run(100, 1);
  const open = begin(200);
  rows(7);
  await traffic.flush();
  expect([written, ledger.watermark]).toEqual([[], 0n]);
  rows(2);
  commit(open);
  await traffic.flush();
  expect(counts()).toEqual([[-15, 10]]);
  expect(written[0]?.lsn).toBe(200n);
});

test('what was counted before is not counted again, whatever of it comes again', async () => {
  const { traffic, ledger, run, counts, written } = play(undefined, { timeline: 2, countedLsn: 300n as Lsn });
  run(900, 5, { timeline: 1 });
  run(300, 5, { timeline: 2 });
  await traffic.flush();
  expect([written, ledger.watermark]).toEqual([[], 905n]);
  run(301, 4, { timeline: 2 });
  // A position that the timeline before had used for something else.
  run(310, 1, { timeline: 3 });
  await traffic.flush();
  expect(counts()).toEqual([[-15, 5]]);
});

test('events that the bus takes of what comes again are counted, as those of what is new', async () => {
  const { traffic, run, accepted, written } = play(undefined, { countedLsn: 300n as Lsn });
  run(200, 5);
  run(300, 5);
  accepted(4);
  await traffic.flush();
  accepted(6);
  run(400, 3);
  accepted(3);
  await traffic.flush();
  const [again, fresh] = written;
  const ofTable = { table: 'public.orders', startsAt: new Date(NOW - 15_000), reverse: 0, trigger: 0, foreign: 0 };
  expect(again).toMatchObject({ counts: [{ ...ofTable, legacy: 0, events: 4 }], lsn: 300n });
  expect(fresh).toMatchObject({ counts: [{ ...ofTable, legacy: 3, events: 9 }], lsn: 400n });
});

test('a minute that is left is not entered again, and none lies in our future', async () => {
  const { traffic, run, counts } = play();
  run(100, 1, { atMs: NOW - 2 * MINUTE_MS });
  run(200, 2, { atMs: NOW - MINUTE_MS });
  run(300, 4, { atMs: NOW - 2 * MINUTE_MS });
  run(400, 8, { atMs: NOW + 10 * MINUTE_MS });
  await traffic.flush();
  expect(counts()).toEqual([
    [-135, 1],
    [-75, 6],
    [-15, 8],
  ]);
});

test('a state database that is away is asked again, with the same counts, and what comes meanwhile waits', async () => {
  const seen: (readonly TrafficCount[])[] = [];
  let isAway = true;
  const { traffic, ledger, run, errors, counts } = play(async (given) => {
    seen.push(given);
    if (isAway) throw new BanyanError('database-unavailable', 'away');
    return true;
  });
  run(100, 1);
  const flushed = traffic.flush();
  run(200, 2);
  await vi.advanceTimersByTimeAsync(30_000);
  expect(seen.length).toBeGreaterThan(2);
  expect(new Set(seen).size).toBe(1);
  expect(ledger.watermark).toBe(0n);
  isAway = false;
  await vi.advanceTimersByTimeAsync(20_000);
  await flushed;
  await traffic.flush();
  expect(counts()).toEqual([
    [-15, 1],
    [-15, 2],
  ]);
  expect([ledger.watermark, errors]).toEqual([205n, []]);
});

test('while a write goes on, whoever asks for the next one gets the same', async () => {
  const away = Promise.withResolvers<boolean>();
  const { traffic, run, counts } = play(() => away.promise);
  run(100, 1);
  const first = traffic.flush();
  await vi.advanceTimersByTimeAsync(1);
  run(200, 2);
  const second = traffic.flush();
  run(300, 4);
  expect(traffic.flush()).toBe(second);
  away.resolve(true);
  await first;
  await second;
  expect(counts()).toEqual([
    [-15, 1],
    [-15, 6],
  ]);
});

test('rows of writers that wait take room as those of tables do', () => {
  expect(play().traffic.hasRoom).toBe(true);
  expect(play(undefined, {}, 20_000).traffic.hasRoom).toBe(false);
});

test('where another worker has counted, or the state refuses, the session ends and nothing more is confirmed', async () => {
  const taken = play(async () => false);
  taken.run(100, 1);
  await expect(taken.traffic.flush()).rejects.toThrow('another worker');
  expect(taken.errors.map(({ reaction }) => reaction)).toEqual(['retry']);
  const refused = play(async () => {
    throw new BanyanError('database-privilege', 'no right');
  });
  refused.run(100, 1);
  await expect(refused.traffic.flush()).rejects.toThrow('no right');
  expect(refused.errors.map(({ reaction }) => reaction)).toEqual(['wait']);
  expect([taken.ledger.watermark, refused.ledger.watermark]).toEqual([0n, 0n]);
});

test('writes by itself within about a second, and nothing while nothing happens', async () => {
  const { run, written } = play();
  run(100, 1);
  await vi.advanceTimersByTimeAsync(1_100);
  expect(written).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(600_000);
  run(200, 0);
  await vi.advanceTimersByTimeAsync(5_000);
  expect(written).toHaveLength(1);
});

test('at a clean end says once up to when all is counted, and nothing where that is stored or not known to be', async () => {
  const { traffic, passed, run, written } = play();
  run(100, 1);
  await traffic.rest();
  expect(written.map(({ lsn, untilMs }) => [lsn, untilMs])).toEqual([[100n, NOW]]);
  passed.untilMs = NOW + 60_000;
  expect(traffic.countedUntilMs).toBe(NOW + 60_000);
  await traffic.rest();
  await traffic.rest();
  expect(written.slice(1).map(({ counts, lsn, untilMs }) => [counts, lsn, untilMs])).toEqual([
    [[], 100n, NOW + 60_000],
  ]);

  const behind = play(async () => await new Promise<boolean>(() => undefined), {
    countedUntil: new Date(NOW - 60_000).toISOString(),
  });
  behind.run(100, 1);
  void behind.traffic.flush();
  expect(behind.traffic.countedUntilMs).toBe(NOW - 60_000);
});
