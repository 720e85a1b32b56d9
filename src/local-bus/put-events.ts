import { randomUUID } from 'node:crypto';
import { parseExactJson } from '../core/pattern-json.ts';
import { BUS_NAME_OR_ARN, isInput, optionalText, refuseUnsupported, requiredList, unserializable } from './input.ts';
import { findExcess } from './json-text.ts';
import type { Bus, Registry } from './registry.ts';
import { validationError } from './wire.ts';
import type { Caller, Input } from './wire.ts';

/** One entry of PutEvents, as the caller gave it. */
export interface PutEventsEntry {
  readonly Source?: string;
  readonly DetailType?: string;
  readonly Detail?: string;
  readonly EventBusName?: string;
  readonly Resources?: readonly string[];
  /** Seconds since 1970-01-01 UTC, with a fraction; some clients send ISO 8601 text. */
  readonly Time?: number | string;
}

/** An event that the bus has taken. */
export interface AcceptedEvent {
  readonly id: string;
  /** Name or ARN, as the caller gave it; `default` where it named none. */
  readonly bus: string;
  /** There is no such bus: the caller was told that all is well, and the event is gone. The real one does the same. */
  readonly dropped: boolean;
  readonly source: string;
  readonly detailType: string;
  /** ISO 8601, whole seconds. */
  readonly time: string;
  readonly resources: readonly string[];
  readonly account: string;
  readonly region: string;
  /** JSON text exactly as it came. */
  readonly detail: string;
}

/** An accepted event on its way to the rules: `detailValue` is the parsed detail. */
export interface RoutedEvent {
  readonly event: AcceptedEvent;
  readonly entry: PutEventsEntry;
  readonly bus: Bus | undefined;
  readonly detailValue: unknown;
}

export type EntryResult = { readonly EventId: string } | { readonly ErrorCode: string; readonly ErrorMessage: string };

export interface PutEventsOptions {
  readonly registry: Registry;
  readonly caller: Caller;
  /** Bytes, as `entrySize` counts them, of all entries of a request together. */
  readonly maxRequestBytes: number;
  /** A failure on demand: consulted once per valid entry. */
  readonly failEntry: () => { readonly ErrorCode: string; readonly ErrorMessage: string } | undefined;
}

export interface PutEventsOutcome {
  readonly results: readonly EntryResult[];
  readonly routed: readonly RoutedEvent[];
}

/**
 * Validates a request as the real service does: what is wrong with the whole request is thrown, what is wrong with an entry is that
 * entry's result. Nothing is delivered yet.
 */
export function putEvents(input: Input, options: PutEventsOptions): PutEventsOutcome {
  refuseUnsupported(input, { EndpointId: 'it has no global endpoints' });
  const entries = requiredList(input, 'Entries', 10).map(readEntry);
  const total = entries.reduce((bytes, entry) => bytes + entrySize(entry), 0);
  if (total > options.maxRequestBytes) {
    throw validationError('Total size of the entries in the request is over the limit.');
  }
  const routed: RoutedEvent[] = [];
  const results = entries.map((entry): EntryResult => {
    const checked = checkEntry(entry);
    if (!('source' in checked)) return checked;
    const failure = options.failEntry();
    if (failure !== undefined) return failure;
    const one = route(entry, { checked, ...options });
    routed.push(one);
    return { EventId: one.event.id };
  });
  return { results, routed };
}

/** Bytes of an entry as AWS counts them against the limit: 14 for a time, and the UTF-8 text of the rest. */
export function entrySize(entry: PutEventsEntry): number {
  let bytes = (entry.Time ?? undefined) === undefined ? 0 : 14;
  for (const text of [entry.Source, entry.DetailType, entry.Detail, ...(entry.Resources ?? [])]) {
    if (text !== undefined) bytes += Buffer.byteLength(text);
  }
  return bytes;
}

/** The event as targets and patterns see it. The detail goes in as the text that came: key order and big numbers stay as they are. */
export function envelope(event: AcceptedEvent): string {
  return (
    `{"version":"0","id":"${event.id}","detail-type":${JSON.stringify(event.detailType)},` +
    `"source":${JSON.stringify(event.source)},"account":"${event.account}","time":"${event.time}",` +
    `"region":"${event.region}","resources":${JSON.stringify(event.resources)},"detail":${event.detail}}`
  );
}

interface CheckedEntry {
  readonly source: string;
  readonly detailType: string;
  readonly detail: string;
  readonly detailValue: unknown;
}

type EntryError = Extract<EntryResult, { readonly ErrorCode: string }>;

function readEntry(given: unknown): PutEventsEntry {
  if (!isInput(given)) throw unserializable('Entries', given, 'PutEventsRequestEntry');
  for (const member of ['Source', 'DetailType', 'Detail']) {
    const value = given[member] ?? undefined;
    if (value !== undefined && typeof value !== 'string') throw unserializable(member, value, 'String');
  }
  optionalText(given, 'EventBusName', BUS_NAME_OR_ARN);
  const time = given['Time'] ?? undefined;
  if (time !== undefined && Number.isNaN(millisOf(time))) throw unserializable('Time', time, 'Timestamp');
  const resources = given['Resources'] ?? undefined;
  if (resources !== undefined && !(Array.isArray(resources) && resources.every((one) => typeof one === 'string'))) {
    throw unserializable('Resources', resources, 'a list of String');
  }
  return given;
}

function checkEntry(entry: PutEventsEntry): CheckedEntry | EntryError {
  const { Source: source, DetailType: detailType, Detail: detail } = entry;
  if (!source) return missing('Source');
  if (!detailType) return missing('DetailType');
  if (!detail) return missing('Detail');
  if (detailType.length > 128) {
    return invalidArgument('DetailType', 'DetailType must have length less than or equal to 128');
  }
  if (source.startsWith('aws.')) {
    return { ErrorCode: 'NotAuthorizedForSourceException', ErrorMessage: 'Not authorized for the source.' };
  }
  let detailValue: unknown;
  try {
    detailValue = parseExactJson(detail);
  } catch {
    return malformedDetail();
  }
  if (!isInput(detailValue)) return malformedDetail();
  const excess = findExcess(detail);
  if (excess !== undefined) return malformedDetail(excess);
  return { source, detailType, detail, detailValue };
}

function missing(member: string): EntryError {
  return invalidArgument(member, `${member} is a required argument`);
}

function invalidArgument(member: string, reason: string): EntryError {
  return {
    ErrorCode: 'InvalidArgument',
    ErrorMessage: `Parameter ${member} is not valid. Reason: ${reason}.`,
  };
}

function malformedDetail(reason?: string): EntryError {
  const why = reason === undefined ? '' : ` Reason: ${reason}.`;
  return { ErrorCode: 'MalformedDetail', ErrorMessage: `Detail is malformed.${why}` };
}

function route(
  entry: PutEventsEntry,
  { checked, registry, caller }: PutEventsOptions & { readonly checked: CheckedEntry },
): RoutedEvent {
  const bus = registry.find(entry.EventBusName ?? undefined, caller);
  const millis = (entry.Time ?? undefined) === undefined ? Date.now() : millisOf(entry.Time);
  const event: AcceptedEvent = {
    id: randomUUID(),
    bus: bus?.name ?? entry.EventBusName ?? 'default',
    dropped: bus === undefined,
    source: checked.source,
    detailType: checked.detailType,
    time: `${new Date(millis).toISOString().slice(0, 19)}Z`,
    resources: entry.Resources ?? [],
    account: caller.account,
    region: caller.region,
    detail: checked.detail,
  };
  return { event, entry, bus, detailValue: checked.detailValue };
}

/** NaN where it is no time that a Date can hold. */
function millisOf(time: unknown): number {
  if (typeof time === 'number') return new Date(Math.floor(time) * 1_000).getTime();
  return typeof time === 'string' ? Date.parse(time) : Number.NaN;
}
