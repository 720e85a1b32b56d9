import type { SliceBuffer } from '../slice-buffer.ts';

/** Where a value's text stands among the bytes of a row. One object serves one value after the other. */
export interface ByteValue {
  bytes: Buffer;
  start: number;
  /** Behind its last byte. */
  end: number;
}

/** A text that is put in again and again: four bytes at a time. */
export class ByteConstant {
  readonly length: number;
  /** Zeros behind the last byte: the next text overwrites them. */
  readonly words: Uint32Array;

  constructor(text: string) {
    const bytes = Buffer.from(text);
    this.length = bytes.length;
    const padded = Buffer.alloc(Math.ceil(bytes.length / WORD) * WORD);
    bytes.copy(padded);
    this.words = Uint32Array.from({ length: padded.length / WORD }, (_, word) => padded.readUInt32LE(word * WORD));
  }
}

const WORD = Uint32Array.BYTES_PER_ELEMENT;

/**
 * UTF-8 text that is put together in a buffer that is used again and again. Nothing but `write` looks whether there is room: whoever writes has made sure
 * before, since asking for each piece would cost more than writing it.
 */
export class ByteText {
  readonly bytes: SliceBuffer;
  /** Where the next byte goes. */
  at = 0;
  readonly #view: DataView;

  constructor(size: number) {
    // The last constant's zeros need room, too.
    this.bytes = Buffer.allocUnsafeSlow(size + WORD) as SliceBuffer;
    this.#view = new DataView(this.bytes.buffer);
  }

  get room(): number {
    return this.bytes.length - WORD - this.at;
  }

  put({ words, length }: ByteConstant): void {
    const view = this.#view;
    let { at } = this;
    this.at = at + length;
    for (let word = 0; word < words.length; word++) {
      view.setUint32(at, words[word] as number, true);
      at += WORD;
    }
  }

  copy({ bytes: from, start, end }: ByteValue): void {
    const { bytes } = this;
    let { at } = this;
    for (let index = start; index < end; index++) bytes[at++] = from[index] as number;
    this.at = at;
  }

  /** Returns false, and writes nothing, where there is no room. */
  write(text: string): boolean {
    const length = Buffer.byteLength(text);
    if (length > this.room) return false;
    this.bytes.utf8Write(text, this.at, length);
    this.at += length;
    return true;
  }
}

export function textOf({ bytes, start, end }: ByteValue): string {
  return (bytes as SliceBuffer).utf8Slice(start, end);
}
