import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import type { ProgressReport } from '../../src/core/progress.ts';
import type { WorkerStatus } from '../../src/core/status.ts';
import { startEmfLog } from '../../src/http/emf-log.ts';
import { EmbeddedMetricFormat, type EmbeddedMetrics as Line } from '../../src/http/emf.ts';
import { eventually } from '../support/eventually.ts';
import { progressReport, progressSource, tableReport } from '../support/progress-report.ts';
import { workerStatus } from '../support/worker-status.ts';

const UNITS = new Set(
  'Seconds Microseconds Milliseconds Percent Count None Count/Second Bytes Kilobytes Megabytes Gigabytes Bytes/Second'.split(
    ' ',
  ),
);
const now = new Date('2026-03-01T12:00:00Z');

/** What the specification of the embedded metric format finds wrong with a line; empty: nothing. */
function problemsOf(text: string): string[] {
  if (Buffer.byteLength(text) > 256 * 1_024) return ['an event is at most 256 kB'];
  const line = JSON.parse(text) as Line;
  const {
    _aws: { Timestamp, CloudWatchMetrics },
  } = line;
  const problems = Number.isSafeInteger(Timestamp) && Timestamp > 0 ? [] : ['Timestamp is no time in ms'];
  if (CloudWatchMetrics.length === 0) problems.push('no directive');
  for (const { Namespace, Dimensions, Metrics } of CloudWatchMetrics) {
    if (!/^[\w.\-/#:]{1,255}$/.test(Namespace) || Namespace.startsWith('AWS/')) problems.push('not a namespace');
    if (Metrics.length === 0 || Metrics.length > 100) problems.push(`${Metrics.length} metrics in a directive`);
    for (const set of Dimensions) {
      if (set.length > 30) problems.push(`${set.length} dimensions`);
      for (const name of set) {
        const value = line[name];
        if (typeof value !== 'string' || value.length === 0 || value.length > 1_024) problems.push(`dimension ${name}`);
      }
    }
    for (const { Name, Unit } of Metrics) {
      if (!UNITS.has(Unit)) problems.push(`${Name} has the unit ${Unit}`);
      const value = line[Name];
      if (typeof value !== 'number' || !Number.isFinite(value)) problems.push(`${Name} is no number`);
      if (Name.length > 1_024) problems.push(`${Name} is too long`);
    }
  }
  return problems;
}

function linesOf(format: EmbeddedMetricFormat, status: WorkerStatus, report?: ProgressReport): Line[] {
  return format.linesOf(status, report, now);
}

describe('the embedded metric format', () => {
  test('is what CloudWatch reads, with everything that there can be', () => {
    const names = Array.from({ length: 300 }, (_, index) => `tenant_${index}.${'x'.repeat(60)}`);
    const [table] = workerStatus().tables;
    const lines = linesOf(
      new EmbeddedMetricFormat('shop'),
      workerStatus({ tables: names.map((name) => ({ ...(table as NonNullable<typeof table>), table: name })) }),
      progressReport({ tables: names.map((name) => tableReport(name)) }),
    );
    expect(lines.flatMap((line) => problemsOf(JSON.stringify(line)))).toEqual([]);
    // The connector, and fifty tables: more would be paid for.
    expect(lines.length).toBeGreaterThan(50);
    expect(lines.length).toBeLessThanOrEqual(52);
    expect(lines[0]).toMatchObject({
      _aws: { Timestamp: now.getTime() },
      connector: 'shop',
      banyan_slot_held_bytes: 1_001,
      banyan_ready: 1,
    });
    const directive = lines[0]?.['_aws'].CloudWatchMetrics[0];
    expect(directive).toMatchObject({ Namespace: 'Banyan', Dimensions: [['connector']] });
    const unitOf = (name: string) => directive?.Metrics.find(({ Name }) => Name === name)?.Unit;
    expect(unitOf('banyan_slot_held_bytes')).toBe('Bytes');
    expect(unitOf('banyan_stream_lag_seconds')).toBe('Seconds');
    expect(unitOf('banyan_slot_growth_bytes_per_second')).toBe('Bytes/Second');
    expect(unitOf('banyan_bus_events_accepted_total')).toBe('Count');
    expect(lines.find((line) => line['table'] === names[7])).toMatchObject({
      connector: 'shop',
      banyan_table_legacy_writes_ratio: 0.124,
      banyan_table_parked_total: 1_021,
    });
  });

  test('has of counters what was added since the line before, and of gauges what is', () => {
    const format = new EmbeddedMetricFormat('shop');
    const { bus, slot } = workerStatus();
    const accepted = (number: number) =>
      linesOf(format, workerStatus({ bus: { ...bus, accepted: number } }))[0]?.['banyan_bus_events_accepted_total'];
    expect([accepted(10), accepted(25), accepted(25)]).toEqual([10, 15, 0]);
    const held = () => linesOf(format, workerStatus({ slot }))[0]?.['banyan_slot_held_bytes'];
    expect([held(), held()]).toEqual([1_001, 1_001]);
  });

  test('leaves out what is not known', () => {
    const { slot } = workerStatus();
    const [line] = linesOf(new EmbeddedMetricFormat('shop'), workerStatus({ slot: { ...slot, heldBytes: undefined } }));
    expect(line).not.toHaveProperty('banyan_slot_held_bytes');
    expect(problemsOf(JSON.stringify(line))).toEqual([]);
  });

  test.each([
    [{ Namespace: 'AWS/X' }, 'not a namespace'],
    [{ Metrics: [] }, '0 metrics in a directive'],
    [{ Metrics: Array.from({ length: 101 }, () => ({ Name: 'a', Unit: 'Count' })) }, '101 metrics in a directive'],
    [{ Dimensions: [Array.from({ length: 31 }, () => 'connector')] }, '31 dimensions'],
    [{ Dimensions: [['other']] }, 'dimension other'],
    [{ Metrics: [{ Name: 'a', Unit: 'Furlongs' }] }, 'a has the unit Furlongs'],
    [{ Metrics: [{ Name: 'b', Unit: 'Count' }] }, 'b is no number'],
  ])('sees what is planted: %#', (part, problem) => {
    const directive = { Namespace: 'N', Dimensions: [['connector']], Metrics: [{ Name: 'a', Unit: 'Count' }], ...part };
    const line = { _aws: { Timestamp: 1, CloudWatchMetrics: [directive] }, connector: 'shop', a: 1 };
    expect(problemsOf(JSON.stringify(line))).toEqual([problem]);
  });

  test('is written again and again, raw, and once more at the end', async () => {
    const written: string[] = [];
    const emf = startEmfLog({
      status: workerStatus,
      progress: progressSource(),
      write: (line) => void written.push(line),
      log: pino({ level: 'silent' }),
      everyMs: 5,
    });
    await eventually(() => written.length > 4);
    await emf.close();
    const atEnd = written.length;
    expect(written.flatMap(problemsOf)).toEqual([]);
    expect(written.every((line) => !line.includes('\n'))).toBe(true);
    expect(written.some((line) => line.includes('banyan_table_ready'))).toBe(true);
    expect(written).toHaveLength(atEnd);
  });

  test('goes on without the report while none can be made', async () => {
    const written: string[] = [];
    const emf = startEmfLog({
      status: workerStatus,
      progress: { report: async () => Promise.reject(new Error('away')) },
      write: (line) => void written.push(line),
      log: pino({ level: 'silent' }),
      everyMs: 5,
    });
    await eventually(() => written.length > 1);
    await emf.close();
    expect(written[0]).toContain('banyan_slot_held_bytes');
    expect(written.join('')).not.toContain('banyan_table_ready');
  });
});
