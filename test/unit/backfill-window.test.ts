import { describe, expect, test } from 'vitest';
import { ChunkAccount } from '../../src/capture/backfill/account.ts';
import { ChunkWindow, RecentCommits } from '../../src/capture/backfill/window.ts';
import type { TransactionHeader, Tuple } from '../../src/core/change.ts';
import { parseLsn } from '../../src/core/lsn.ts';
import { Snapshot } from '../../src/postgres/snapshot-xids.ts';

const mark: TransactionHeader = { xid: 1, commitLsn: parseLsn('0/100'), committedAtMicros: 0n, timeline: 1 };
const rows: readonly Tuple[] = [
  ['1', 'a'],
  ['2', 'b'],
  ['3', 'c'],
  ['4', 'd'],
];
const keyAt = (place: number): string => rows[place]?.[0] ?? '';

function opened(): ChunkWindow {
  const window = new ChunkWindow();
  window.open(mark, 0);
  return window;
}

function rest(window: ChunkWindow): Tuple[] {
  const taken: Tuple[] = [];
  for (let row = next(window); row !== undefined; row = next(window)) taken.push(row);
  return taken;
}

function next(window: ChunkWindow): Tuple | undefined {
  const [place] = window.take(1);
  return place === undefined ? undefined : rows[place];
}

describe('a chunk between its marks', () => {
  test('hands on all of its rows, in order, where nothing touched them', () => {
    const window = opened();
    window.close(rows, keyAt);
    expect(rest(window)).toEqual(rows);
    expect(window.take(10)).toEqual([]);
  });

  test('hands on as many as are asked for', () => {
    const window = opened();
    window.close(rows, keyAt);
    window.touch('2', true);
    expect(window.take(2)).toEqual([0, 2]);
    expect(window.take(2)).toEqual([3]);
    expect(window.take(2)).toEqual([]);
  });

  test('is not touched by what comes before its low mark', () => {
    const window = new ChunkWindow();
    window.touch('2', true);
    window.open(mark, 0);
    window.close(rows, keyAt);
    expect(rest(window)).toEqual(rows);
  });

  test('drops what was touched before the high mark, and says which of it no event holds', () => {
    const window = opened();
    window.touch('1', true);
    window.touch('3', false);
    window.touch('9', false);
    window.close(rows, keyAt);
    expect(rest(window)).toEqual([rows[1], rows[3]]);
    expect(window.uncovered).toEqual([rows[2]]);
  });

  test('drops what is touched behind the high mark, as long as it was not handed on', () => {
    const window = opened();
    window.close(rows, keyAt);
    expect(next(window)).toEqual(rows[0]);
    window.touch('1', false);
    window.touch('2', true);
    window.touch('4', false);
    window.touch('4', false);
    expect(rest(window)).toEqual([rows[2]]);
    window.touch('3', false);
    expect(window.uncovered).toEqual([rows[3]]);
  });

  test('goes on dropping after rows were handed on in between', () => {
    const window = opened();
    window.close(rows, keyAt);
    window.touch('2', true);
    expect(next(window)).toEqual(rows[0]);
    window.touch('3', true);
    expect(rest(window)).toEqual([rows[3]]);
  });

  test('drops all of the rows that nothing tells apart', () => {
    const window = opened();
    const more: readonly Tuple[] = [...rows, ['2', 'b'], ['2', 'b']];
    window.close(more, (place) => more[place]?.[0] ?? '');
    window.touch('2', true);
    expect(rest(window)).toEqual([rows[0], rows[2], rows[3]]);
  });

  test('has nothing left once it is spoiled, before the high mark and behind it', () => {
    const early = opened();
    early.spoil('truncated');
    early.close(rows, keyAt);
    expect(rest(early)).toEqual([]);
    const late = opened();
    late.close(rows, keyAt);
    expect(next(late)).toEqual(rows[0]);
    late.spoil('truncated');
    late.touch('3', false);
    expect(rest(late)).toEqual([]);
    expect(late.spoiled).toBe('truncated');
    expect(late.uncovered).toEqual([]);
  });
});

describe('recent commits', () => {
  test('are forgotten when every later snapshot sees them, and not before', () => {
    const recent = new RecentCommits();
    for (const xid of [700, 703, 705, 703]) recent.add(xid);
    expect([recent.size, recent.count]).toEqual([3, 3]);
    // 703 runs for this snapshot, though the stream has shown it.
    recent.prune(Snapshot.parse('703:706:703'));
    expect(recent.size).toBe(2);
    expect(recent.unseenBy(Snapshot.parse('703:706:703'), 3)).toBe(703);
    recent.prune(Snapshot.parse('706:706:'));
    expect([recent.size, recent.count]).toEqual([0, 3]);
    expect(recent.unseenBy(Snapshot.parse('703:706:703'), 3)).toBeUndefined();
  });

  test('that came behind the low mark are not asked for', () => {
    const recent = new RecentCommits();
    recent.add(700);
    const count = recent.count;
    recent.add(703);
    expect(recent.unseenBy(Snapshot.parse('703:706:703'), count)).toBeUndefined();
  });
});

describe('the events of a chunk', () => {
  test('are settled when the last one is', async () => {
    const account = new ChunkAccount();
    await account.settled(AbortSignal.abort());
    account.open();
    account.open();
    const settled = account.settled(new AbortController().signal);
    account.settle();
    let isSettled = false;
    void settled.then(() => (isSettled = true));
    await Promise.resolve();
    expect(isSettled).toBe(false);
    account.settle();
    await settled;
  });

  test('are not waited for behind an abort, whether it came before or comes meanwhile', async () => {
    const account = new ChunkAccount();
    account.open();
    await expect(account.settled(AbortSignal.abort(new Error('over')))).rejects.toThrow('over');
    const stop = new AbortController();
    const settled = account.settled(stop.signal);
    stop.abort(new Error('over now'));
    await expect(settled).rejects.toThrow('over now');
  });
});
