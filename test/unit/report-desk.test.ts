import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { BanyanError } from '../../src/core/errors.ts';
import type { ProgressReport } from '../../src/core/progress.ts';
import { ReportDesk } from '../../src/progress/report-desk.ts';
import { eventually } from '../support/eventually.ts';
import { progressReport } from '../support/progress-report.ts';

/** A report whose making is answered by hand, and how often it was begun. */
function workshop() {
  const made: PromiseWithResolvers<ProgressReport>[] = [];
  const logged: string[] = [];
  return {
    made,
    logged,
    log: pino({ level: 'debug' }, { write: (line: string) => void logged.push(line) }),
    make: () => {
      const next = Promise.withResolvers<ProgressReport>();
      made.push(next);
      return next.promise;
    },
  };
}

const away = new BanyanError('database-unavailable', 'the server does not answer');

describe('the desk', () => {
  test('makes nothing before somebody asks, and one report for all who do', async () => {
    const { make, made, log } = workshop();
    const desk = new ReportDesk({ make, log, everyMs: 60_000 });
    expect(made).toHaveLength(0);
    const asked = [desk.read(), desk.read(), desk.read()];
    expect(made).toHaveLength(1);
    const report = progressReport();
    made[0]?.resolve(report);
    expect(await Promise.all(asked)).toEqual([report, report, report]);
    expect(await desk.read()).toBe(report);
    expect(made).toHaveLength(1);
  });

  test('makes the next one when the last is old enough', async () => {
    const { make, made, log } = workshop();
    const desk = new ReportDesk({ make, log, everyMs: 20 });
    const first = desk.read();
    made[0]?.resolve(progressReport());
    await first;
    await eventually(
      () => {
        void desk.read();
        return made.length > 1;
      },
      () => 'no second report was begun',
    );
    expect(made).toHaveLength(2);
  });

  test('shows the last one while none can be made, with why and since when, and asks no more often for it', async () => {
    const { make, made, log, logged } = workshop();
    const desk = new ReportDesk({ make, log, everyMs: 0 });
    const first = desk.read();
    made[0]?.resolve(progressReport());
    await first;
    const second = desk.read();
    made[1]?.reject(away);
    const shown = await second;
    const since = shown.stale?.since;
    expect(shown).toEqual({
      ...progressReport(),
      stale: { kind: away.kind, message: away.message, remedy: away.remedy, since },
    });
    const third = desk.read();
    made[2]?.reject(away);
    expect((await third).stale?.since).toBe(since);
    // The same failure is news once.
    expect(logged.filter((line) => line.includes(away.message))).toHaveLength(1);
    const fourth = desk.read();
    made[3]?.resolve(progressReport({ at: '2026-03-01T13:00:00.000Z' }));
    expect((await fourth).stale).toBeUndefined();
  });

  test('does not ask a database that fails more often than one that answers', async () => {
    const { make, made, log } = workshop();
    const desk = new ReportDesk({ make, log, everyMs: 60_000 });
    const first = desk.read();
    made[0]?.reject(away);
    await expect(first).rejects.toBe(away);
    await expect(desk.read()).rejects.toBe(away);
    expect(made).toHaveLength(1);
  });

  test('shows the last one to whoever would wait for long', async () => {
    const { make, made, log } = workshop();
    const desk = new ReportDesk({ make, log, everyMs: 0, patienceMs: 10 });
    const first = desk.read();
    made[0]?.resolve(progressReport());
    await first;
    expect((await desk.read()).stale).toMatchObject({ message: expect.stringContaining('takes long') });
    expect(made).toHaveLength(2);
  });
});
