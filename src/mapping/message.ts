import type { MessageCapture } from '../config/schema.ts';
import type { MessageChange } from '../core/change.ts';
import { BanyanError } from '../core/errors.ts';
import type { Event, StreamIdentity } from '../core/event.ts';
import { jsonString } from '../postgres/values/json-string.ts';
import { buildEvent, checkHead, headBytesOf } from './event-builder.ts';
import { NOTHING_UNAVAILABLE, transactionTexts } from './transaction-text.ts';

export interface MessageOptions {
  /** Name of the connector. */
  readonly name: string;
  readonly capture: MessageCapture;
  readonly identity: StreamIdentity;
}

const KNOWN_FIELDS = ['detail-type', 'source', 'detail', 'key', 'resources', 'bus'];

/**
 * The ready-made event in a transactional logical message: `{ "detail-type", "detail", "source"?, "key"?, "resources"?, "bus"? }`. `detail` becomes
 * the event's `data`; messages of one prefix and `key` stay in order, those without a key too. Throws `mapping-failed`, never with
 * content.
 */
export function mapMessage(change: MessageChange, options: MessageOptions): Event {
  const { prefix } = change;
  const content = parseContent(change);
  const unknown = Object.keys(content).find((field) => !KNOWN_FIELDS.includes(field));
  if (unknown !== undefined) throw refusal(prefix, `it has a field ${unknown}; known are ${KNOWN_FIELDS.join(', ')}`);
  const detailType = content['detail-type'];
  if (typeof detailType !== 'string') throw refusal(prefix, 'it has no text `detail-type`');
  const detail = content['detail'];
  if (!isObject(detail)) throw refusal(prefix, 'its `detail` is no object');
  const source = content['source'] ?? options.capture.source ?? `legacy.${options.name}`;
  if (typeof source !== 'string') throw refusal(prefix, 'its `source` is no text');
  const bus = content['bus'];
  if (bus !== undefined && typeof bus !== 'string') throw refusal(prefix, 'its `bus` is no text');
  const key = content['key'];
  const keyText = key === undefined ? '' : JSON.stringify(key);
  const resources = content['resources'] ?? [`banyan:${options.name}:message:${encodeURIComponent(prefix)}`];
  if (!isTexts(resources)) throw refusal(prefix, 'its `resources` is no list of texts');
  checkHead(source, detailType);
  return buildEvent({
    transaction: transactionTexts(options.identity)(change.transaction),
    ordinal: change.ordinal,
    index: 0,
    idEnd: undefined,
    head: { source, detailType, bus, resources, headBytes: headBytesOf(source, detailType, resources) },
    before: `","operation":"message","table":${jsonString(`message:${prefix}`)},"key":${keyText === '' ? '{}' : keyText},`,
    after: NOTHING_UNAVAILABLE,
    data: JSON.stringify(detail),
    previous: undefined,
    group: `message:${prefix}:${encodeURIComponent(keyText)}`,
    previousGroup: undefined,
  });
}

/** Numbers keep the text that they were written with. */
function parseContent({ prefix, content }: MessageChange): Readonly<Record<string, unknown>> {
  let parsed: unknown;
  try {
    parsed = parseVerbatim(content, (_key, value, { source }) =>
      typeof value === 'number' && source !== undefined ? rawJson(source) : value,
    );
  } catch {
    throw refusal(prefix, 'it is no JSON');
  }
  if (!isObject(parsed)) throw refusal(prefix, 'it is no JSON object');
  return parsed;
}

/** Both are in every Node.js that we run on; the compiler's library does not know them yet. */
const parseVerbatim = JSON.parse as (
  text: string,
  reviver: (key: string, value: unknown, context: { readonly source?: string }) => unknown,
) => unknown;
const rawJson = (text: string): object => (JSON as unknown as { rawJSON(text: string): object }).rawJSON(text);

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

function refusal(prefix: string, reason: string): BanyanError {
  return new BanyanError('mapping-failed', `a logical message of prefix ${prefix} is no ready-made event: ${reason}`, {
    remedy:
      'write {"detail-type": "…", "detail": {…}} (see docs/cookbook.md), then `banyan dead-letters redrive` or `discard` this one',
  });
}
