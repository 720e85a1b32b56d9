import type { MessageChange } from '../core/change.ts';
import { type Event, idPrefix, idSuffix, sequencePrefix, sequenceSuffix, type StreamIdentity } from '../core/event.ts';
import { primaryOf } from '../core/stages.ts';
import type { StageMessage } from '../postgres/apply-tag.ts';
import { jsonString } from '../postgres/values/json-string.ts';
import { headBytesOf } from './event-builder.ts';

const DETAIL_TYPE = 'TableStageChanged';

/**
 * The event of a table that was moved, at the place of the move in the stream: what a consumer was sent before it was written before it, what comes after was written
 * after it. Its source is the connector, since no system of the migration did it.
 */
export function stageEvent(
  { move, table, from, to, actor, at, gates }: StageMessage,
  place: { readonly change: MessageChange; readonly name: string; readonly identity: StreamIdentity },
): Event {
  const { change, identity, name } = place;
  const { transaction, ordinal } = change;
  const id = `${idPrefix(identity, transaction)}${idSuffix(ordinal, 0)}`;
  const sequence = `${sequencePrefix(identity, transaction)}${sequenceSuffix(ordinal, 0)}`;
  const data = { move, table, from, to, primary: primaryOf(to), actor, at, gates };
  const detail = `{"metadata":{"id":"${id}","sequence":"${sequence}","operation":"stage","table":${jsonString(table)},"key":{}},"data":${JSON.stringify(data)}}`;
  const source = `banyan.${name}`;
  const resources = [`banyan:${name}:${table}`];
  return {
    id,
    sequence,
    source,
    detailType: DETAIL_TYPE,
    timeSeconds: Number(transaction.committedAtMicros / 1_000_000n),
    resources,
    detail,
    bus: undefined,
    group: undefined,
    previousGroup: undefined,
    sizeBytes: headBytesOf(source, DETAIL_TYPE, resources) + Buffer.byteLength(detail),
  };
}
