import { quoteLiteral } from '../postgres/identifier.ts';

/** What stands between words of SQL; a name that has such characters in it is looked for as its words in a row. */
const BETWEEN_WORDS = ' .,()"\'\t\n\r;=<>+-*/:[]!|&%@#~`{}?';
const BETWEEN = new RegExp(`[${BETWEEN_WORDS.replaceAll(/[\]\\^[-]/g, '\\$&')}]+`);

/** A text as its words, in lower case. */
export function wordsOf(text: string): string[] {
  return text
    .toLowerCase()
    .split(BETWEEN)
    .filter((word) => word !== '');
}

/** SQL: the same, with a space for each character between words. */
export function words(text: string): string {
  const between = quoteLiteral(BETWEEN_WORDS);
  return `lower(translate(${text}, ${between}, repeat(' ', length(${between}))))`;
}
