import { type ProgressReport, STAGES, type TableReport } from '../core/progress.ts';
import { MAX_TABLES, type MetricDefinition, type Sample, summedUp } from './metric.ts';

/** How far the migration is. No samples while no report can be made. */
export const progressMetrics: readonly MetricDefinition[] = [
  {
    name: 'banyan_progress_timestamp_seconds',
    type: 'gauge',
    help: 'When the tables were looked at for what follows, seconds since 1970-01-01 UTC.',
    read: (_status, report) => (report === undefined ? [] : [{ value: Date.parse(report.at) / 1_000 }]),
  },
  {
    name: 'banyan_table_stage',
    type: 'gauge',
    help: 'Stage of the table: 1 for the one it is in.',
    labels: ['table', 'stage'],
    read: (_status, report) =>
      STAGES.flatMap((stage) =>
        summedUp(report?.tables ?? [], (table) => (table.stage === stage ? 1 : 0)).map(({ value, labels }) => ({
          value,
          labels: { ...labels, stage },
        })),
      ),
  },
  {
    name: 'banyan_table_gate_passed',
    type: 'gauge',
    help: 'Gates of the table’s next move: 1 passed, 0 failed, whatever is waived; no sample: unknown.',
    labels: ['table', 'gate'],
    read: (_status, report) =>
      told(report).flatMap(({ table, gates }) =>
        gates.flatMap(({ code, result }) =>
          result === 'unknown' ? [] : [{ value: result === 'pass' ? 1 : 0, labels: { table, gate: code } }],
        ),
      ),
  },
  ofTable('banyan_table_ready', {
    help: '1 where the table may make its next move, else 0; no sample: unknown, or no move is left.',
    read: ({ verdict }) => (verdict === undefined || verdict === 'unknown' ? undefined : Number(verdict === 'ready')),
  }),
  ofTable('banyan_table_gates_waived', {
    help: 'Gates of the table’s next move that a person has waived.',
    read: ({ gates }) => gates.filter(({ waiver }) => waiver !== undefined).length,
  }),
  ofTable('banyan_table_legacy_writes_ratio', {
    help: 'Share of the legacy system in the writes of progress.gates.legacyWrites.window, 0 to 1; no sample: no writes.',
    read: ({ writes }) => writes.legacyShare,
  }),
  ofTable('banyan_table_last_echo_timestamp_seconds', {
    help: 'When the stream last showed a write of reverse sync, seconds since 1970-01-01 UTC.',
    read: ({ lastEchoAt }) => (lastEchoAt === undefined ? undefined : Date.parse(lastEchoAt) / 1_000),
  }),
  ofTable('banyan_table_dead_letters', {
    help: 'Dead letters of both directions that wait for a person.',
    read: ({ open }) => open.deadLetters,
  }),
  ofTable('banyan_table_letters_waiting', {
    help: 'Events of the new system that wait for something to come.',
    read: ({ open }) => open.waiting,
  }),
  ofTable('banyan_table_conflicts_open', {
    help: 'Conflicts that a person has to decide.',
    read: ({ open }) => open.conflicts,
  }),
];

function ofTable(
  name: string,
  { help, read }: { readonly help: string; readonly read: (table: TableReport) => number | undefined },
): MetricDefinition {
  return {
    name,
    type: 'gauge',
    help,
    labels: ['table'],
    read: (_status, report) =>
      told(report).flatMap((table): Sample[] => {
        const value = read(table);
        return value === undefined ? [] : [{ value, labels: { table: table.table } }];
      }),
  };
}

/** What can not be summed up is told of so many tables. */
function told(report: ProgressReport | undefined): readonly TableReport[] {
  return report?.tables.slice(0, MAX_TABLES) ?? [];
}
