/** Columns that everything for people fits into. */
export const WIDTH = 100;

/** Columns of a terminal that a character takes: two for those of East Asia, none for what only changes the one before. */
export function widthOf(text: string): number {
  let width = 0;
  for (const character of text) width += charWidth(character);
  return width;
}

function charWidth(character: string): number {
  if (/\p{M}/u.test(character)) return 0;
  const code = character.codePointAt(0) ?? 0;
  const isWide =
    (code >= 0x1100 && code <= 0x115f) ||
    (code >= 0x2e80 && code <= 0xa4cf) ||
    (code >= 0xac00 && code <= 0xd7a3) ||
    (code >= 0xf900 && code <= 0xfaff) ||
    (code >= 0xfe30 && code <= 0xfe6f) ||
    (code >= 0xff00 && code <= 0xff60) ||
    code >= 0x1f000;
  return isWide ? 2 : 1;
}

/** Control characters and those that turn the direction of text can write over a terminal. */
export function visible(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\u{FFFD}');
}

/** Both ends of a name tell it apart from others: what is too long loses its middle. */
export function cutMiddle(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  const characters = Array.from(text);
  let [head, tail] = ['', ''];
  while (characters.length > 0) {
    const fromHead = widthOf(head) <= widthOf(tail);
    const next = (fromHead ? characters.shift() : characters.pop()) ?? '';
    if (widthOf(head) + widthOf(tail) + widthOf(next) + 1 > width) break;
    if (fromHead) head += next;
    else tail = next + tail;
  }
  return width < 1 ? '' : `${head}…${tail}`;
}

export function cutEnd(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  let kept = '';
  for (const character of text) {
    if (widthOf(kept) + widthOf(character) + 1 > width) break;
    kept += character;
  }
  return width < 1 ? '' : `${kept}…`;
}

/** How a cell loses what does not fit. */
export type Cut = (text: string, width: number) => string;

const GAP = 2;

/** Rows of at most `width` columns of the terminal. What is too much is taken from the cells of a row in the order of `give`: from each column down to `least`. */
export function fitRows(
  rows: readonly (readonly string[])[],
  layout: {
    readonly columns: readonly Cut[];
    readonly width: number;
    readonly give: readonly { readonly column: number; readonly least: number }[];
  },
): string[] {
  const { columns, width, give } = layout;
  const widths = columns.map((_, index) => Math.max(0, ...rows.map((row) => widthOf(row[index] ?? ''))));
  let over = widths.reduce((sum, each) => sum + each + GAP, -GAP) - width;
  for (const { column, least } of give) {
    const now = widths[column] ?? 0;
    const taken = Math.max(0, Math.min(over, now - least));
    widths[column] = now - taken;
    over -= taken;
  }
  return rows.map((row) => {
    const cells = columns.map((cut, index) => {
      const room = widths[index] ?? 0;
      const cell = cut(row[index] ?? '', room);
      return cell + ' '.repeat(Math.max(0, room - widthOf(cell)));
    });
    return cutEnd(cells.join(' '.repeat(GAP)).trimEnd(), width);
  });
}

/** Prose in lines of at most `width` columns; words that are longer stay whole. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/ (?! )/)) {
    if (line !== '' && widthOf(line) + 1 + widthOf(word) > width) {
      lines.push(line);
      line = word.trimStart();
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}
