import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import type { TableStatus } from '../../src/core/status.ts';
import { metricDefinitions } from '../../src/http/metric-definitions.ts';
import { createMetrics } from '../../src/http/metrics.ts';
import { workerStatus } from '../support/worker-status.ts';

/** The samples of the exposition text, by `name{labels}` without the connector. */
async function samples(
  ...statuses: Parameters<ReturnType<typeof createMetrics>['expose']>[0][]
): Promise<Map<string, number>> {
  const metrics = createMetrics('shop');
  let text = '';
  for (const status of statuses) text = await metrics.expose(status, undefined);
  const found = new Map<string, number>();
  for (const line of text.split('\n')) {
    if (!line.startsWith('banyan_')) continue;
    const [series = '', value] = line.split(/ (?=[^ ]+$)/);
    expect(series).toContain('connector="shop"');
    found.set(series.replace(/,?connector="shop"/, '').replace('{}', ''), Number(value));
  }
  return found;
}

const table: TableStatus = workerStatus().tables[0] as TableStatus;

describe('metrics', () => {
  test('show every number of the status under its own name', async () => {
    const found = await samples(workerStatus());
    expect(Object.fromEntries(found)).toMatchObject({
      'banyan_build_info{version="0.1.0",bus_type="eventbridge"}': 1,
      banyan_start_time_seconds: Date.parse('2026-03-01T12:00:00.500Z') / 1000,
      banyan_ready: 1,
      'banyan_state{state="streaming"}': 1,
      'banyan_state{state="halted"}': 0,
      banyan_slot_held_bytes: 1_001,
      banyan_slot_lag_bytes: 1_002,
      banyan_slot_budget_bytes: 1_003,
      'banyan_slot_wal_status{status="reserved"}': 1,
      'banyan_slot_wal_status{status="lost"}': 0,
      banyan_stream_reconnects_total: 1_004,
      banyan_stream_transactions_total: 1_005,
      banyan_stream_unsettled_bytes: 0x20,
      banyan_stream_lag_seconds: 0.25,
      'banyan_bus_state{state="sending"}': 1,
      banyan_bus_events_accepted_total: 1_006,
      banyan_bus_events_retried_total: 1_007,
      banyan_bus_throttled_total: 1_008,
      banyan_bus_requests_total: 1_009,
      banyan_bus_in_flight: 1_010,
      banyan_bus_queued_events: 1_011,
      banyan_dead_letters_parked: 1_012,
      banyan_dead_letter_groups: 1_013,
      banyan_dead_letters_observed_timestamp_seconds: Date.parse('2026-03-01T12:00:03Z') / 1000,
      'banyan_table_changes_total{table="public.orders",operation="insert"}': 1_014,
      'banyan_table_changes_total{table="public.orders",operation="update"}': 1_015,
      'banyan_table_changes_total{table="public.orders",operation="delete"}': 1_016,
      'banyan_table_changes_total{table="public.orders",operation="truncate"}': 1_017,
      'banyan_table_changes_by_origin_total{table="public.orders",origin="legacy"}': 1_028,
      'banyan_table_changes_by_origin_total{table="public.orders",origin="foreign"}': 1_029,
      'banyan_table_changes_by_origin_total{table="public.orders",origin="echo"}': 1_030,
      'banyan_table_changes_by_origin_total{table="public.orders",origin="correction"}': 1_031,
      'banyan_table_changes_by_origin_total{table="public.orders",origin="trigger"}': 1_032,
      'banyan_table_changes_by_origin_total{table="public.orders",origin="refusal"}': 1_033,
      banyan_loop_messages_forged_total: 1_034,
      banyan_loop_changes_stopped_total: 1_035,
      'banyan_loop_changes_replicated_total{origin="pg_16389"}': 1_036,
      'banyan_table_events_accepted_total{table="public.orders"}': 1_018,
      'banyan_table_changes_dropped_total{table="public.orders"}': 1_019,
      'banyan_table_null_conditions_total{table="public.orders"}': 1_020,
      'banyan_table_parked_total{table="public.orders"}': 1_021,
      'banyan_table_held{table="public.orders"}': 0,
      'banyan_backfill_rows_sent{table="public.orders"}': 1_024,
      'banyan_backfill_rows_estimated{table="public.orders"}': 1_025,
      'banyan_backfill_running{table="public.orders"}': 1,
    });
  });

  test('that are not known have no sample, rather than a 0', async () => {
    const status = workerStatus();
    const unknown = {
      ...status.slot,
      walStatus: undefined,
      heldBytes: undefined,
      lagBytes: undefined,
      observedAt: undefined,
    };
    const found = await samples(
      workerStatus({ bus: { ...status.bus, rateLimit: 7 } }),
      workerStatus({
        slot: unknown,
        bus: { ...status.bus, state: undefined },
        deadLetters: undefined,
        findings: undefined,
        stream: { ...status.stream, receivedLsn: undefined, lagSeconds: undefined },
        backfills: status.backfills.map((run) => ({ ...run, rowsEstimated: undefined })),
      }),
    );
    for (const name of [
      'banyan_slot_held_bytes',
      'banyan_slot_lag_bytes',
      'banyan_slot_observed_timestamp_seconds',
      'banyan_stream_lag_seconds',
      'banyan_stream_unsettled_bytes',
      'banyan_bus_rate_limit_requests_per_second',
      'banyan_slot_wal_status',
      'banyan_bus_state',
      'banyan_dead_letter',
      'banyan_findings',
      'banyan_problem',
      'banyan_backfill_rows_estimated',
    ]) {
      expect([name, [...found.keys()].filter((series) => series.startsWith(name))]).toEqual([name, []]);
    }
  });

  test('do not add up from one scrape to the next', async () => {
    const found = await samples(workerStatus(), workerStatus(), workerStatus());
    expect(found.get('banyan_bus_requests_total')).toBe(1_009);
  });

  test('forget a problem that is over', async () => {
    const problem = { kind: 'gap', message: 'm', remedy: 'r', since: '2026-03-01T12:00:00Z' } as const;
    expect((await samples(workerStatus({ problem }))).get('banyan_problem{kind="gap"}')).toBe(1);
    expect((await samples(workerStatus({ problem }), workerStatus())).has('banyan_problem{kind="gap"}')).toBe(false);
  });

  test('have a bounded number of tables, the rest is summed up', async () => {
    const tables = Array.from({ length: 600 }, (_, index) => ({
      ...table,
      table: `tenant_${index}.orders`,
      parked: 1,
    }));
    const found = await samples(workerStatus({ tables }));
    const series = [...found].filter(([name]) => name.startsWith('banyan_table_parked_total'));
    expect(series).toHaveLength(501);
    expect(found.get('banyan_table_parked_total{table="(other)"}')).toBe(100);
  });

  test('escape names of tables', async () => {
    const found = await samples(workerStatus({ tables: [{ ...table, table: 'public."a\\b"\n' }] }));
    expect(found.get('banyan_table_parked_total{table="public.\\"a\\\\b\\"\\n"}')).toBe(1_021);
  });

  test('follow the naming of Prometheus', () => {
    for (const { name, type, help } of metricDefinitions) {
      expect(name).toMatch(/^banyan_[a-z_]+$/);
      expect([name, name.endsWith('_total')]).toEqual([name, type === 'counter']);
      expect([name, help]).toEqual([name, expect.stringMatching(/^[A-Z0-9].*\.$/)]);
    }
  });

  test('are all described in docs/metrics.md, and nothing else is', async () => {
    const documented = (await readFile('docs/metrics.md', 'utf8')).matchAll(/^\| `(banyan_[a-z_]+)/gm);
    const names = metricDefinitions.map(({ name }) => name);
    expect([...documented].map(([, name]) => name)).toEqual(names);
  });
});
