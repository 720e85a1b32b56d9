import { ExactNumber, type Json } from './json.ts';

export interface ParsedJson {
  readonly value: Json;
  /** Whether a number of it is an `ExactNumber`. */
  readonly hasExactNumbers: boolean;
}

/** The text is no JSON, or deeper than was asked for. Names neither content nor position: both come from outside. */
export class InvalidJson extends Error {
  readonly reason: 'syntax' | 'depth';

  constructor(reason: 'syntax' | 'depth') {
    super(reason === 'syntax' ? 'no JSON' : 'nested too deep');
    this.name = 'InvalidJson';
    this.reason = reason;
  }
}

/**
 * Reads JSON and keeps the text of every number. Takes what `JSON.parse` takes, and of two members of one name the last, as it does. A parser of our own,
 * since the engine's rounds numbers, counts no levels, and (Node.js 24.21) can take `"b\""` for the name `b\` once it has met an object that has
 * that one.
 *
 * @throws InvalidJson
 */
export function parseExact(
  text: string,
  { maxDepth }: { readonly maxDepth: number } = { maxDepth: 1_000 },
): ParsedJson {
  const parser = new Parser(text, maxDepth);
  return { value: parser.read(), hasExactNumbers: parser.hasExactNumbers };
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const BRACKET = 0x5b;
const BRACKET_END = 0x5d;
const BRACE = 0x7b;
const BRACE_END = 0x7d;

class Parser {
  readonly #text: string;
  readonly #maxDepth: number;
  readonly #number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
  #at = 0;
  #depth = 0;
  hasExactNumbers = false;

  constructor(text: string, maxDepth: number) {
    this.#text = text;
    this.#maxDepth = maxDepth;
  }

  read(): Json {
    this.#skipSpace();
    const value = this.#value();
    if (this.#at < this.#text.length) throw new InvalidJson('syntax');
    return value;
  }

  /** The value that begins here; leaves the position at what follows the space behind it. */
  #value(): Json {
    const value = this.#bareValue();
    this.#skipSpace();
    return value;
  }

  #bareValue(): Json {
    switch (this.#text.charCodeAt(this.#at)) {
      case QUOTE:
        return this.#string();
      case BRACE:
        return this.#object();
      case BRACKET:
        return this.#list();
      // t, f, n
      case 0x74:
        return this.#word('true', true);
      case 0x66:
        return this.#word('false', false);
      case 0x6e:
        return this.#word('null', null);
      default:
        return this.#numberValue();
    }
  }

  #word<T>(word: string, value: T): T {
    if (!this.#text.startsWith(word, this.#at)) throw new InvalidJson('syntax');
    this.#at += word.length;
    return value;
  }

  #numberValue(): number | ExactNumber {
    this.#number.lastIndex = this.#at;
    const match = this.#number.exec(this.#text);
    if (match === null) throw new InvalidJson('syntax');
    const [digits] = match;
    this.#at += digits.length;
    const value = Number(digits);
    // Fifteen digits a double always keeps.
    if (/^(?:0|-?[1-9]\d{0,14})$/.test(digits) || `${value}` === digits) return value;
    this.hasExactNumbers = true;
    return new ExactNumber(digits);
  }

  #string(): string {
    const start = this.#at;
    let hasEscape = false;
    for (let at = start + 1; ; at++) {
      const code = this.#text.charCodeAt(at);
      if (code === QUOTE) {
        this.#at = at + 1;
        // The engine reads the escapes of a text on its own, where nothing of the above can happen.
        return hasEscape ? unescape(this.#text.slice(start, at + 1)) : this.#text.slice(start + 1, at);
      }
      if (code === BACKSLASH) {
        hasEscape = true;
        at++;
      } else if (!(code >= 0x20)) {
        // Control characters, and NaN behind the text's end.
        throw new InvalidJson('syntax');
      }
    }
  }

  #list(): readonly Json[] {
    const items: Json[] = [];
    this.#enter();
    if (this.#takes(BRACKET_END)) return this.#leave(items);
    for (;;) {
      items.push(this.#value());
      if (this.#takes(BRACKET_END)) return this.#leave(items);
      this.#expect(COMMA);
    }
  }

  #object(): Json {
    const members: Record<string, Json> = {};
    this.#enter();
    if (this.#takes(BRACE_END)) return this.#leave(members);
    for (;;) {
      if (this.#text.charCodeAt(this.#at) !== QUOTE) throw new InvalidJson('syntax');
      const name = this.#string();
      this.#skipSpace();
      this.#expect(COLON);
      const value = this.#value();
      // Assigned, it would become the prototype.
      if (name === '__proto__') {
        Object.defineProperty(members, name, { value, writable: true, enumerable: true, configurable: true });
      } else {
        members[name] = value;
      }
      if (this.#takes(BRACE_END)) return this.#leave(members);
      this.#expect(COMMA);
    }
  }

  #enter(): void {
    if (++this.#depth > this.#maxDepth) throw new InvalidJson('depth');
    this.#at++;
    this.#skipSpace();
  }

  /** The space behind is skipped by `#value`. */
  #leave<T>(value: T): T {
    this.#depth--;
    return value;
  }

  #takes(code: number): boolean {
    if (this.#text.charCodeAt(this.#at) !== code) return false;
    this.#at++;
    return true;
  }

  #expect(code: number): void {
    if (!this.#takes(code)) throw new InvalidJson('syntax');
    this.#skipSpace();
  }

  #skipSpace(): void {
    for (; ; this.#at++) {
      const code = this.#text.charCodeAt(this.#at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
    }
  }
}

function unescape(quoted: string): string {
  try {
    return JSON.parse(quoted) as string;
  } catch {
    throw new InvalidJson('syntax');
  }
}
