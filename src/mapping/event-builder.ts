import { BanyanError } from '../core/errors.ts';
import { idSuffix, sequenceSuffix, type Event } from '../core/event.ts';
import { MAX_DETAIL_TYPE_LENGTH } from './event-name.ts';
import { NOTHING_UNAVAILABLE, type TransactionText } from './transaction-text.ts';

/** What EventBridge has of an event beside its detail. */
export interface EventHead {
  readonly source: string;
  readonly detailType: string;
  readonly bus: string | undefined;
  readonly resources: readonly string[];
  /** UTF-8 bytes of source, detail-type and resources together with the 14 that EventBridge counts for Time. */
  readonly headBytes: number;
}

/** What one event consists of, the way the hot path has it: mostly text that is ready. */
export interface EventParts {
  readonly transaction: TransactionText;
  readonly ordinal: number;
  /** Number of the event among all of its change. */
  readonly index: number;
  /** How the id ends; undefined: with ordinal and index. */
  readonly idEnd: string | undefined;
  readonly head: EventHead;
  /** Metadata between the sequence's digits and the transaction: `","operation":"insert",…,` */
  readonly before: string;
  /** Metadata after the transaction, with a comma at its start: `,"unavailable":[],"origin":"legacy"` */
  readonly after: string;
  readonly data: string;
  readonly previous: string | undefined;
  readonly group: string | undefined;
  readonly previousGroup: string | undefined;
}

export function buildEvent(parts: EventParts): Event {
  const { transaction, head } = parts;
  const idEnd = parts.idEnd ?? idSuffix(parts.ordinal, parts.index);
  const sequenceEnd = sequenceSuffix(parts.ordinal, parts.index);
  const start = transaction.idHead + idEnd + transaction.sequenceHead + sequenceEnd + parts.before;
  const tail =
    parts.after === NOTHING_UNAVAILABLE ? transaction.plainTail : `${transaction.json}${parts.after}},"data":`;
  const end = parts.previous === undefined ? '}' : `,"previous":${parts.previous}}`;
  const detail = start + tail + parts.data + end;
  return {
    id: transaction.idPrefix + idEnd,
    sequence: transaction.sequencePrefix + sequenceEnd,
    source: head.source,
    detailType: head.detailType,
    timeSeconds: transaction.timeSeconds,
    resources: head.resources,
    detail,
    bus: head.bus,
    group: parts.group,
    previousGroup: parts.previousGroup,
    sizeBytes: head.headBytes + Buffer.byteLength(detail),
  };
}

/** EventBridge counts this for the Time of an entry, whatever its text. */
const TIME_BYTES = 14;

export function headBytesOf(source: string, detailType: string, resources: readonly string[]): number {
  let bytes = TIME_BYTES + Buffer.byteLength(source) + Buffer.byteLength(detailType);
  for (const resource of resources) bytes += Buffer.byteLength(resource);
  return bytes;
}

/** EventBridge would refuse the entry; saying so here parks it with the reason and without a request. */
export function checkHead(source: string, detailType: string): void {
  if (source === '' || detailType === '')
    throw new BanyanError('mapping-failed', 'source and detail-type must not be empty');
  if (source.startsWith('aws.'))
    throw new BanyanError('mapping-failed', 'the source begins with aws., which EventBridge reserves');
  if (detailType.length > MAX_DETAIL_TYPE_LENGTH) {
    throw new BanyanError(
      'mapping-failed',
      `the detail-type has ${detailType.length} characters, EventBridge takes ${MAX_DETAIL_TYPE_LENGTH}`,
    );
  }
}
