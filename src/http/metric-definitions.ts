import { parseLsn } from '../core/lsn.ts';
import type { BackfillProgress, LoopStatus, TableStatus, WorkerState, WorkerStatus } from '../core/status.ts';
import { byTable, type MetricDefinition, OTHERS, type Sample, sampleOf, summedUp } from './metric.ts';
import { progressMetrics } from './progress-metrics.ts';
import { isReady } from './readiness.ts';
import { reverseMetrics } from './reverse-metrics.ts';

const MAX_ORIGINS = 50;

const STATES: readonly WorkerState[] = [
  'starting',
  'standby',
  'catching-up',
  'streaming',
  'waiting',
  'halted',
  'stopping',
];
const WAL_STATUSES = ['reserved', 'extended', 'unreserved', 'lost'] as const;
const BUS_STATES: readonly NonNullable<WorkerStatus['bus']['state']>[] = ['sending', 'waiting', 'halted'];
const SEVERITIES = ['error', 'warning', 'info'] as const;
const ORIGINS = ['legacy', 'foreign', 'echo', 'correction', 'trigger', 'refusal'] as const;
const OPERATIONS = ['insert', 'update', 'delete', 'truncate', 'read'] as const;

/** docs/metrics.md describes them; a test keeps the two in step. */
export const metricDefinitions: readonly MetricDefinition[] = [
  {
    name: 'banyan_build_info',
    type: 'gauge',
    help: 'Version of the worker and type of its bus; always 1.',
    labels: ['version', 'bus_type'],
    read: ({ version, bus }) => [{ value: 1, labels: { version, bus_type: bus.type } }],
  },
  gauge('banyan_start_time_seconds', 'When the worker started, seconds since 1970-01-01 UTC.', (status) =>
    seconds(status.startedAt),
  ),
  gauge('banyan_ready', '1 where /readyz answers 200, else 0.', ({ state }) => (isReady(state) ? 1 : 0)),
  oneOf('banyan_state', 'State of the worker: 1 for the one it is in.', {
    label: 'state',
    values: STATES,
    current: ({ state }) => state,
  }),
  {
    name: 'banyan_problem',
    type: 'gauge',
    help: 'What holds the worker up, by kind; no sample while nothing does.',
    labels: ['kind'],
    read: ({ problem }) => (problem === undefined ? [] : [{ value: 1, labels: { kind: problem.kind } }]),
  },
  {
    name: 'banyan_findings',
    type: 'gauge',
    help: 'Findings of the checks that the worker runs, by severity; no sample: no session streams.',
    labels: ['severity'],
    read: ({ findings }) =>
      findings === undefined
        ? []
        : SEVERITIES.map((severity) => ({
            value: findings.filter((finding) => finding.severity === severity).length,
            labels: { severity },
          })),
  },

  gauge('banyan_slot_held_bytes', 'WAL that the server keeps for the slot.', ({ slot }) => slot.heldBytes),
  gauge('banyan_slot_budget_bytes', 'WAL that the slot may hold (legacy.walBudget).', ({ slot }) => slot.budgetBytes),
  gauge(
    'banyan_slot_growth_bytes_per_second',
    'What the slot holds has grown by, over the last minutes; no sample: not seen for long enough.',
    ({ slot }) => slot.growthPerSecond,
  ),
  gauge(
    'banyan_slot_budget_exhausted_in_seconds',
    'Until the slot’s budget is used up, at that growth; no sample: it does not grow.',
    ({ slot }) => slot.exhaustedInSeconds,
  ),
  gauge(
    'banyan_slot_lag_bytes',
    'WAL between the end of the server’s WAL and the confirmed position.',
    ({ slot }) => slot.lagBytes,
  ),
  oneOf('banyan_slot_wal_status', 'The slot’s wal_status: 1 for the one it has; no sample: not known.', {
    label: 'status',
    values: WAL_STATUSES,
    current: ({ slot }) => slot.walStatus,
  }),
  gauge(
    'banyan_slot_observed_timestamp_seconds',
    'When the server was last asked about the slot, seconds since 1970-01-01 UTC.',
    ({ slot }) => seconds(slot.observedAt),
  ),

  gauge(
    'banyan_stream_lag_seconds',
    'How long the last heartbeat was on its way through the stream, by the worker’s clock.',
    ({ stream }) => stream.lagSeconds,
  ),
  gauge('banyan_stream_unsettled_bytes', 'WAL received and not yet settled.', ({ stream }) =>
    distance(stream.settledLsn, stream.receivedLsn),
  ),
  counter('banyan_stream_transactions_total', 'Transactions received.', ({ stream }) => stream.transactions),
  counter('banyan_stream_reconnects_total', 'Times the stream was connected again.', ({ stream }) => stream.reconnects),

  oneOf('banyan_bus_state', 'State of sending: 1 for the one it is in; no sample: no session streams.', {
    label: 'state',
    values: BUS_STATES,
    current: ({ bus }) => bus.state,
  }),
  counter('banyan_bus_events_accepted_total', 'Events that the bus accepted.', ({ bus }) => bus.accepted),
  counter(
    'banyan_bus_events_retried_total',
    'Events sent again after a failure that passes.',
    ({ bus }) => bus.retried,
  ),
  counter('banyan_bus_throttled_total', 'Times the bus asked to slow down.', ({ bus }) => bus.throttled),
  counter('banyan_bus_requests_total', 'Calls to the bus.', ({ bus }) => bus.requests),
  gauge('banyan_bus_in_flight', 'Calls to the bus without an answer yet.', ({ bus }) => bus.inFlight),
  gauge('banyan_bus_queued_events', 'Events that wait to be sent.', ({ bus }) => bus.queued),
  gauge(
    'banyan_bus_rate_limit_requests_per_second',
    'Calls a second that throttling allows; no sample: unlimited.',
    ({ bus }) => bus.rateLimit,
  ),

  counter(
    'banyan_loop_messages_forged_total',
    'Messages of reverse sync’s prefix that are not its own.',
    ({ loop }) => loop.forged,
  ),
  counter(
    'banyan_loop_changes_stopped_total',
    'Changes that were not published because they ran in circles between the systems.',
    ({ loop }) => loop.exceeded,
  ),
  {
    name: 'banyan_loop_changes_replicated_total',
    type: 'counter',
    help: 'Changes of captured tables that were replicated into the database, by replication origin.',
    labels: ['origin'],
    read: ({ loop }) => byOrigin(loop.origins),
  },

  gauge(
    'banyan_dead_letters_parked',
    'Events and changes in dead_letter that wait, as they were looked at last; no sample: this worker does not know.',
    ({ deadLetters }) => deadLetters?.parked,
  ),
  gauge(
    'banyan_dead_letter_groups',
    'Keys and held tables that wait behind them.',
    ({ deadLetters }) => deadLetters?.groups,
  ),
  gauge(
    'banyan_dead_letters_observed_timestamp_seconds',
    'When dead_letter was last looked at for these two, seconds since 1970-01-01 UTC.',
    ({ deadLetters }) => seconds(deadLetters?.observedAt),
  ),

  {
    name: 'banyan_table_changes_total',
    type: 'counter',
    help: 'Changes received, by table and operation.',
    labels: ['table', 'operation'],
    read: (status) =>
      OPERATIONS.flatMap((operation) =>
        byTable(status, ({ received }) => received[operation]).map(({ value, labels }) => ({
          value,
          labels: { ...labels, operation },
        })),
      ),
  },
  {
    name: 'banyan_table_changes_by_origin_total',
    type: 'counter',
    help: 'Changes by table and where they come from: the legacy system, or reverse sync.',
    labels: ['table', 'origin'],
    read: (status) =>
      ORIGINS.flatMap((origin) =>
        byTable(status, ({ origins }) => origins[origin]).map(({ value, labels }) => ({
          value,
          labels: { ...labels, origin },
        })),
      ),
  },
  tableCounter('banyan_table_events_accepted_total', 'Events that the bus accepted.', (table) => table.accepted),
  tableCounter('banyan_table_changes_dropped_total', 'Changes that no emit rule took.', (table) => table.dropped),
  tableCounter(
    'banyan_table_null_conditions_total',
    'Conditions that were false because of NULL or an absent value.',
    (table) => table.nullConditions,
  ),
  tableCounter('banyan_table_parked_total', 'Events and changes set aside.', (table) => table.parked),
  {
    name: 'banyan_table_held',
    type: 'gauge',
    help: '1 while the table is held: its changes are set aside until the mapping is mended.',
    labels: ['table'],
    read: (status) => byTable(status, ({ held }) => (held === undefined ? 0 : 1)),
  },
  tableBackfill(
    'banyan_backfill_rows_sent',
    'Rows that the last backfill of the table has sent.',
    (run) => run.rowsSent,
  ),
  tableBackfill(
    'banyan_backfill_rows_estimated',
    'Rows that the last backfill of the table has to send, by the planner’s statistics.',
    (run) => run.rowsEstimated,
  ),
  tableBackfill('banyan_backfill_running', '1 while a backfill of the table runs.', ({ status }) =>
    status === 'running' ? 1 : 0,
  ),
  ...reverseMetrics,
  ...progressMetrics,
];

function gauge(name: string, help: string, read: (status: WorkerStatus) => number | undefined): MetricDefinition {
  return { name, type: 'gauge', help, read: (status) => sampleOf(read(status)) };
}

function counter(name: string, help: string, read: (status: WorkerStatus) => number): MetricDefinition {
  return { name, type: 'counter', help, read: (status) => sampleOf(read(status)) };
}

function tableCounter(name: string, help: string, read: (table: TableStatus) => number): MetricDefinition {
  return {
    name,
    type: 'counter',
    help: help.replace(/\.$/, ', by table.'),
    labels: ['table'],
    read: (status) => byTable(status, read),
  };
}

function tableBackfill(
  name: string,
  help: string,
  read: (run: BackfillProgress) => number | undefined,
): MetricDefinition {
  return {
    name,
    type: 'gauge',
    help,
    labels: ['table'],
    read: ({ backfills }) => {
      const known = backfills.flatMap((run) => sampleOf(read(run)).map(({ value }) => ({ table: run.table, value })));
      return summedUp(known, ({ value }) => value);
    },
  };
}

/** One sample a value, 1 for the current one: states can be counted and alerted on without text. None where it is not known. */
function oneOf(
  name: string,
  help: string,
  set: { label: string; values: readonly string[]; current: (status: WorkerStatus) => string | undefined },
): MetricDefinition {
  const { label, values, current } = set;
  return {
    name,
    type: 'gauge',
    help,
    labels: [label],
    read: (status) => {
      const now = current(status);
      return now === undefined
        ? []
        : values.map((value) => ({ value: now === value ? 1 : 0, labels: { [label]: value } }));
    },
  };
}

/** What a subscription is called is the database's to say, and how many there ever were. */
function byOrigin(origins: LoopStatus['origins']): Sample[] {
  const counted = Object.entries(origins);
  const others = counted.slice(MAX_ORIGINS).reduce((sum, [, changes]) => sum + changes, 0);
  const named = counted.slice(0, MAX_ORIGINS).map(([origin, value]) => ({ value, labels: { origin } }));
  return counted.length > MAX_ORIGINS ? [...named, { value: others, labels: { origin: OTHERS } }] : named;
}

function seconds(time: string | undefined): number | undefined {
  return time === undefined ? undefined : Date.parse(time) / 1000;
}

function distance(from: string | undefined, to: string | undefined): number | undefined {
  if (from === undefined || to === undefined) return undefined;
  return Math.max(0, Number(parseLsn(to) - parseLsn(from)));
}
