import type { Cell } from '../core/change.ts';
import { int32At, SCANNED_BYTES, type SliceBuffer } from './slice-buffer.ts';

/** A row is the number of its values, and each value's length before its text. */
const COUNT_BYTES = 2;
const LENGTH_BYTES = 4;

/** Instead of the length of a value, and of its end. */
export const IS_NULL = -1;

/** No heap of a worker takes a row like this. */
export const MAX_ROW_BYTES = 0x0fffffff;

const FIRST_BYTES = 64 * 1_024;
const FIRST_ROWS = 1_024;
/** A buffer that had to be larger is not kept for the next rows. */
const KEPT_BYTES = 8 * 1_024 * 1_024;
/** The chunk that is being sent, and the one that is read ahead. */
const KEPT_ROWS = 2;
/** Of more, finding out which are asked for costs more than making all cells. */
const FEW_COLUMNS = 16;
/** Decoded at a time, one character a byte: rows are asked for in order, and one call decodes hundreds. */
const TEXT_BYTES = 64 * 1_024;
const EMPTY = Buffer.alloc(0) as SliceBuffer;

/** Where the values of one row are. One object serves one row after the other. */
export interface RowBytes {
  bytes: Buffer;
  readonly starts: Int32Array;
  /** `IS_NULL` where there is no value. */
  readonly ends: Int32Array;
}

/**
 * Rows in text form as the server sent them: bytes in one buffer that serves chunk after chunk. Thousands of rows that wait as strings, or as the many
 * buffers that a socket brings, would be copied and marked by the engine's collector again and again.
 */
export class WireRows {
  /** Cells of a row; what was selected behind them is asked for by `value`. */
  #cells: number;
  /** The kept rows, and behind them what has arrived and nobody has looked at yet. */
  #buffer = EMPTY;
  #kept = 0;
  #received = 0;
  /** Where each row begins. */
  #starts = new Uint32Array(FIRST_ROWS);
  #length = 0;
  #bytes = 0;
  /** Part of the buffer as text. */
  #text = '';
  #textAt = 0;

  constructor(cells: number) {
    this.#cells = cells;
  }

  get length(): number {
    return this.#length;
  }

  /** Of all values. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Of all rows in memory: NULLs, too, have a length that says so. */
  get held(): number {
    return this.#kept;
  }

  /** Valid until something is received, settled or cleared. */
  get buffer(): Buffer {
    return this.#buffer;
  }

  /** Where that begins in the buffer which nobody has looked at yet, and where it ends. */
  get unread(): { readonly start: number; readonly end: number } {
    return { start: this.#kept, end: this.#received };
  }

  /** Puts bytes of the server's behind all others. */
  receive(data: Buffer): void {
    const needed = this.#received + data.length;
    if (needed > this.#buffer.length) this.#grow(needed);
    data.copy(this.#buffer, this.#received);
    this.#received = needed;
  }

  /** The bytes there are a row. */
  keep(start: number, end: number): void {
    if (this.#length === this.#starts.length) {
      const larger = new Uint32Array(2 * this.#length);
      larger.set(this.#starts);
      this.#starts = larger;
    }
    this.#starts[this.#length] = start;
    this.#length += 1;
    const columns = this.#buffer.readInt16BE(start);
    this.#bytes += end - start - COUNT_BYTES - columns * LENGTH_BYTES;
    this.#kept = end;
  }

  /** All before this place was looked at: what was not kept of it is let go. */
  settle(place: number): void {
    if (place > this.#kept) this.#buffer.copyWithin(this.#kept, place, this.#received);
    this.#received -= place - this.#kept;
  }

  /** Takes what nobody has looked at. */
  takeUnread(): Buffer {
    const rest = Buffer.from(this.#buffer.subarray(this.#kept, this.#received));
    this.#received = this.#kept;
    return rest;
  }

  /** For other rows; those that were there are gone. */
  reset(cells: number): void {
    this.#cells = cells;
    this.#kept = 0;
    this.#received = 0;
    this.#length = 0;
    this.#bytes = 0;
    this.#text = '';
  }

  at(row: number): Cell[] | undefined {
    if (row >= this.#length) return undefined;
    const buffer = this.#buffer;
    const cells: Cell[] = [];
    let place = (this.#starts[row] as number) + COUNT_BYTES;
    for (let column = 0; column < this.#cells; column += 1) {
      const length = int32At(buffer, place);
      place += LENGTH_BYTES;
      cells.push(length === IS_NULL ? null : this.#textOf(place, place + length));
      if (length !== IS_NULL) place += length;
    }
    return cells;
  }

  /** Of any column that was selected. */
  value(row: number, column: number): Cell {
    return this.pick(row, [column])[0];
  }

  /** Some of the row's values, without making the others. */
  pick(row: number, columns: readonly number[]): Cell[] {
    if (columns.length > FEW_COLUMNS) {
      const cells = this.at(row);
      return columns.map((column) => cells?.[column]);
    }
    const picked: Cell[] = [];
    if (row >= this.#length) return picked;
    const buffer = this.#buffer;
    const last = Math.max(...columns);
    let place = (this.#starts[row] as number) + COUNT_BYTES;
    for (let column = 0; column <= last; column += 1) {
      const length = int32At(buffer, place);
      place += LENGTH_BYTES;
      const end = length === IS_NULL ? place : place + length;
      const at = columns.indexOf(column);
      if (at >= 0) picked[at] = length === IS_NULL ? null : this.#textOf(place, end);
      place = end;
    }
    return picked;
  }

  /** Finds the row's values where they are. Returns whether there is such a row. */
  locate(row: number, into: RowBytes): boolean {
    if (row >= this.#length) return false;
    const buffer = this.#buffer;
    const { starts, ends } = into;
    into.bytes = buffer;
    let place = (this.#starts[row] as number) + COUNT_BYTES;
    for (let column = 0; column < this.#cells; column += 1) {
      const length = int32At(buffer, place);
      place += LENGTH_BYTES;
      starts[column] = place;
      if (length !== IS_NULL) place += length;
      ends[column] = length === IS_NULL ? IS_NULL : place;
    }
    return true;
  }

  *[Symbol.iterator](): Generator<Cell[]> {
    for (let row = 0; row < this.#length; row += 1) yield this.at(row) ?? [];
  }

  #textOf(start: number, end: number): string {
    const buffer = this.#buffer;
    if (end - start > SCANNED_BYTES) return buffer.utf8Slice(start, end);
    let seen = 0;
    for (let index = start; index < end; index += 1) seen |= buffer[index] as number;
    if (seen > 0x7f) return buffer.utf8Slice(start, end);
    if (start < this.#textAt || end > this.#textAt + this.#text.length) {
      this.#textAt = start;
      this.#text = buffer.latin1Slice(start, Math.min(start + TEXT_BYTES, this.#kept));
    }
    return this.#text.slice(start - this.#textAt, end - this.#textAt);
  }

  #grow(needed: number): void {
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, FIRST_BYTES, 2 * this.#buffer.length)) as SliceBuffer;
    this.#buffer.copy(larger, 0, 0, this.#received);
    this.#buffer = larger;
  }
}

/** Rows that were handed on, for the next chunk. */
export class SpareRows {
  readonly #spare: WireRows[] = [];

  take(cells: number): WireRows {
    const rows = this.#spare.pop() ?? new WireRows(cells);
    rows.reset(cells);
    return rows;
  }

  /** Nobody may look at them any more. Kept are as many as one reader needs, none that a few huge rows have made large. */
  give(rows: WireRows): void {
    if (this.#spare.length < KEPT_ROWS && rows.buffer.length <= KEPT_BYTES) this.#spare.push(rows);
  }
}
