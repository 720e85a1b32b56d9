import type { WorkerStatus } from '../../src/core/status.ts';

/** A worker that streams, with every number its own, so that a metric that reads the wrong one is seen. */
export function workerStatus(more: Partial<WorkerStatus> = {}): WorkerStatus {
  return {
    name: 'shop',
    version: '0.1.0',
    startedAt: '2026-03-01T12:00:00.500Z',
    state: 'streaming',
    problem: undefined,
    slot: {
      name: 'banyan_shop',
      walStatus: 'reserved',
      restartLsn: '0/100',
      confirmedLsn: '0/200',
      heldBytes: 1_001,
      lagBytes: 1_002,
      budgetBytes: 1_003,
      observedAt: '2026-03-01T12:00:01Z',
    },
    server: { systemId: '7412345678901234567', timeline: 1, epoch: 1 },
    stream: {
      reconnects: 1_004,
      transactions: 1_005,
      receivedLsn: '1/00000010',
      settledLsn: '0/FFFFFFF0',
      lagSeconds: 0.25,
      calmSince: '2026-03-01T12:00:00Z',
    },
    bus: {
      type: 'eventbridge',
      name: 'shop-legacy',
      state: 'sending',
      accepted: 1_006,
      retried: 1_007,
      throttled: 1_008,
      requests: 1_009,
      inFlight: 1_010,
      queued: 1_011,
      rateLimit: undefined,
    },
    traffic: { countedUntil: '2026-03-01T12:00:02Z' },
    loop: { forged: 1_034, exceeded: 1_035, origins: { pg_16389: 1_036 } },
    reverse: undefined,
    deadLetters: { parked: 1_012, groups: 1_013 },
    tables: [
      {
        table: 'public.orders',
        received: { insert: 1_014, update: 1_015, delete: 1_016, truncate: 1_017, read: 1_022 },
        accepted: 1_018,
        dropped: 1_019,
        nullConditions: 1_020,
        parked: 1_021,
        origins: { legacy: 1_028, foreign: 1_029, echo: 1_030, correction: 1_031, trigger: 1_032, refusal: 1_033 },
        held: undefined,
      },
    ],
    backfills: [
      {
        table: 'public.orders',
        partition: undefined,
        run: 1_023,
        status: 'running',
        rowsSent: 1_024,
        rowsEstimated: 1_025,
        ratePerSecond: 1_026,
        etaSeconds: 1_027,
        reason: undefined,
      },
    ],
    findings: [],
    ...more,
  };
}
