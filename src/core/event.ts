import type { TransactionHeader } from './change.ts';
import { sortableLsn } from './lsn.ts';

/**
 * A business event, ready to become one entry of PutEvents. `detail` is JSON text: it is composed as text from the row's
 * text and never parsed again on the way out.
 */
export interface Event {
  /** Deterministic: the same change under the same mapping has the same id, however often it is sent. */
  readonly id: string;
  /** Sorts as text in commit order; consumers keep the highest one per key. */
  readonly sequence: string;
  readonly source: string;
  readonly detailType: string;
  /** Commit time, whole seconds since 1970-01-01 UTC (EventBridge keeps no fraction; the exact time is in the detail). */
  readonly timeSeconds: number;
  readonly resources: readonly string[];
  readonly detail: string;
  /** Name or ARN of the bus, where the mapping routes by row; undefined: the configured one. */
  readonly bus: string | undefined;
  /**
   * What must stay in order: events of one group are never in flight together. `table` + key, percent-encoded; undefined
   * where the table is configured `order: relaxed`. Also the ordering group of a bus that knows such a thing.
   */
  readonly group: string | undefined;
  /** The group of the old key on a primary-key update: the event waits for, and holds, both. */
  readonly previousGroup: string | undefined;
  /** Bytes of the entry as EventBridge counts them. */
  readonly sizeBytes: number;
}

/** What makes an id unique beyond one server: constant while a worker runs. */
export interface StreamIdentity {
  /** `system_identifier` of the cluster. */
  readonly systemId: string;
  /** Stored; raised when the system identifier changes (restore, blue/green), so that sequences go on growing. */
  readonly epoch: number;
}

/** `systemId-timeline-commitLsn-`: computed once per transaction, the ordinal is appended per change. */
export function idPrefix(identity: StreamIdentity, transaction: TransactionHeader): string {
  return `${identity.systemId}-${transaction.timeline}-${sortableLsn(transaction.commitLsn)}-`;
}

/** `systemId-read-run-`: what follows is the row's group, since a read has no place in the stream. */
export function readIdPrefix(identity: StreamIdentity, run: number): string {
  return `${identity.systemId}-read-${run}-`;
}

/** `epoch-timeline-commitLsn-`: computed once per transaction. */
export function sequencePrefix(identity: StreamIdentity, transaction: TransactionHeader): string {
  const epoch = identity.epoch.toString().padStart(4, '0');
  const timeline = transaction.timeline.toString().padStart(8, '0');
  return `${epoch}-${timeline}-${sortableLsn(transaction.commitLsn)}-`;
}

/** Ordinal, and `.index` where it is not the change's first event. */
export function idSuffix(ordinal: number, eventIndex: number): string {
  return eventIndex === 0 ? `${ordinal}` : `${ordinal}.${eventIndex}`;
}

/** Ten digits of ordinal, two of event index. */
export function sequenceSuffix(ordinal: number, eventIndex: number): string {
  const digits = `${ordinal}`;
  // Padded from a table: a sum above 2^31 would leave the engine's small integers, which costs more than the rest of the event's id.
  return (
    (ZEROS[digits.length] ?? '') +
    digits +
    (eventIndex === 0 ? '-00' : eventIndex < 10 ? `-0${eventIndex}` : `-${eventIndex}`)
  );
}

/** By the length of what they are put before, up to ten digits together. */
const ZEROS = Array.from({ length: 11 }, (_, length) => '0'.repeat(10 - length));

/** One change makes at most this many events: the sequence has two digits for them. */
export const MAX_EVENTS_PER_CHANGE = 100;

/** The numbers that the events of one capture entry may have among all of a change. */
export interface EventRange {
  readonly first: number;
  readonly size: number;
}

/**
 * Every capture entry of a table numbers its events in a range of its own: an id must not depend on what another entry made of the change, since
 * that one may have been parked then and be mapped anew by a redrive.
 */
export function eventRange(position: number, entries: number): EventRange {
  const size = Math.floor(MAX_EVENTS_PER_CHANGE / entries);
  return { first: position * size, size };
}

/** `2026-03-01T12:00:00.123456Z` from microseconds since 1970-01-01 UTC. */
export function formatMicros(micros: bigint): string {
  const millis = Number(micros / 1000n);
  const rest = Number(micros % 1000n)
    .toString()
    .padStart(3, '0');
  return `${new Date(millis).toISOString().slice(0, -1)}${rest}Z`;
}
