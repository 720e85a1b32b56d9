import type { ProgressReport, TableReport } from '../../src/core/progress.ts';
import { displayName } from '../../src/postgres/identifier.ts';
import type { ProgressSource } from '../../src/http/progress-routes.ts';

/** Of a name without dots in it. */
function displayOf(table: string): string {
  const [schema = '', name = ''] = table.split('.');
  return displayName({ schema, name });
}

/** A table that moves, with one gate of each result. */
export function tableReport(table: string, more: Partial<TableReport> = {}): TableReport {
  const gate = {
    observedAt: '2026-03-01T11:59:00.000Z',
    ttlSeconds: 300,
    source: 'WAL',
    reason: 'as measured',
    waiver: undefined,
  };
  return {
    table,
    display: displayOf(table),
    stage: 'dual',
    stageSince: '2026-02-01T12:00:00.000Z',
    stageBy: 'ada',
    primary: 'legacy',
    reverse: 'on',
    target: 'new-primary',
    verdict: 'not-ready',
    gates: [
      { ...gate, code: 'LAG', result: 'pass', value: '0.8 s', threshold: '≤ 5 s', next: undefined },
      { ...gate, code: 'LEGACY_WRITES', result: 'fail', value: '12.4 %', threshold: '≤ 1 %', next: `writers ${table}` },
      {
        ...gate,
        code: 'PARITY',
        result: 'unknown',
        value: undefined,
        threshold: 'no mismatch',
        observedAt: undefined,
        next: undefined,
      },
    ],
    next: `verdict ${table} --to new-primary`,
    backfill: {
      status: 'completed',
      rowsSent: 1_000,
      rowsEstimated: 990,
      share: 1,
      ratePerSecond: undefined,
      etaSeconds: undefined,
      reason: undefined,
      finishedAt: '2026-02-01T11:00:00.000Z',
    },
    writes: {
      legacy: 124,
      reverse: 876,
      trigger: 3,
      foreign: 0,
      windowSeconds: 86_400,
      countedSince: '2026-01-01T00:00:00.000Z',
      countedUntil: '2026-03-01T12:00:00.000Z',
      covered: 'whole',
      uncovered: undefined,
      legacyShare: 0.124,
    },
    recent: [{ at: '2026-03-01T11:59:00.000Z', legacy: 1, reverse: 7, trigger: 0, foreign: 0, events: 1 }],
    open: { deadLetters: 0, waiting: 0, conflicts: 0, held: undefined },
    lastEchoAt: '2026-03-01T11:59:00.000Z',
    changes: [],
    ...more,
  };
}

export function progressReport(more: Partial<ProgressReport> = {}): ProgressReport {
  return {
    name: 'shop',
    at: '2026-03-01T12:00:00.000Z',
    stale: undefined,
    database: 'shop_app@db1:5432/shop',
    gaps: [],
    worker: { state: 'streaming', problem: undefined, version: '0.1.0', startedAt: '2026-03-01T00:00:00.000Z' },
    slot: {
      name: 'banyan_shop',
      active: true,
      walStatus: 'reserved',
      lagSeconds: 0.8,
      lagBytes: 1_200_000,
      observedAt: '2026-03-01T11:59:59.000Z',
      wal: {
        heldBytes: 48_000_000,
        budgetBytes: 10_000_000_000,
        growthPerSecond: 0,
        exhaustedInSeconds: undefined,
        action: 'warn',
      },
    },
    bus: { name: 'shop-legacy', state: 'sending', accepted: 10, throttled: 0, queued: 0 },
    reverse: { state: 'running', problem: undefined, inHand: 0, lagSeconds: 0.3 },
    tables: [tableReport('public.orders'), tableReport('public.customers', { stage: 'shadow' })],
    ...more,
  };
}

/** Two seconds after `progressReport`, when nothing but time has passed. */
export function laterReport(): ProgressReport {
  const report = progressReport({ at: '2026-03-01T12:00:02.000Z' });
  const { slot, tables } = report;
  return {
    ...report,
    slot: {
      ...slot,
      lagSeconds: 0.9,
      lagBytes: 464,
      observedAt: '2026-03-01T12:00:01.000Z',
      wal: { ...slot.wal, heldBytes: 48_000_464, growthPerSecond: 232, exhaustedInSeconds: 42_900_000 },
    },
    tables: tables.map((table) => ({
      ...table,
      gates: table.gates.map((gate) => ({
        ...gate,
        observedAt: gate.observedAt && '2026-03-01T12:00:01.000Z',
        ...(gate.code === 'LAG' ? { value: '0.9 s', reason: 'for 17 min' } : {}),
      })),
      writes: { ...table.writes, countedUntil: '2026-03-01T12:00:01.500Z' },
    })),
  };
}

/** Answers as it is told to. */
export function progressSource(report: () => ProgressReport = progressReport): ProgressSource {
  return {
    report: async () => report(),
    history: async ({ table, stepSeconds }) => ({
      table,
      stepSeconds,
      countedSince: undefined,
      countedUntil: undefined,
      traffic: [],
      health: [],
    }),
  };
}
