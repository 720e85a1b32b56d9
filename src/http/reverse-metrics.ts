import type { ReverseState, ReverseStatus } from '../core/status.ts';
import { type MetricDefinition, type Sample, sampleOf } from './metric.ts';

const STATES: readonly ReverseState[] = ['off', 'testing', 'running', 'waiting', 'refused'];

/** Of the way back. No samples where it is not configured. */
export const reverseMetrics: readonly MetricDefinition[] = [
  {
    name: 'banyan_reverse_state',
    type: 'gauge',
    help: 'State of reverse sync: 1 for the one it is in.',
    labels: ['state'],
    read: ({ reverse }) =>
      reverse === undefined
        ? []
        : STATES.map((state) => ({ value: reverse.state === state ? 1 : 0, labels: { state } })),
  },
  {
    name: 'banyan_reverse_problem',
    type: 'gauge',
    help: 'What holds reverse sync up, by kind; no sample while nothing does.',
    labels: ['kind'],
    read: ({ reverse }) =>
      reverse?.problem === undefined ? [] : [{ value: 1, labels: { kind: reverse.problem.kind } }],
  },
  of('counter', 'banyan_reverse_messages_received_total', {
    help: 'Messages received from the queue, repeats included.',
    read: ({ received }) => received,
  }),
  of('counter', 'banyan_reverse_messages_unmatched_total', {
    help: 'Messages that no entry of reverse.apply took.',
    read: ({ unmatched }) => unmatched,
  }),
  of('counter', 'banyan_reverse_messages_invalid_total', {
    help: 'Messages that no event could be read from.',
    read: ({ invalid }) => invalid,
  }),
  {
    name: 'banyan_reverse_events_total',
    type: 'counter',
    help: 'Events by what became of them, once for each entry of reverse.apply that took them.',
    labels: ['outcome'],
    read: ({ reverse }) => (reverse === undefined ? [] : outcomes(reverse)),
  },
  of('counter', 'banyan_reverse_conflicts_total', {
    help: 'Conflicts that were decided, whoever won.',
    read: ({ conflicts }) => conflicts,
  }),
  of('counter', 'banyan_reverse_retries_total', {
    help: 'Attempts to apply events that had to be made again.',
    read: ({ retried }) => retried,
  }),
  of('gauge', 'banyan_reverse_messages_in_hand', {
    help: 'Messages received and not deleted yet.',
    read: ({ inHand }) => inHand,
  }),
  {
    name: 'banyan_reverse_lag_seconds',
    type: 'gauge',
    help: 'How old the event that was applied last was then, by its own time; no sample: none was.',
    read: ({ reverse }) => sampleOf(reverse?.lagSeconds),
  },
  of('gauge', 'banyan_reverse_events_in_flight', {
    help: 'Events that are being applied.',
    read: ({ inFlight }) => inFlight,
  }),
  of('gauge', 'banyan_reverse_dead_letters_parked', {
    help: 'Events of reverse sync in dead_letter that wait for a person; no sample: it does not run.',
    read: ({ parked }) => parked,
  }),
  of('gauge', 'banyan_reverse_dead_letters_waiting', {
    help: 'Events of reverse sync in dead_letter that wait for what they need to come; no sample: it does not run.',
    read: ({ waiting }) => waiting,
  }),
  of('gauge', 'banyan_reverse_tables_held', {
    help: 'Tables that are held for reverse sync; no sample: it does not run.',
    read: ({ heldTables }) => heldTables?.length,
  }),
];

function of(
  type: MetricDefinition['type'],
  name: string,
  { help, read }: { readonly help: string; readonly read: (status: ReverseStatus) => number | undefined },
): MetricDefinition {
  return { name, type, help, read: ({ reverse }) => sampleOf(reverse && read(reverse)) };
}

function outcomes({ applied, duplicate, stale, skipped, refused }: ReverseStatus): Sample[] {
  return Object.entries({ ...applied, duplicate, stale, skipped, refused }).map(([outcome, value]) => ({
    value,
    labels: { outcome },
  }));
}
