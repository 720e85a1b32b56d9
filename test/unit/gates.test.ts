import { describe, expect, test } from 'vitest';
import { GATE_CODES, type Gate, type GateCode, type Stage, type TargetStage } from '../../src/core/progress.ts';
import { measure } from '../../src/progress/gates.ts';
import { combine, judge } from '../../src/progress/verdict.ts';
import { ago, type FactChanges, factsOf, NOW, SLOT, waiver } from '../support/progress-facts.ts';

interface Case extends FactChanges {
  readonly gate: GateCode;
  readonly what: string;
  readonly is: Gate['result'];
  readonly says?: RegExp;
  readonly value?: string;
  readonly from?: Stage;
  readonly to?: TargetStage;
  readonly now?: Date;
}

const later = (ms: number): Date => new Date(NOW.getTime() + ms);
const MINUTE = 60_000;
const HOUR = 3_600_000;
const DAY = 86_400_000;
const run = (changes: object) => ({
  status: 'completed' as const,
  partition: undefined,
  rowsSent: 1_000,
  rowsEstimated: 990,
  startedAt: ago(49, 'd'),
  finishedAt: ago(48, 'd'),
  reason: undefined,
  ...changes,
});
const gap = { kind: 'slot-lost', subject: 'banyan_shop', detectedAt: ago(3, 'd'), acceptedAt: ago(2, 'd') };
const problem = { kind: 'schema-drift' as const, message: 'column gone', remedy: 'mend it', since: ago(1, 'h') };
const dependant = {
  kind: 'view' as const,
  name: 'public.v',
  plain: 'v',
  detail: undefined,
  from: undefined,
  foundBy: 'catalog' as const,
};

const cases: readonly Case[] = [
  { gate: 'BACKFILL_DONE', what: 'the last run is complete', is: 'pass', value: '1,000 rows' },
  {
    gate: 'BACKFILL_DONE',
    what: 'none is wanted and none was made',
    table: { backfillWanted: false, backfill: { whole: undefined, partitions: [] } },
    is: 'pass',
    says: /backfill: false/,
  },
  { gate: 'BACKFILL_DONE', what: 'not captured', table: { captured: false }, is: 'pass', value: 'not captured' },
  {
    gate: 'BACKFILL_DONE',
    what: 'wanted and not begun',
    table: { backfill: { whole: undefined, partitions: [] } },
    is: 'fail',
  },
  ...(['waiting', 'running', 'paused', 'failed', 'replaced'] as const).map((status): Case => ({
    gate: 'BACKFILL_DONE',
    what: `the last run is ${status}`,
    table: { backfill: { whole: run({ status, finishedAt: undefined }), partitions: [] } },
    is: 'fail',
  })),
  {
    gate: 'BACKFILL_DONE',
    what: 'a run that has sent more than was estimated is not complete',
    table: { backfill: { whole: run({ status: 'running', rowsSent: 5_000 }), partitions: [] } },
    is: 'fail',
    value: '~99 %',
  },
  {
    gate: 'BACKFILL_DONE',
    what: 'a partition that came later failed',
    table: { backfill: { whole: run({}), partitions: [run({ status: 'failed', partition: 'public.orders_7' })] } },
    is: 'fail',
    says: /orders_7/,
  },
  { gate: 'BACKFILL_DONE', what: 'a gap came after it', facts: { gaps: [gap] }, is: 'fail', says: /slot-lost/ },
  {
    gate: 'BACKFILL_DONE',
    what: 'a gap came before it',
    facts: { gaps: [gap] },
    table: { backfill: { whole: run({ startedAt: ago(1, 'd') }), partitions: [] } },
    is: 'pass',
  },
  {
    gate: 'BACKFILL_DONE',
    what: 'a gap of another table',
    facts: { gaps: [{ ...gap, subject: 'public.items' }] },
    is: 'pass',
  },
  {
    gate: 'BACKFILL_DONE',
    what: 'a gap of a table that none is wanted of',
    facts: { gaps: [gap] },
    table: { backfillWanted: false, backfill: { whole: undefined, partitions: [] } },
    is: 'fail',
  },
  {
    gate: 'BACKFILL_DONE',
    what: 'the table was put back into the stream after it',
    table: { publishedSince: ago(2, 'h') },
    is: 'fail',
    value: 'before a gap',
    says: /not all in the stream until 2026-03-31 10:00 UTC/,
  },
  {
    gate: 'BACKFILL_DONE',
    what: 'the table was put back into the stream before it',
    table: { publishedSince: ago(49, 'd') },
    is: 'pass',
  },
  {
    gate: 'BACKFILL_DONE',
    what: 'the table is in the stream no more',
    table: { publishedSince: undefined },
    is: 'fail',
    value: 'not in the stream',
  },
  { gate: 'BACKFILL_DONE', what: 'expired', now: later(6 * MINUTE), is: 'unknown', says: /6 min ago, good for 5 min/ },

  { gate: 'SLOT', what: 'reserved', is: 'pass' },
  ...(
    [
      [{ walStatus: 'extended' }, 'pass'],
      [{ walStatus: 'unreserved' }, 'fail'],
      [{ walStatus: 'lost' }, 'fail'],
      [{ walStatus: undefined }, 'unknown'],
      [{ state: 'missing', walStatus: undefined }, 'fail'],
      [{ state: 'foreign' }, 'fail'],
      [{ invalidation: 'wal_removed' }, 'fail'],
    ] as const
  ).map(([slot, is]): Case => ({
    gate: 'SLOT',
    what: JSON.stringify(slot),
    facts: { slot: { ...SLOT, ...slot } },
    is,
  })),
  { gate: 'SLOT', what: 'not in the stream yet', table: { publishedSince: undefined }, is: 'fail' },
  {
    gate: 'SLOT',
    what: 'taken out of the publication, or another table under its name, whatever is on record',
    table: { published: false },
    is: 'fail',
    says: /publication/,
  },
  { gate: 'SLOT', what: 'an open gap', facts: { gaps: [{ ...gap, acceptedAt: undefined }] }, is: 'fail' },
  { gate: 'SLOT', what: 'expired', now: later(6 * MINUTE), is: 'unknown' },

  { gate: 'LAG', what: 'calm for long enough', is: 'pass', value: '0.2 s' },
  { gate: 'LAG', what: 'no worker', live: null, is: 'unknown', says: /127\.0\.0\.1:8080/ },
  { gate: 'LAG', what: 'behind', live: { lagSeconds: 9, calmSince: undefined }, is: 'fail', value: '9 s' },
  { gate: 'LAG', what: 'not measured', live: { lagSeconds: undefined, calmSince: undefined }, is: 'unknown' },
  { gate: 'LAG', what: 'calm for a moment only', live: { calmSince: ago(3, 'min') }, is: 'fail' },
  {
    gate: 'LAG',
    what: 'a worker that has just started',
    live: { calmSince: ago(3, 'min'), startedAt: ago(4, 'min') },
    is: 'unknown',
  },
  { gate: 'LAG', what: 'since when is not known', live: { calmSince: undefined }, is: 'unknown' },
  { gate: 'LAG', what: 'halted', live: { state: 'halted', problem }, is: 'fail', says: /column gone/ },
  { gate: 'LAG', what: 'another worker has the slot', live: { state: 'standby' }, is: 'unknown' },
  { gate: 'LAG', what: 'expired', now: later(6 * MINUTE), is: 'unknown' },

  { gate: 'PARITY', what: 'always', is: 'unknown', says: /waive/ },

  { gate: 'REVERSE_TEST', what: 'to dual: the worker’s own test', is: 'pass' },
  { gate: 'REVERSE_TEST', what: 'to dual: none yet', live: { testedAt: undefined }, is: 'unknown' },
  { gate: 'REVERSE_TEST', what: 'to dual: no worker', live: null, is: 'unknown' },
  { gate: 'REVERSE_TEST', what: 'to dual: expired', live: { testedAt: ago(31, 'h') }, is: 'unknown', says: /31 h ago/ },
  {
    gate: 'REVERSE_TEST',
    what: 'to dual: refused',
    live: { reverse: { state: 'refused', problem } },
    is: 'fail',
  },
  { gate: 'REVERSE_TEST', what: 'no entry', table: { reversed: false }, is: 'fail', says: /reverse\.apply/ },
  { gate: 'REVERSE_TEST', what: 'to new-primary: an echo', to: 'new-primary', is: 'pass' },
  {
    gate: 'REVERSE_TEST',
    what: 'to new-primary: an echo, and no worker',
    to: 'new-primary',
    live: null,
    is: 'unknown',
  },
  {
    gate: 'REVERSE_TEST',
    what: 'to new-primary: an echo, and a queue that is away',
    to: 'new-primary',
    live: { reverse: { state: 'waiting', problem } },
    is: 'unknown',
    says: /reverse sync is waiting/,
  },
  {
    gate: 'REVERSE_TEST',
    what: 'to new-primary: the worker’s own test does not do',
    to: 'new-primary',
    writes: { lastEchoAt: undefined },
    is: 'unknown',
    says: /shown no write/,
  },
  {
    gate: 'REVERSE_TEST',
    what: 'to new-primary: expired',
    to: 'new-primary',
    writes: { lastEchoAt: ago(31, 'h') },
    is: 'unknown',
  },
  {
    gate: 'REVERSE_TEST',
    what: 'to new-primary: an echo of before the table was in the stream anew',
    to: 'new-primary',
    table: { publishedSince: ago(5, 'min') },
    is: 'unknown',
    says: /anew/,
  },
  {
    gate: 'REVERSE_TEST',
    what: 'to new-primary: an echo of a table that is in the stream no more',
    to: 'new-primary',
    table: { publishedSince: undefined },
    is: 'unknown',
  },
  {
    gate: 'REVERSE_TEST',
    what: 'back to dual: the worker’s own test does not do',
    from: 'new-primary',
    to: 'dual',
    writes: { lastEchoAt: undefined },
    is: 'unknown',
  },

  { gate: 'CONFLICTS_OPEN', what: 'none', is: 'pass', value: '0' },
  { gate: 'CONFLICTS_OPEN', what: 'one', table: { conflictsOpen: 1 }, is: 'fail', value: '1' },
  { gate: 'CONFLICTS_OPEN', what: 'expired', now: later(6 * MINUTE), is: 'unknown' },

  { gate: 'DEAD_LETTERS', what: 'none', is: 'pass' },
  ...(
    [
      [{ forward: 1 }, 'fail'],
      [{ reverse: 1 }, 'fail'],
      [{ waiting: 3 }, 'pass'],
      [{ nameless: 2 }, 'unknown'],
    ] as const
  ).map(([letters, is]): Case => ({
    gate: 'DEAD_LETTERS',
    what: JSON.stringify(letters),
    table: { deadLetters: { forward: 0, reverse: 0, waiting: 0, nameless: 0, ...letters } },
    is,
  })),
  { gate: 'DEAD_LETTERS', what: 'held', table: { held: problem }, is: 'fail', says: /column gone/ },
  { gate: 'DEAD_LETTERS', what: 'expired', now: later(6 * MINUTE), is: 'unknown' },

  { gate: 'LEGACY_WRITES', what: 'few enough', to: 'new-primary', is: 'pass', value: '0.5 %' },
  {
    gate: 'LEGACY_WRITES',
    what: 'too many; what triggers do counts on neither side',
    to: 'new-primary',
    writes: { window: { legacy: 124, reverse: 876, trigger: 9_000, foreign: 0 } },
    is: 'fail',
    value: '12.4 %',
  },
  {
    gate: 'LEGACY_WRITES',
    what: 'from elsewhere counts as legacy',
    to: 'new-primary',
    writes: { window: { legacy: 0, reverse: 90, trigger: 0, foreign: 10 } },
    is: 'fail',
    value: '10 %',
  },
  {
    gate: 'LEGACY_WRITES',
    what: 'a share that is a little too large is not rounded away',
    to: 'new-primary',
    writes: { window: { legacy: 10_001, reverse: 989_999, trigger: 0, foreign: 0 } },
    is: 'fail',
  },
  {
    gate: 'LEGACY_WRITES',
    what: 'those on the allow list do not count',
    to: 'new-primary',
    settings: { gates: { legacyWrites: { allow: ['billing'] } } },
    writes: { window: { legacy: 124, reverse: 876, trigger: 0, foreign: 0 }, allowed: 124 },
    is: 'pass',
    value: '0 %',
  },
  {
    gate: 'LEGACY_WRITES',
    what: 'the allow list takes nothing off writes from elsewhere',
    to: 'new-primary',
    writes: { window: { legacy: 1, reverse: 50, trigger: 0, foreign: 49 }, allowed: 60 },
    is: 'fail',
  },
  {
    gate: 'LEGACY_WRITES',
    what: 'no writes at all',
    to: 'new-primary',
    writes: { window: { legacy: 0, reverse: 0, trigger: 0, foreign: 0 } },
    is: 'pass',
    value: 'no writes',
  },
  { gate: 'LEGACY_WRITES', what: 'not captured', to: 'new-primary', table: { captured: false }, is: 'unknown' },
  {
    gate: 'LEGACY_WRITES',
    what: 'counted for a while only',
    to: 'new-primary',
    facts: { countingSince: ago(23, 'h') },
    is: 'unknown',
    says: /counted since/,
  },
  {
    gate: 'LEGACY_WRITES',
    what: 'never counted',
    to: 'new-primary',
    facts: { countingSince: undefined },
    is: 'unknown',
  },
  {
    gate: 'LEGACY_WRITES',
    what: 'published for a while only',
    to: 'new-primary',
    table: { publishedSince: ago(2, 'h') },
    is: 'unknown',
  },
  {
    gate: 'LEGACY_WRITES',
    what: 'a gap inside the window',
    to: 'new-primary',
    facts: { gaps: [{ ...gap, acceptedAt: ago(1, 'h') }] },
    is: 'unknown',
    says: /gap/,
  },
  {
    gate: 'LEGACY_WRITES',
    what: 'a gap before the window',
    to: 'new-primary',
    facts: { gaps: [gap] },
    is: 'pass',
  },
  {
    gate: 'LEGACY_WRITES',
    what: 'a gap, accepted when is not known',
    to: 'new-primary',
    facts: { gaps: [{ ...gap, acceptedAt: 'never' }] },
    is: 'unknown',
  },
  {
    gate: 'LEGACY_WRITES',
    what: 'not published now',
    to: 'retired',
    table: { published: false },
    is: 'unknown',
    says: /publication/,
  },
  {
    gate: 'LEGACY_WRITES',
    what: 'no worker, and when it counted last is not known',
    to: 'new-primary',
    live: null,
    facts: { countedUntil: undefined },
    is: 'unknown',
  },
  {
    gate: 'LEGACY_WRITES',
    what: 'counted until when is not known',
    to: 'new-primary',
    facts: { countedUntil: undefined },
    is: 'unknown',
  },
  { gate: 'LEGACY_WRITES', what: 'expired', to: 'new-primary', facts: { countedUntil: ago(6, 'min') }, is: 'unknown' },
  {
    gate: 'LEGACY_WRITES',
    what: 'a share of a time that was not counted to its end',
    to: 'new-primary',
    live: null,
    facts: { countedUntil: ago(3, 'h') },
    is: 'unknown',
    says: /counted up to 2026-03-31 09:00 UTC only: no worker answered/,
  },
  {
    gate: 'LEGACY_WRITES',
    what: 'no worker, but one stopped a moment ago and had counted all',
    to: 'new-primary',
    live: null,
    facts: { countedUntil: ago(2, 'min') },
    is: 'pass',
  },
  {
    gate: 'LEGACY_WRITES',
    what: 'a worker that reads nothing',
    to: 'new-primary',
    live: { state: 'standby' },
    facts: { countedUntil: ago(3, 'h') },
    is: 'unknown',
    says: /the worker that answered is standby/,
  },
  {
    gate: 'LEGACY_WRITES',
    what: 'counting ended before the time that is asked about',
    to: 'new-primary',
    live: null,
    facts: { countedUntil: ago(2, 'd') },
    writes: { window: { legacy: 0, reverse: 0, trigger: 0, foreign: 0 } },
    is: 'unknown',
    says: /^counted up to 2026-03-29/,
  },
  { gate: 'LEGACY_WRITES', what: 'to retired: none', to: 'retired', is: 'pass', value: '0 writes' },
  {
    gate: 'LEGACY_WRITES',
    what: 'to retired: one, however allowed',
    to: 'retired',
    writes: { quiet: { legacy: 1, reverse: 9_000, trigger: 0, foreign: 0 }, allowed: 1 },
    is: 'fail',
  },
  {
    gate: 'LEGACY_WRITES',
    what: 'to retired: one, in what is counted of the window',
    to: 'retired',
    facts: { countingSince: ago(1, 'd') },
    writes: { quiet: { legacy: 0, reverse: 0, trigger: 0, foreign: 1 } },
    is: 'fail',
  },
  {
    gate: 'LEGACY_WRITES',
    what: 'that long a time was not asked about',
    to: 'retired',
    writes: { quiet: undefined },
    is: 'unknown',
  },
  {
    gate: 'LEGACY_WRITES',
    what: 'to retired: counted for less than is asked for',
    to: 'retired',
    facts: { countingSince: ago(13, 'd') },
    is: 'unknown',
  },
  {
    gate: 'LEGACY_WRITES',
    what: 'to retired: counts are not kept for so long',
    to: 'retired',
    settings: { keepHours: '10d' },
    is: 'unknown',
    says: /keepHours/,
  },

  { gate: 'LEGACY_READS', what: 'none', is: 'pass', value: 'none' },
  { gate: 'LEGACY_READS', what: 'one', reads: { readAt: ago(34, 'd') }, is: 'fail' },
  { gate: 'LEGACY_READS', what: 'one, long ago', reads: { readAt: ago(36, 'd') }, is: 'pass' },
  { gate: 'LEGACY_READS', what: 'one, and it is not known whose', reads: { unclearAt: ago(34, 'd') }, is: 'unknown' },
  {
    gate: 'LEGACY_READS',
    what: 'one while we read as well, and statements are not known',
    reads: { unclearAt: ago(1, 'h'), source: 'pg_stat_user_tables', withoutStatements: 'install pg_stat_statements' },
    is: 'unknown',
    says: /install pg_stat_statements/,
  },
  {
    gate: 'LEGACY_READS',
    what: 'watched for a while only, or statistics were reset',
    reads: { watchedSince: ago(34, 'd') },
    is: 'unknown',
    says: /reset/,
  },
  { gate: 'LEGACY_READS', what: 'the server does not count', reads: { blind: 'track_counts is off' }, is: 'unknown' },
  { gate: 'LEGACY_READS', what: 'never looked at', table: { reads: undefined }, is: 'unknown' },
  { gate: 'LEGACY_READS', what: 'expired', now: later(6 * MINUTE), is: 'unknown' },
  {
    gate: 'LEGACY_READS',
    what: 'the look is older than the rest',
    facts: { usesAt: ago(6, 'min') },
    is: 'unknown',
    says: /measured 6 min ago/,
  },

  { gate: 'DEPENDANTS', what: 'none', is: 'pass' },
  { gate: 'DEPENDANTS', what: 'a view', table: { dependants: [dependant] }, is: 'fail', says: /1 view/ },
  { gate: 'DEPENDANTS', what: 'expired', now: later(6 * MINUTE), is: 'unknown' },
  {
    gate: 'DEPENDANTS',
    what: 'expired, of a look that is older than the rest',
    facts: { usesAt: ago(6, 'min') },
    is: 'unknown',
  },
];

const ALL = ['expired', 'fail', 'pass', 'unknown'];
/** What can not be otherwise by nature. */
const POSSIBLE: Partial<Record<GateCode, readonly string[]>> = {
  // The state or the catalog answers, or there are no facts at all: unknown is only what is too old.
  BACKFILL_DONE: ['expired', 'fail', 'pass'],
  CONFLICTS_OPEN: ['expired', 'fail', 'pass'],
  DEPENDANTS: ['expired', 'fail', 'pass'],
  // Nothing compares yet, so that there is nothing that could pass, fail or age.
  PARITY: ['unknown'],
};

function measured({ gate, from = 'shadow', to = 'dual', now = NOW, ...changes }: Case): Gate {
  const facts = factsOf(changes);
  const table = facts.tables.get('public.orders');
  if (table === undefined) throw new Error('no table');
  return measure(gate, { facts, table, from, to, now });
}

describe('a gate', () => {
  for (const each of cases) {
    test(`${each.gate}: ${each.what}: ${each.is}`, () => {
      const gate = measured(each);
      expect({ result: gate.result, value: gate.value, reason: gate.reason }).toEqual({
        result: each.is,
        value: each.value ?? gate.value,
        reason: gate.reason,
      });
      expect(gate.reason).toMatch(each.says ?? /./);
    });
  }

  test('is tried with each result that it can have, and with evidence that is too old', () => {
    for (const code of GATE_CODES) {
      const own = cases.filter(({ gate }) => gate === code);
      const kinds = own.map(({ what, is }) => (is === 'unknown' && what.includes('expired') ? 'expired' : is));
      expect([code, ...[...new Set(kinds)].toSorted()]).toEqual([code, ...(POSSIBLE[code] ?? ALL)]);
    }
  });

  test('never passes by evidence from later than now: how old it is, nobody knows', () => {
    for (const each of cases.filter(({ is }) => is === 'pass')) {
      const gate = measured({ ...each, now: later(-30 * DAY) });
      expect([each.gate, each.what, gate.result]).not.toEqual([each.gate, each.what, 'pass']);
      // Clocks of two machines are never the same.
      expect([each.gate, each.what, measured({ ...each, now: later(-20_000) }).result]).toEqual([
        each.gate,
        each.what,
        'pass',
      ]);
    }
  });

  test('asks for a write of the new system only where one would be applied', () => {
    for (const [from, next] of [
      ['dual', /change a row/],
      ['shadow', /by way of dual/],
    ] as const) {
      const gate = measured({
        gate: 'REVERSE_TEST',
        what: from,
        from,
        to: 'new-primary',
        writes: { lastEchoAt: undefined },
        is: 'unknown',
      });
      expect(gate.next).toMatch(next);
    }
  });

  test('that failed stays failed, however old that is', () => {
    for (const each of cases.filter(({ is, now }) => is === 'fail' && now === undefined)) {
      const facts = factsOf(each);
      const table = facts.tables.get('public.orders');
      if (table === undefined) throw new Error('no table');
      const now = later(2 * HOUR);
      const gate = measure(each.gate, { facts, table, from: each.from ?? 'shadow', to: each.to ?? 'dual', now });
      expect([each.gate, each.what, gate.result]).toEqual([each.gate, each.what, 'fail']);
    }
  });

  test('never passes by evidence whose time can not be read', () => {
    for (const code of GATE_CODES) {
      for (const to of ['dual', 'new-primary', 'retired'] as const) {
        const facts = factsOf({
          facts: { at: 'never', usesAt: 'never', countingSince: 'never', countedUntil: 'never' },
          live: { at: 'never', calmSince: 'never', testedAt: 'never' },
          writes: { lastEchoAt: 'never' },
          reads: { watchedSince: 'never' },
        });
        const table = facts.tables.get('public.orders');
        if (table === undefined) throw new Error('no table');
        const { result } = measure(code, { facts, table, from: 'shadow', to, now: NOW });
        expect([code, result]).not.toEqual([code, 'pass']);
      }
    }
  });
});

const parity = (until: string) => new Map([['PARITY' as const, waiver('PARITY', until)]]);
const verdictOf = (changes: FactChanges, to: TargetStage = 'dual', now = NOW) =>
  judge(factsOf(changes), 'public.orders', to, now);

describe('a verdict', () => {
  test('is unknown while anything is, and ready when that is waived in the open', () => {
    const without = verdictOf({});
    expect(without.result).toBe('unknown');
    expect(without.gates.filter(({ result }) => result !== 'pass').map(({ code }) => code)).toEqual(['PARITY']);

    const waived = verdictOf({ table: { waivers: parity(ago(-1, 'd')) } });
    expect(waived.result).toBe('ready');
    const gate = waived.gates.find(({ code }) => code === 'PARITY');
    expect(gate).toMatchObject({ result: 'unknown', waiver: { by: 'ada', reason: 'compared by hand' } });
  });

  test('heeds a waiver until it ends, and never one of the slot', () => {
    const table = { waivers: parity(ago(-1, 'h')) };
    expect(verdictOf({ table }).result).toBe('ready');
    const ended = verdictOf({ table, facts: { at: later(2 * HOUR).toISOString() } }, 'dual', later(HOUR));
    expect(ended.result).toBe('unknown');
    expect(ended.gates.find(({ code }) => code === 'PARITY')?.waiver).toBeUndefined();

    const unreadable = verdictOf({ table: { waivers: parity('never') } });
    expect(unreadable.result).toBe('unknown');

    const slot = verdictOf({
      facts: { slot: { ...SLOT, state: 'missing', walStatus: undefined, active: false } },
      table: { waivers: new Map([...parity(ago(-1, 'd')), ['SLOT', waiver('SLOT', ago(-1, 'd'))]]) },
    });
    expect(slot.result).toBe('not-ready');
    expect(slot.gates.find(({ code }) => code === 'SLOT')?.waiver).toBeUndefined();
  });

  test('is not ready where anything failed, whatever is unknown beside it', () => {
    expect(verdictOf({ live: { lagSeconds: 60 } }).result).toBe('not-ready');
  });

  test('becomes unknown with age, and not ready stays so', () => {
    const table = { waivers: parity(ago(-30, 'd')) };
    expect(verdictOf({ table }, 'dual', later(10 * MINUTE)).result).toBe('unknown');
    expect(verdictOf({ table, live: { lagSeconds: 60 } }, 'dual', later(DAY)).result).toBe('not-ready');
  });

  test('on nothing to prove is ready: from dual the way back is free', () => {
    expect(verdictOf({ table: { stage: 'dual' }, live: null }, 'shadow')).toMatchObject({ result: 'ready', gates: [] });
    expect(combine([])).toBe('ready');
  });

  test('to retired asks who still writes, reads and needs the table', () => {
    const retired = verdictOf({ table: { stage: 'new-primary' } }, 'retired');
    expect(retired.gates.map(({ code }) => code)).toEqual(['LEGACY_WRITES', 'LEGACY_READS', 'DEPENDANTS']);
    expect(retired.result).toBe('ready');
  });

  test('on a table that nobody named is refused', () => {
    expect(() => judge(factsOf(), 'public.other', 'dual', NOW)).toThrow(/no table public\.other/);
  });
});
