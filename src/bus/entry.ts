import type { PutEventsRequestEntry } from '@aws-sdk/client-eventbridge';
import type { Event } from '../core/event.ts';

/** One event as an entry of PutEvents; it goes to the configured bus unless its mapping chose another. */
export function toEntry(event: Event, busName: string): PutEventsRequestEntry {
  return {
    EventBusName: event.bus ?? busName,
    Source: event.source,
    DetailType: event.detailType,
    Detail: event.detail,
    Resources: [...event.resources],
    Time: new Date(event.timeSeconds * 1_000),
  };
}

/** What EventBridge charges for `Time`, bytes. Every event has one. */
const TIME_BYTES = 14;

/**
 * Bytes of an entry as EventBridge counts them against the limit of a request: UTF-8 of source, detail-type, detail and each resource,
 * and a constant for the time (AWS user guide, "PutEvents event entry size"). The name of the bus and the JSON around it are free.
 */
export function entrySizeBytes(event: Pick<Event, 'source' | 'detailType' | 'detail' | 'resources'>): number {
  let bytes =
    TIME_BYTES +
    Buffer.byteLength(event.source) +
    Buffer.byteLength(event.detailType) +
    Buffer.byteLength(event.detail);
  for (const resource of event.resources) bytes += Buffer.byteLength(resource);
  return bytes;
}
