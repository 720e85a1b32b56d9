import { isAscii } from 'node:buffer';
import type { Cell } from '../core/change.ts';

/** A row is the number of its values, and each value's length before its text. */
const COUNT_BYTES = 2;
const LENGTH_BYTES = 4;

/** Instead of a length. */
const NULL_SENT = -1;
const NULL = 0x0fffffff;

/** No heap of a worker takes a row like this; below it a length has at most 28 bits, and none that means NULL. */
export const MAX_ROW_BYTES = NULL;

// oxlint-disable-next-line no-control-regex -- the range is what a byte of ASCII can be
const BEYOND_ASCII = /[^\u0000-\u007f]/;

/**
 * Rows in text form as the server sent them: bytes, which become strings when a row is asked for. V8's young generation copies again and again what
 * waits in it, and thousands of rows that wait as strings cost more than reading them; as bytes they are not in its heap.
 */
export class WireRows {
  /** Cells of a row; what was selected behind them is asked for by `value`. */
  readonly #cells: number;
  readonly #blocks: Buffer[] = [];
  /** Of each row: its block, and where it begins there. */
  readonly #blockOf: number[] = [];
  readonly #startOf: number[] = [];
  #bytes = 0;
  /** The block that was read last, one character a byte: rows are asked for in order, and one call decodes hundreds. */
  #recent = -1;
  #text = '';
  #isAscii = true;

  constructor(cells: number) {
    this.#cells = cells;
  }

  get length(): number {
    return this.#startOf.length;
  }

  /** Of all values. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * The block is nobody else's from now on. Its lengths are written anew, seven bits a byte: then the bytes of all of it are ASCII where those of the
   * values are.
   */
  add(block: Buffer, start: number): void {
    if (this.#blocks.at(-1) !== block) this.#blocks.push(block);
    this.#blockOf.push(this.#blocks.length - 1);
    this.#startOf.push(start);
    const columns = block.readInt16BE(start);
    let place = start + COUNT_BYTES;
    for (let column = 0; column < columns; column += 1) {
      const sent = block.readInt32BE(place);
      const length = sent === NULL_SENT ? NULL : sent;
      block[place] = length >>> 21;
      block[place + 1] = (length >>> 14) & 0x7f;
      block[place + 2] = (length >>> 7) & 0x7f;
      block[place + 3] = length & 0x7f;
      place += LENGTH_BYTES;
      if (length === NULL) continue;
      this.#bytes += length;
      place += length;
    }
  }

  at(row: number): Cell[] | undefined {
    return this.#read(row, this.#cells);
  }

  /** Of any column that was selected. */
  value(row: number, column: number): Cell {
    return this.#read(row, column + 1)?.[column];
  }

  *[Symbol.iterator](): Generator<Cell[]> {
    for (let row = 0; row < this.length; row += 1) yield this.at(row) ?? [];
  }

  #read(row: number, count: number): Cell[] | undefined {
    const number = this.#blockOf[row];
    const start = this.#startOf[row];
    if (number === undefined || start === undefined) return undefined;
    const block = this.#blocks[number] as Buffer;
    if (number !== this.#recent) this.#decode(block, number);
    const text = this.#text;
    const cells: Cell[] = [];
    let place = start + COUNT_BYTES;
    for (let column = 0; column < count; column += 1) {
      const length = lengthAt(block, place);
      place += LENGTH_BYTES;
      if (length === NULL) {
        cells.push(null);
        continue;
      }
      const cell = text.slice(place, place + length);
      cells.push(this.#isAscii || !BEYOND_ASCII.test(cell) ? cell : block.toString('utf8', place, place + length));
      place += length;
    }
    return cells;
  }

  #decode(block: Buffer, number: number): void {
    this.#text = block.toString('latin1');
    this.#isAscii = isAscii(block);
    this.#recent = number;
  }
}

function lengthAt(block: Buffer, place: number): number {
  const [a = 0, b = 0, c = 0, d = 0] = [block[place], block[place + 1], block[place + 2], block[place + 3]];
  return (a << 21) | (b << 14) | (c << 7) | d;
}
