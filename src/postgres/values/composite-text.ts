import { jsonString } from './json-string.ts';
import type { JsonWriter } from './scalars.ts';

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const CLOSE = 0x29;

export interface CompositeField {
  readonly name: string;
  readonly write: JsonWriter;
}

/**
 * The writer of rows, `(1,"a ""quoted"" one",)`: a JSON object by field name. Nothing between two commas is NULL, `""` is the
 * empty string. `malformed` makes the error for text with more or fewer fields than the catalog knew.
 */
export function compositeWriter(fields: readonly CompositeField[], malformed: () => Error): JsonWriter {
  const names = fields.map((field, index) => `${index === 0 ? '{' : ','}${jsonString(field.name)}:`);
  const writers = fields.map((field) => field.write);
  return (text) => {
    const last = text.length - 1;
    if (text.charCodeAt(0) !== 0x28 || text.charCodeAt(last) !== CLOSE) throw malformed();
    if (writers.length === 0 && last === 1) return '{}';
    let json = '';
    // Stands on what precedes a field: the parenthesis, then commas.
    let index = 0;
    for (let field = 0; field < writers.length; field++) {
      const code = text.charCodeAt(index);
      if (field === 0 ? index !== 0 : code !== COMMA) throw malformed();
      const start = index + 1;
      json += names[field];
      const write = writers[field] as JsonWriter;
      if (text.charCodeAt(start) === QUOTE) {
        const end = quotedEnd(text, start + 1);
        if (end < 0) throw malformed();
        json += write(unquoted(text, start + 1, end));
        index = end + 1;
      } else {
        let end = start;
        for (; end < last; end++) if (text.charCodeAt(end) === COMMA) break;
        json += end === start ? 'null' : write(text.slice(start, end));
        index = end;
      }
    }
    if (index !== last) throw malformed();
    return `${json}}`;
  };
}

/** Index of the quote that ends a field whose content starts at `start`; a doubled quote or backslash stands for one. */
function quotedEnd(text: string, start: number): number {
  for (let index = start; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === BACKSLASH) index++;
    else if (code === QUOTE) {
      if (text.charCodeAt(index + 1) !== QUOTE) return index;
      index++;
    }
  }
  return -1;
}

function unquoted(text: string, start: number, end: number): string {
  let result = '';
  let from = start;
  for (let index = start; index < end; index++) {
    const code = text.charCodeAt(index);
    if (code === QUOTE || code === BACKSLASH) {
      // The first of the pair goes, the second is the character itself.
      result += text.slice(from, index);
      from = index + 1;
      index++;
    }
  }
  return from === start ? text.slice(start, end) : result + text.slice(from, end);
}
