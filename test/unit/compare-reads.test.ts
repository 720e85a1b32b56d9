import { describe, expect, test } from 'vitest';
import { compareReads } from '../../src/progress/compare-reads.ts';
import type { ReadCounters, WatchedReads } from '../../src/state/read-watch.ts';

const SINCE = '2026-01-01T00:00:00.000000Z';
const AT = '2026-03-01T00:00:00.000000Z';

type Statements = Partial<NonNullable<ReadCounters['statements']>> | undefined;

interface Case {
  readonly what: string;
  readonly is: 'nothing' | 'ours' | 'read' | 'unclear' | 'anew';
  readonly before?: Partial<Omit<WatchedReads, 'statements'>>;
  readonly now?: Partial<Omit<ReadCounters, 'statements'>>;
  /** Of before and now; undefined: they could not be read. */
  readonly statements?: readonly [Statements, Statements];
  readonly ownRole?: boolean;
  readonly atWork?: boolean;
  /** Default: what functions say is counted. */
  readonly countsNested?: boolean;
  /** Default: the server counts scans. */
  readonly counts?: boolean;
}

const none: readonly [Statements, Statements] = [undefined, undefined];

const cases: readonly Case[] = [
  { what: 'nothing moves', is: 'nothing' },
  { what: 'nothing moves, while we are at work', is: 'nothing', atWork: true },
  { what: 'another role calls', is: 'read', statements: [{}, { calls: 8 }] },
  { what: 'another role calls, while we are at work', is: 'read', statements: [{}, { calls: 8 }], atWork: true },
  { what: 'another role calls, and others were evicted', is: 'read', statements: [{}, { calls: 8, evicted: 9 }] },
  { what: 'we call and scan', is: 'ours', now: { scans: 6 }, statements: [{}, { ownCalls: 4 }] },
  {
    what: 'our role calls and scans, and may be an application’s',
    is: 'unclear',
    now: { scans: 6 },
    statements: [{}, { ownCalls: 4 }],
    ownRole: false,
  },
  {
    what: 'our role is at work, and may be an application’s',
    is: 'unclear',
    now: { scans: 6 },
    atWork: true,
    ownRole: false,
  },
  { what: 'a scan that no statement explains', is: 'unclear', now: { scans: 6 } },
  { what: 'a scan that no statement explains, while we are at work', is: 'ours', now: { scans: 6 }, atWork: true },
  {
    what: 'we call and scan, and so may a function, whose statements are not counted',
    is: 'unclear',
    now: { scans: 6 },
    statements: [{}, { ownCalls: 4 }],
    countsNested: false,
  },
  {
    what: 'a scan while we are at work, and statements of functions are not counted',
    is: 'unclear',
    now: { scans: 6 },
    atWork: true,
    countsNested: false,
  },
  {
    what: 'a scan, and statements were evicted',
    is: 'unclear',
    now: { scans: 6 },
    statements: [{}, { evicted: 9, ownCalls: 4 }],
  },
  { what: 'no scan, and statements were evicted', is: 'ours', statements: [{}, { evicted: 9 }] },
  {
    what: 'a scan, and single statements were reset',
    is: 'unclear',
    now: { scans: 6 },
    statements: [{}, { calls: 2 }],
  },
  {
    what: 'a scan, and single statements of ours were reset',
    is: 'unclear',
    now: { scans: 6 },
    statements: [{}, { ownCalls: 0 }],
  },
  { what: 'no scan, and single statements were reset', is: 'ours', statements: [{}, { calls: 2 }] },
  { what: 'a scan, without statements', is: 'read', now: { scans: 6 }, statements: none },
  {
    what: 'a scan, without statements, while we are at work',
    is: 'unclear',
    now: { scans: 6 },
    statements: none,
    atWork: true,
  },
  { what: 'no scan, without statements', is: 'nothing', statements: none },
  { what: 'no scan, and statements can be read from now on', is: 'ours', statements: [undefined, {}] },
  {
    what: 'a scan, and statements can be read from now on',
    is: 'read',
    now: { scans: 6 },
    statements: [undefined, {}],
  },
  {
    what: 'a scan, and statements can not be read any more',
    is: 'read',
    now: { scans: 6 },
    statements: [{}, undefined],
  },
  { what: 'nothing moves, and scans are not counted', is: 'anew', counts: false },
  { what: 'nothing moves, without statements, and scans are not counted', is: 'anew', counts: false, statements: none },
  { what: 'a partition that is gone, and as many scans', is: 'anew', now: { relations: [1] } },
  { what: 'a partition that came', is: 'nothing', now: { relations: [1, 2, 3] } },
  { what: 'a standby that was promoted, with the same counters', is: 'anew', now: { timeline: 2 } },
  { what: 'fewer scans', is: 'anew', now: { scans: 4 } },
  { what: 'a reset, and as many scans', is: 'anew', now: { scansReset: AT } },
  { what: 'a reset that is not known any more', is: 'anew', now: { scansReset: undefined } },
  { what: 'a reset of statements, and as many calls', is: 'anew', statements: [{}, { reset: AT }] },
  { what: 'a reset of statements, and more calls', is: 'anew', statements: [{}, { reset: AT, calls: 80 }] },
];

function compared({
  before,
  now,
  statements = [{}, {}],
  ownRole = true,
  atWork = false,
  countsNested = true,
  counts = true,
}: Case) {
  const [was, is] = statements;
  const calls = { calls: 7, ownCalls: 3, reset: SINCE, evicted: 0 };
  const watched: WatchedReads = {
    table: 'public.orders',
    oid: 1,
    watchedSince: SINCE,
    movedAt: SINCE,
    readAt: undefined,
    unclearAt: undefined,
    scans: 5,
    relations: [1, 2],
    timeline: 1,
    scansReset: SINCE,
    statements: was && { ...calls, ...was },
    ...before,
  };
  const counters: ReadCounters = {
    oid: 1,
    scans: 5,
    relations: [1, 2],
    timeline: 1,
    scansReset: SINCE,
    ...now,
    statements: is && { ...calls, ...is },
  };
  const result = compareReads(watched, counters, {
    table: 'public.orders',
    at: AT,
    counts,
    countsNested,
    ownRole,
    workedSince: (movedAt) => atWork && movedAt === SINCE,
  });
  return { ...result, counters };
}

const EXPECTED: Readonly<Record<Case['is'], object>> = {
  nothing: { moved: false, since: SINCE, readAt: undefined, unclearAt: undefined },
  ours: { moved: true, since: SINCE, readAt: undefined, unclearAt: undefined },
  read: { moved: true, since: SINCE, readAt: AT, unclearAt: undefined },
  unclear: { moved: true, since: SINCE, readAt: undefined, unclearAt: AT },
  anew: { moved: true, since: AT, readAt: undefined, unclearAt: undefined },
};

describe('counters of reads', () => {
  test.each(cases)('$what: $is', (each) => {
    const { now, moved, counters } = compared(each);
    const { watchedSince: since, readAt, unclearAt, scans } = now;
    expect({ moved, since, readAt, unclearAt }).toEqual(EXPECTED[each.is]);
    expect({ scans, statements: now.statements }).toEqual({ scans: counters.scans, statements: counters.statements });
  });

  test('a read that was seen stays seen over a reset, and not with another table under the name', () => {
    const before = { readAt: SINCE, unclearAt: SINCE };
    expect(compared({ what: '', is: 'anew', before, now: { scans: 0 } }).now).toMatchObject({
      ...before,
      watchedSince: AT,
    });
    expect(compared({ what: '', is: 'anew', before, now: { oid: 2 } }).now).toMatchObject({
      readAt: undefined,
      unclearAt: undefined,
      watchedSince: AT,
    });
  });

  test('a read that is seen while scans are not counted is one all the same', () => {
    const { now } = compared({ what: '', is: 'anew', counts: false, statements: [{}, { calls: 8 }] });
    expect(now).toMatchObject({ readAt: AT, watchedSince: AT });
  });

  test('what was never looked at is watched from now on', () => {
    const counters = { oid: 1, scans: 5, relations: [1], timeline: 1, scansReset: undefined, statements: undefined };
    const look = {
      table: 'public.orders',
      at: AT,
      counts: true,
      countsNested: true,
      ownRole: true,
      workedSince: () => false,
    };
    expect(compareReads(undefined, counters, look)).toMatchObject({ moved: true, now: { watchedSince: AT, scans: 5 } });
  });
});
