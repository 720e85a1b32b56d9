import { BanyanError } from '../core/errors.ts';
import { parseExactJson } from '../core/pattern-json.ts';
import { isJsonObject, type Json, type JsonObject, kindOfJson } from './json.ts';
import { InvalidJson, parseExact, type ParsedJson } from './json-parse.ts';
import { momentProblem } from './moment.ts';

/** An event as EventBridge puts it into a queue, judged as far as every entry of `reverse.apply` needs it. */
export interface Envelope {
  readonly id: string;
  readonly source: string;
  readonly detailType: string;
  /** RFC 3339, as it was written. */
  readonly time: string | undefined;
  readonly replayName: string | undefined;
  /** The whole envelope. Fields are its own properties, whatever their names are. */
  readonly event: JsonObject;
  readonly detail: JsonObject;
  /** What event patterns are matched with: numbers as they know them. */
  readonly plain: unknown;
  /** The message's body as it came. */
  readonly body: string;
}

/** What SQS takes at most. */
const MAX_BODY_BYTES = 1_048_576;
/** EventBridge takes details of a thousand levels; the envelope is one more. */
const MAX_DEPTH = 1_001;
/** EventBridge's own limits are 256 and 128 characters; an id of it is a UUID. All three become part of keys of our tables. */
const MAX_LENGTH = { id: 256, source: 256, 'detail-type': 256, 'replay-name': 256 } as const;

/**
 * Reads the body of a message. The queue is input from outside: size and depth are judged before anything walks the content, and nothing of the content is in
 * any message.
 *
 * @throws BanyanError `envelope-invalid`
 */
export function decodeEnvelope(body: string): Envelope {
  if (Buffer.byteLength(body) > MAX_BODY_BYTES) throw invalid('', `larger than ${MAX_BODY_BYTES} bytes`);
  const { value: event, hasExactNumbers } = parse(body);
  if (!isJsonObject(event)) throw invalid('', `${kindOfJson(event)}, where an event (an object) belongs`);
  const detail = own(event, 'detail');
  if (!isJsonObject(detail)) throw invalid('detail', `${kindOfJson(detail)}, where an object belongs`);
  const time = own(event, 'time') ?? undefined;
  if (time !== undefined && (typeof time !== 'string' || !isRfc3339(time))) {
    throw invalid('time', `${kindOfJson(time)} that is no time with its offset (RFC 3339)`);
  }
  return {
    id: text(event, 'id'),
    source: text(event, 'source'),
    detailType: text(event, 'detail-type'),
    time,
    replayName: own(event, 'replay-name') === undefined ? undefined : text(event, 'replay-name'),
    event,
    detail,
    plain: hasExactNumbers ? parseExactJson(body) : event,
    body,
  };
}

function parse(body: string): ParsedJson {
  try {
    return parseExact(body, { maxDepth: MAX_DEPTH });
  } catch (error) {
    if (!(error instanceof InvalidJson)) throw error;
    throw invalid('', error.reason === 'depth' ? `nested deeper than ${MAX_DEPTH - 1} levels` : 'no JSON');
  }
}

/** Every member is an own property, `__proto__` too; what is inherited is none of the event's. */
function own(object: JsonObject, name: string): Json | undefined {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

/** Four digits of year and an offset: `infinity` and BC are PostgreSQL's own. */
function isRfc3339(time: string): boolean {
  return /^\d{4}-.*[Z\d]$/.test(time) && momentProblem(time, { zone: 'required' }) === undefined;
}

function text(event: JsonObject, name: keyof typeof MAX_LENGTH): string {
  const value = own(event, name);
  if (typeof value !== 'string') throw invalid(name, `${kindOfJson(value)}, where a text belongs`);
  if (value === '') throw invalid(name, 'an empty text');
  if (value.length > MAX_LENGTH[name]) throw invalid(name, `a text longer than ${MAX_LENGTH[name]} characters`);
  if (value.includes('\0') || !value.isWellFormed()) {
    throw invalid(name, 'a text with characters that PostgreSQL has no place for');
  }
  return value;
}

function invalid(path: string, reason: string): BanyanError {
  const subject = path === '' ? 'the body' : path;
  return new BanyanError('envelope-invalid', `a message is no event: ${subject} is ${reason}`, { context: { path } });
}
