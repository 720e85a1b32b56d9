import type { Cell } from '../../core/change.ts';
import { BanyanError } from '../../core/errors.ts';
import type { Lsn } from '../../core/lsn.ts';
import { int32At, SCANNED_BYTES, type SliceBuffer } from '../slice-buffer.ts';

/** PostgreSQL counts time from 2000-01-01; this is that moment in microseconds since 1970-01-01. */
const POSTGRES_EPOCH_MICROS = 946_684_800_000_000n;

/**
 * Up to this size a message is turned into one string and its values are cut out of that: eight calls into C++ per row cost more
 * than everything else here. Larger messages are read value by value, so that a small value never keeps a large one alive.
 */
const WHOLE_TEXT_BYTES = 4_096;

const KIND_NULL = 0x6e; // n
const KIND_TEXT = 0x74; // t
const KIND_UNCHANGED = 0x75; // u

/**
 * Reads one pgoutput message. Everything it returns is a copy: the driver uses the buffer again for the next chunk. A field
 * that reaches past the end throws `unknown` with the position of the byte.
 */
export class PgoutputReader {
  #bytes: SliceBuffer;
  #offset = 0;
  #size = 0;
  #text: string | undefined;

  constructor() {
    this.#bytes = Buffer.alloc(0) as SliceBuffer;
  }

  /** Starts on another message; the reader is used again for each, so that it costs no object per row. */
  open(bytes: Buffer): void {
    this.#bytes = bytes as SliceBuffer;
    this.#offset = 0;
    this.#size = bytes.length;
    this.#text = undefined;
  }

  /** Ends the message: bytes that nobody read mean that it was not understood. */
  close(): void {
    if (this.#offset !== this.#size)
      throw this.malformed(`${this.#size - this.#offset} bytes after the end of the message`);
  }

  uint8(): number {
    this.#need(1);
    return this.#bytes[this.#offset++] as number;
  }

  int16(): number {
    this.#need(2);
    const value = this.#bytes.readInt16BE(this.#offset);
    this.#offset += 2;
    return value;
  }

  int32(): number {
    this.#need(4);
    const value = int32At(this.#bytes, this.#offset);
    this.#offset += 4;
    return value;
  }

  /** OIDs and xids: read signed, those above 2^31 would turn negative. */
  uint32(): number {
    return this.int32() >>> 0;
  }

  lsn(): Lsn {
    this.#need(8);
    const value = this.#bytes.readBigUInt64BE(this.#offset);
    this.#offset += 8;
    return value as Lsn;
  }

  /** Microseconds since 1970-01-01 UTC. */
  micros(): bigint {
    this.#need(8);
    const value = this.#bytes.readBigInt64BE(this.#offset);
    this.#offset += 8;
    return value + POSTGRES_EPOCH_MICROS;
  }

  /** A name, ended by a zero byte. */
  string(): string {
    const end = this.#bytes.indexOf(0, this.#offset);
    if (end === -1) throw this.malformed('a name without its end');
    const value = this.#bytes.utf8Slice(this.#offset, end);
    this.#offset = end + 1;
    return value;
  }

  /** `length` bytes, valid only until the next message. */
  bytes(length: number): Buffer {
    if (length < 0) throw this.malformed(`a length of ${length}`);
    this.#need(length);
    const value = this.#bytes.subarray(this.#offset, this.#offset + length);
    this.#offset += length;
    return value;
  }

  /**
   * TupleData. In a key-only old tuple (`K`) every null means "not sent", since the columns of an identity that is not FULL
   * can not be null: pass undefined for `nullCell`.
   */
  tuple(nullCell: null | undefined): Cell[] {
    const bytes = this.#bytes;
    const size = this.#size;
    const count = this.int16();
    if (count < 0) throw this.malformed(`a tuple of ${count} columns`);
    let text = this.#text;
    if (text === undefined && size <= WHOLE_TEXT_BYTES) text = this.#text = bytes.latin1Slice(0, size);
    let offset = this.#offset;
    const cells: Cell[] = [];
    for (let column = 0; column < count; column++) {
      const kind = bytes[offset];
      if (kind === KIND_TEXT) {
        const start = offset + 5;
        const length = start > size ? -1 : int32At(bytes, offset + 1);
        const end = start + length;
        if (length < 0 || end > size) throw this.#badCell(column, offset);
        if (text === undefined || length > SCANNED_BYTES) {
          cells.push(bytes.utf8Slice(start, end));
        } else {
          let seen = 0;
          for (let index = start; index < end; index++) seen |= bytes[index] as number;
          cells.push(seen < 0x80 ? text.substring(start, end) : bytes.utf8Slice(start, end));
        }
        offset = end;
      } else if (kind === KIND_NULL) {
        cells.push(nullCell);
        offset++;
      } else if (kind === KIND_UNCHANGED) {
        cells.push(undefined);
        offset++;
      } else {
        throw this.#badCell(column, offset);
      }
    }
    this.#offset = offset;
    return cells;
  }

  /** The error for what can not be read; it names the byte, never what stands there. */
  malformed(what: string): BanyanError {
    return new BanyanError(
      'unknown',
      `pgoutput message can not be read at byte ${this.#offset} of ${this.#size}: ${what}`,
      {
        remedy:
          'read again from the slot by a restart; if the same position fails again, please report it with the PostgreSQL version and the log line',
        context: { offset: this.#offset, size: this.#size },
      },
    );
  }

  #badCell(column: number, offset: number): BanyanError {
    this.#offset = offset;
    return this.malformed(`column ${column + 1} of the tuple has an unknown kind or reaches past the end`);
  }

  #need(length: number): void {
    if (this.#offset + length > this.#size) throw this.malformed(`${length} more bytes were expected`);
  }
}
