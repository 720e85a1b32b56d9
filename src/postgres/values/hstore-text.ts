import { closingQuote, unescaped } from './array-text.ts';
import { jsonString } from './json-string.ts';
import type { JsonWriter } from './scalars.ts';

/**
 * The writer of hstore, `"a"=>"1", "b"=>NULL`: an object of strings and nulls, as the extension's own cast to json makes it.
 * Its output quotes every key and every value but NULL.
 */
export function hstoreWriter(malformed: () => Error): JsonWriter {
  return (text) => {
    let json = '{';
    let index = 0;
    while (index < text.length) {
      const keyEnd = quotedEnd(text, index, malformed);
      if (!text.startsWith('=>', keyEnd + 1)) throw malformed();
      json += `${index === 0 ? '' : ','}${jsonString(unescaped(text, index + 1, keyEnd))}:`;
      index = keyEnd + 3;
      if (text.startsWith('NULL', index)) {
        json += 'null';
        index += 4;
      } else {
        const end = quotedEnd(text, index, malformed);
        json += jsonString(unescaped(text, index + 1, end));
        index = end + 1;
      }
      if (index === text.length) break;
      if (!text.startsWith(', ', index)) throw malformed();
      index += 2;
    }
    return `${json}}`;
  };
}

function quotedEnd(text: string, start: number, malformed: () => Error): number {
  const end = text[start] === '"' ? closingQuote(text, start + 1) : -1;
  if (end < 0) throw malformed();
  return end;
}
