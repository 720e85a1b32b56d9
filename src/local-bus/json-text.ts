/** EventBridge takes details of at most this many levels. */
export const MAX_DEPTH = 1_000;

/**
 * What `JSON.parse` can not tell of a text that it takes: whether it nests deeper than EventBridge allows, and whether it holds an
 * integer beyond int64 (EventBridge refuses such a detail). Returns the reason, or undefined where the text is fine.
 */
export function findExcess(json: string): string | undefined {
  let depth = 0;
  for (let at = 0; at < json.length; at++) {
    const code = json.charCodeAt(at);
    if (code === QUOTE) {
      at = endOfString(json, at) - 1;
    } else if (code === BRACE || code === BRACKET) {
      if (++depth > MAX_DEPTH) return `nested deeper than ${MAX_DEPTH} levels`;
    } else if (code === BRACE_END || code === BRACKET_END) {
      depth--;
    } else if (code === MINUS || isDigit(code)) {
      const end = endOfNumber(json, at);
      // int64 has up to 19 digits.
      if (end - at >= 19 && isBeyondInt64(json.slice(at, end))) return 'an integer is beyond 64 bits';
      at = end - 1;
    }
  }
  return undefined;
}

/**
 * The text of the value at `path` inside a valid JSON text, exactly as it is written there; undefined where there is none. A number
 * in the path is an index of an array.
 */
export function sliceAt(json: string, path: readonly (string | number)[]): string | undefined {
  let at = skipSpace(json, 0);
  for (const step of path) {
    const member = typeof step === 'number' ? elementAt(json, at, step) : memberAt(json, at, step);
    if (member === undefined) return undefined;
    at = member;
  }
  return json.slice(at, endOfValue(json, at));
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const BRACE = 0x7b;
const BRACE_END = 0x7d;
const BRACKET = 0x5b;
const BRACKET_END = 0x5d;
const COMMA = 0x2c;
const MINUS = 0x2d;

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

function isBeyondInt64(number: string): boolean {
  if (number.includes('.') || number.includes('e') || number.includes('E')) return false;
  const value = BigInt(number);
  return value !== BigInt.asIntN(64, value);
}

function endOfNumber(json: string, from: number): number {
  let at = from + 1;
  for (; at < json.length; at++) {
    const code = json.charCodeAt(at);
    // 0-9, '.', '+', '-', 'e', 'E'
    if (!isDigit(code) && code !== 0x2e && code !== 0x2b && code !== MINUS && (code | 0x20) !== 0x65) break;
  }
  return at;
}

/** Behind the closing quote of the string that opens at `from`. */
function endOfString(json: string, from: number): number {
  for (let at = from + 1; at < json.length; at++) {
    const code = json.charCodeAt(at);
    if (code === BACKSLASH) at++;
    else if (code === QUOTE) return at + 1;
  }
  return json.length;
}

function endOfValue(json: string, from: number): number {
  const first = json.charCodeAt(from);
  if (first === QUOTE) return endOfString(json, from);
  if (first !== BRACE && first !== BRACKET) {
    let at = from;
    while (at < json.length && !' \t\n\r,]}'.includes(json.charAt(at))) at++;
    return at;
  }
  let depth = 0;
  for (let at = from; at < json.length; at++) {
    const code = json.charCodeAt(at);
    if (code === QUOTE) at = endOfString(json, at) - 1;
    else if (code === BRACE || code === BRACKET) depth++;
    else if ((code === BRACE_END || code === BRACKET_END) && --depth === 0) return at + 1;
  }
  return json.length;
}

function skipSpace(json: string, from: number): number {
  let at = from;
  while (at < json.length && ' \t\n\r'.includes(json.charAt(at))) at++;
  return at;
}

/** Where the value of the member begins; the last one wins, as in `JSON.parse`. */
function memberAt(json: string, from: number, name: string): number | undefined {
  if (json.charCodeAt(from) !== BRACE) return undefined;
  let found: number | undefined;
  let at = skipSpace(json, from + 1);
  while (json.charCodeAt(at) === QUOTE) {
    const endOfName = endOfString(json, at);
    const value = skipSpace(json, skipSpace(json, endOfName) + 1);
    if (JSON.parse(json.slice(at, endOfName)) === name) found = value;
    at = skipSpace(json, endOfValue(json, value));
    if (json.charCodeAt(at) === COMMA) at = skipSpace(json, at + 1);
  }
  return found;
}

function elementAt(json: string, from: number, index: number): number | undefined {
  if (json.charCodeAt(from) !== BRACKET) return undefined;
  let at = skipSpace(json, from + 1);
  for (let before = 0; json.charCodeAt(at) !== BRACKET_END; before++) {
    if (before === index) return at;
    at = skipSpace(json, endOfValue(json, at));
    if (json.charCodeAt(at) === COMMA) at = skipSpace(json, at + 1);
  }
  return undefined;
}
