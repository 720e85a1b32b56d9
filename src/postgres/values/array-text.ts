import type { JsonWriter } from './scalars.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN = 0x7b;
const CLOSE = 0x7d;
const BRACKET = 0x5b;

/**
 * The writer of arrays of any dimension. Braces, elements and delimiters of PostgreSQL's text stand in the order that JSON
 * wants, so it is one pass; lower bounds (`[0:1]={…}`) are dropped, as `to_jsonb` does. `malformed` makes the error for text
 * that is no array.
 */
export function arrayWriter(
  element: JsonWriter,
  { delimiter, malformed }: { delimiter: string; malformed: () => Error },
): JsonWriter {
  const separator = delimiter.charCodeAt(0);
  return (text) => {
    const length = text.length;
    let index = text.charCodeAt(0) === BRACKET ? text.indexOf('=') + 1 : 0;
    if (text.charCodeAt(index) !== OPEN || text.charCodeAt(length - 1) !== CLOSE) throw malformed();
    let json = '';
    let depth = 0;
    while (index < length) {
      const code = text.charCodeAt(index);
      if (code === OPEN) {
        json += '[';
        depth++;
        index++;
      } else if (code === CLOSE) {
        json += ']';
        depth--;
        index++;
      } else if (code === separator) {
        json += ',';
        index++;
      } else if (code === QUOTE) {
        const end = closingQuote(text, index + 1);
        if (end < 0) throw malformed();
        json += element(unescaped(text, index + 1, end));
        index = end + 1;
      } else {
        let end = index + 1;
        for (; end < length; end++) {
          const next = text.charCodeAt(end);
          if (next === separator || next === CLOSE) break;
        }
        // The server quotes a string that reads NULL, so what is not quoted is SQL NULL.
        const bare = text.slice(index, end);
        json += bare === 'NULL' ? 'null' : element(bare);
        index = end;
      }
    }
    if (depth !== 0) throw malformed();
    return json;
  };
}

/** Index of the quote that ends a string whose content starts at `start`, where a backslash protects the next character. */
export function closingQuote(text: string, start: number): number {
  for (let index = start; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === QUOTE) return index;
    if (code === BACKSLASH) index++;
  }
  return -1;
}

/** The text between two indexes without the backslashes that protect a character. */
export function unescaped(text: string, start: number, end: number): string {
  let backslash = text.indexOf('\\', start);
  if (backslash < 0 || backslash >= end) return text.slice(start, end);
  let result = '';
  let from = start;
  while (backslash >= 0 && backslash < end) {
    result += text.slice(from, backslash);
    from = backslash + 1;
    backslash = text.indexOf('\\', from + 1);
  }
  return result + text.slice(from, end);
}
