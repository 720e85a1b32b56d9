import { describe, expect, test } from 'vitest';
import { ProgressMeter } from '../../src/capture/backfill/progress.ts';
import type { BackfillProgress } from '../../src/core/status.ts';
import { progressLine } from '../../src/demo/progress-line.ts';
import type { BackfillRun } from '../../src/state/backfills.ts';

const running: BackfillProgress = {
  table: 'shop.orders',
  partition: undefined,
  run: 1,
  status: 'running',
  rowsSent: 3_200,
  rowsEstimated: 8_000,
  ratePerSecond: 1_449.6,
  etaSeconds: 3.31,
  reason: undefined,
};

const run = (rowsSent: number, more: Partial<BackfillRun> = {}): BackfillRun => ({
  id: 1,
  table: 'shop.orders',
  status: 'running',
  where: undefined,
  partition: undefined,
  key: ['id integer'],
  requestedBy: 'configuration',
  rowsSent,
  rowsEstimated: 10_000,
  requestedAt: '2026-03-01T12:00:00.000Z',
  startedAt: '2026-03-01T12:00:00.000Z',
  finishedAt: undefined,
  reason: undefined,
  ...more,
});

describe('the progress line', () => {
  test('has rows, share, rate and time, and says what is estimated', () => {
    expect(progressLine(running)).toBe('backfill of shop.orders: 3,200 of ~8,000 rows (~40 %), 1,450/s, ~3 s left');
  });

  test('leaves out what is not known', () => {
    const young = {
      ...running,
      rowsSent: 0,
      rowsEstimated: undefined,
      ratePerSecond: undefined,
      etaSeconds: undefined,
    };
    expect(progressLine(young)).toBe('backfill of shop.orders: 0 rows');
  });

  test('never says that all is done of a run that goes on, however wrong the estimate was', () => {
    const more = { ...running, rowsSent: 9_000, etaSeconds: undefined };
    expect(progressLine(more)).toBe('backfill of shop.orders: 9,000 of ~8,000 rows (~99 %), 1,450/s');
    expect(progressLine({ ...running, rowsSent: 5, rowsEstimated: 0, etaSeconds: undefined })).toBe(
      'backfill of shop.orders: 5 of ~0 rows, 1,450/s',
    );
  });

  test.each([
    [0.2, '~1 s left'],
    [89, '~89 s left'],
    [600, '~10 min left'],
    [7_320, '~2 h 2 min left'],
  ])('says %d seconds as a person would', (etaSeconds, text) => {
    expect(progressLine({ ...running, etaSeconds })).toMatch(new RegExp(`, ${text}$`));
  });

  test('says why a run waits, was paused, or failed', () => {
    const reason = 'waiting: the bus takes nothing at the moment';
    expect(progressLine({ ...running, ratePerSecond: 0, etaSeconds: undefined, reason })).toBe(
      `backfill of shop.orders: 3,200 of ~8,000 rows (~40 %), 0/s, ${reason}`,
    );
    const failed = { ...running, ratePerSecond: undefined, etaSeconds: undefined, status: 'failed' as const };
    expect(progressLine({ ...failed, reason: 'the table is gone' })).toBe(
      'backfill of shop.orders: 3,200 of ~8,000 rows (~40 %), failed, the table is gone',
    );
  });

  test('of a completed run has the rows that were sent, which are exact', () => {
    expect(progressLine({ ...running, status: 'completed', rowsSent: 8_123 })).toBe(
      'backfill of shop.orders: completed, 8,123 rows',
    );
  });
});

describe('the progress of a run', () => {
  test('has a rate as soon as it was looked at twice, and that of the last ten seconds', () => {
    const meter = new ProgressMeter();
    expect(meter.look([run(1_000)], 0)[0]).toMatchObject({ ratePerSecond: undefined, etaSeconds: undefined });
    expect(meter.look([run(2_000)], 1_000)[0]).toMatchObject({ ratePerSecond: 1_000, etaSeconds: 8 });
    for (let second = 2; second <= 20; second += 1) meter.look([run(2_000)], second * 1_000);
    expect(meter.look([run(2_000)], 21_000)[0]).toMatchObject({ ratePerSecond: 0, etaSeconds: undefined });
  });

  test('counts nothing of the time before a pause', () => {
    const meter = new ProgressMeter();
    meter.look([run(0)], 0);
    expect(meter.look([run(500, { status: 'paused' })], 1_000)[0]).toMatchObject({ ratePerSecond: undefined });
    expect(meter.look([run(500)], 5_000)[0]).toMatchObject({ ratePerSecond: undefined });
    expect(meter.look([run(600)], 6_000)[0]).toMatchObject({ ratePerSecond: 100 });
  });

  test('has no time left where more was sent than anybody expected', () => {
    const meter = new ProgressMeter();
    meter.look([run(10_000)], 0);
    expect(meter.look([run(11_000)], 1_000)[0]).toMatchObject({ ratePerSecond: 1_000, etaSeconds: undefined });
  });
});
