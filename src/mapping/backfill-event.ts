import type { TransactionHeader } from '../core/change.ts';
import { type Event, idPrefix, idSuffix, sequencePrefix, sequenceSuffix, type StreamIdentity } from '../core/event.ts';
import { jsonString } from '../postgres/values/json-string.ts';
import { headBytesOf } from './event-builder.ts';

/** What is said of a backfill run around its rows. */
export interface BackfillNote {
  readonly detailType: 'BackfillStarted' | 'BackfillCompleted';
  readonly run: number;
  /** `schema.name` */
  readonly table: string;
  /** The condition of a run that reads part of the table. */
  readonly where: string | undefined;
  /** `schema.name` of the one partition that the run reads. */
  readonly partition: string | undefined;
  /** Rows that were sent; of a completed run. */
  readonly rows: number | undefined;
}

/**
 * The event at a mark of its own. With `BackfillCompleted` a consumer knows that every row of the table that is older than `BackfillStarted` and was
 * not seen since is gone: deleted where nobody was told.
 */
export function backfillEvent(
  note: BackfillNote,
  place: { readonly mark: TransactionHeader; readonly name: string; readonly identity: StreamIdentity },
): Event {
  const { run, table, where, partition, rows, detailType } = note;
  const { mark, identity } = place;
  const id = `${idPrefix(identity, mark)}${idSuffix(0, 0)}`;
  const sequence = `${sequencePrefix(identity, mark)}${sequenceSuffix(0, 0)}`;
  // What is undefined is left out.
  const data = { run, table, where, partition, rows };
  const detail = `{"metadata":{"id":"${id}","sequence":"${sequence}","operation":"backfill","table":${jsonString(table)},"key":{},"run":${run},"origin":"legacy"},"data":${JSON.stringify(data)}}`;
  const source = `legacy.${place.name}`;
  const resources = [`banyan:${place.name}:${table}`];
  return {
    id,
    sequence,
    source,
    detailType,
    timeSeconds: Number(mark.committedAtMicros / 1_000_000n),
    resources,
    detail,
    bus: undefined,
    group: undefined,
    previousGroup: undefined,
    sizeBytes: headBytesOf(source, detailType, resources) + Buffer.byteLength(detail),
  };
}
