import { describe, expect, test } from 'vitest';
import type { BackfillRun } from '../../src/state/backfills.ts';
import { backfillReport } from '../../src/progress/backfill-report.ts';
import { nextStep, type StepFacts } from '../../src/progress/next-step.ts';
import { tableReport } from '../support/progress-report.ts';

const { open, gates } = tableReport('public.orders');
const problem = { kind: 'schema-drift', message: 'm', remedy: 'r', since: '2026-03-01T12:00:00Z' } as const;

function next(more: Partial<StepFacts>): string | undefined {
  return nextStep({
    display: 'public.orders',
    stage: 'shadow',
    target: 'dual',
    verdict: 'not-ready',
    gates,
    backfill: undefined,
    open,
    isRunning: true,
    isInGap: false,
    ...more,
  });
}

function run(more: Partial<BackfillRun>): BackfillRun {
  return {
    id: 7,
    table: 'public.orders',
    status: 'running',
    where: undefined,
    partition: undefined,
    key: ['id'],
    requestedBy: 'ada',
    rowsSent: 0,
    rowsEstimated: 1_000,
    requestedAt: '2026-03-01T12:00:00Z',
    startedAt: '2026-03-01T12:00:00Z',
    finishedAt: undefined,
    reason: undefined,
    ...more,
  };
}

describe('the next step', () => {
  test.each<[what: string, facts: Partial<StepFacts>, step: string | undefined]>([
    [
      'a gap before all else: until it is dealt with nothing is sent',
      { isInGap: true, open: { ...open, held: problem } },
      'recover',
    ],
    [
      'then a held table',
      { open: { ...open, held: problem, conflicts: 3 } },
      'dead-letters list --table public.orders',
    ],
    [
      'then a conflict',
      { open: { ...open, conflicts: 1, deadLetters: 2 } },
      'conflicts list --open --table public.orders',
    ],
    ['then a dead letter', { open: { ...open, deadLetters: 1 } }, 'dead-letters list --table public.orders'],
    ['a verdict where several gates stand in the way', {}, 'verdict public.orders --to dual'],
    ['the gate’s own step where it is the only one', { gates: gates.slice(0, 2) }, 'writers public.orders'],
    ['the move where it is ready', { verdict: 'ready', target: 'new-primary' }, 'stage public.orders --to new-primary'],
    ['nothing where nothing is left', { stage: 'retired', target: undefined }, undefined],
    ['a worker where a table waits for it', { stage: 'mapped', target: 'shadow', isRunning: false }, 'run'],
    [
      'why it waits',
      {
        stage: 'backfilling',
        target: 'shadow',
        backfill: backfillReport(run({ reason: 'lag 6.1 s > 5 s' }), undefined),
      },
      'waiting: lag 6.1 s > 5 s',
    ],
    [
      'a resume',
      { stage: 'backfilling', target: 'shadow', backfill: backfillReport(run({ status: 'paused' }), undefined) },
      'backfill public.orders --resume',
    ],
    [
      'a restart',
      { stage: 'backfilling', target: 'shadow', backfill: backfillReport(run({ status: 'failed' }), undefined) },
      'backfill public.orders --restart',
    ],
    ['a name as a shell takes it', { display: '"Sales"."Order Items"' }, `verdict '"Sales"."Order Items"' --to dual`],
  ])('is %s', (_, facts, step) => {
    expect(next(facts)).toBe(step);
  });

  test('does not count what is waived', () => {
    const waiver = { by: 'ada', reason: 'compared by hand', until: '2026-04-01T00:00:00Z' };
    const waived = gates.map((gate) => (gate.code === 'PARITY' ? { ...gate, waiver } : gate));
    expect(next({ gates: waived })).toBe('writers public.orders');
  });
});

describe('how far a backfill is', () => {
  test('is never all of it before it is complete, whatever the planner estimated', () => {
    const shares = [0, 500, 999, 1_000, 5_000].map((rowsSent) => backfillReport(run({ rowsSent }), undefined).share);
    expect(shares).toEqual([0, 0.5, 0.99, 0.99, 0.99]);
    expect(backfillReport(run({ status: 'completed', rowsSent: 900 }), undefined).share).toBe(1);
    for (const rowsEstimated of [undefined, 0]) {
      expect(backfillReport(run({ rowsSent: 5, rowsEstimated }), undefined).share).toBeUndefined();
    }
  });

  test('has the pace of the same run only, as the worker sees it', () => {
    const seen = {
      table: 'public.orders',
      partition: undefined,
      status: 'running',
      rowsSent: 1,
      rowsEstimated: 1,
    } as const;
    const live = { ...seen, run: 7, ratePerSecond: 100, etaSeconds: 5, reason: undefined };
    expect(backfillReport(run({}), live)).toMatchObject({ ratePerSecond: 100, etaSeconds: 5 });
    expect(backfillReport(run({ id: 8 }), live)).toMatchObject({ ratePerSecond: undefined, etaSeconds: undefined });
    expect(backfillReport(run({ status: 'paused' }), live).etaSeconds).toBeUndefined();
  });
});
