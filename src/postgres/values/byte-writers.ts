import { ByteConstant, type ByteText, type ByteValue } from './byte-text.ts';
import { jsonString } from './json-string.ts';
import { asItIs, boolean, finiteNumber, type JsonWriter, plain, timestamp, timestampWithZone } from './scalars.ts';

/** Writes what its JsonWriter makes of the value's text. Returns false where only that one can tell, and what was written then is to be taken back. */
export type ByteWriter = (value: ByteValue, to: ByteText) => boolean;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const SPACE = 0x20;
const DIGIT_0 = 0x30;
const DIGIT_9 = 0x39;
const TRUE_SENT = 0x74; // t
const LETTER_C = 0x43; // of BC
const LETTER_T = 0x54;
const SIGNS = [0x2b, 0x2d];
const TRUE = new ByteConstant('true');
const FALSE = new ByteConstant('false');
const NO_MINUTES = new ByteConstant(':00');

/** By the writer of the text, which knows the types: so both take the same values for the same. */
const BY_TEXT_WRITER = new Map<JsonWriter, ByteWriter>([
  [asItIs, copied],
  [plain, quoted],
  [jsonString, string],
  [boolean, truth],
  [finiteNumber, number],
  [timestamp, (value, to) => moment(value, to, false)],
  [timestampWithZone, (value, to) => moment(value, to, true)],
]);

/** The writer of the same JSON from bytes; undefined where there is none. */
export function byteWriterOf(write: JsonWriter): ByteWriter | undefined {
  return BY_TEXT_WRITER.get(write);
}

function copied(value: ByteValue, to: ByteText): boolean {
  to.copy(value);
  return true;
}

function quoted(value: ByteValue, to: ByteText): boolean {
  to.bytes[to.at++] = QUOTE;
  to.copy(value);
  to.bytes[to.at++] = QUOTE;
  return true;
}

/** Bytes of other characters than ASCII stay as they are. */
function string({ bytes, start, end }: ByteValue, to: ByteText): boolean {
  const into = to.bytes;
  let { at } = to;
  into[at++] = QUOTE;
  for (let index = start; index < end; index++) {
    const byte = bytes[index] as number;
    if (byte < SPACE || byte === QUOTE || byte === BACKSLASH) return false;
    into[at++] = byte;
  }
  into[at++] = QUOTE;
  to.at = at;
  return true;
}

function truth({ bytes, start, end }: ByteValue, to: ByteText): boolean {
  to.put(end - start === 1 && bytes[start] === TRUE_SENT ? TRUE : FALSE);
  return true;
}

function number(value: ByteValue, to: ByteText): boolean {
  const last = value.bytes[value.end - 1] as number;
  return value.end > value.start && last >= DIGIT_0 && last <= DIGIT_9 && copied(value, to);
}

function moment({ bytes, start, end }: ByteValue, to: ByteText, hasZone: boolean): boolean {
  // Years before Christ are rare enough for the other writer.
  if (end === start || bytes[end - 1] === LETTER_C) return false;
  const into = to.bytes;
  let { at } = to;
  let isDate = false;
  into[at++] = QUOTE;
  for (let index = start; index < end; index++) {
    const byte = bytes[index] as number;
    if (byte !== SPACE) into[at++] = byte;
    else if (isDate) return false;
    else {
      isDate = true;
      into[at++] = LETTER_T;
    }
  }
  to.at = at;
  if (hasZone && isDate && SIGNS.includes(bytes[end - 3] as number)) to.put(NO_MINUTES);
  into[to.at++] = QUOTE;
  return true;
}
