/** What a field of an event holds. A bigint is an integer that a double can not hold exactly. */
export type Scalar = string | number | bigint | boolean | null;

/**
 * `JSON.parse`, with integers beyond 2^53 as bigint, so that a rule on such a number takes exactly that number. Texts without a long
 * run of digits outside strings (nearly all) take the plain path. Throws SyntaxError as `JSON.parse` does.
 */
export function parseExactJson(text: string): unknown {
  if (!hasLongNumber(text)) return JSON.parse(text) as unknown;
  return parseWithSource(text, (_key, value, context) => {
    if (typeof value !== 'number' || context.source === undefined) return value;
    if (!Number.isInteger(value) || Number.isSafeInteger(value)) return value;
    return /^-?\d+$/.test(context.source) ? BigInt(context.source) : value;
  });
}

/** The third argument is in every Node.js that we run on; the compiler's library does not know it yet. */
const parseWithSource = JSON.parse as (
  text: string,
  reviver: (key: string, value: unknown, context: { readonly source?: string }) => unknown,
) => unknown;

const LONG_NUMBER = /\d{16}/;

/** Whether 16 digits follow each other outside of strings. Ids in strings are common, so the cheap test alone is not enough. */
function hasLongNumber(text: string): boolean {
  if (!LONG_NUMBER.test(text)) return false;
  let digits = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code >= 0x30 && code <= 0x39) {
      if (++digits === 16) return true;
      continue;
    }
    digits = 0;
    if (code === 0x22) at = endOfString(text, at);
  }
  return false;
}

/** The closing quote of the string that opens at `from`, or the text's end. */
function endOfString(text: string, from: number): number {
  let at = from + 1;
  for (; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x5c) at++;
    else if (code === 0x22) break;
  }
  return at;
}
