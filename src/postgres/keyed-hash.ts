import { hash } from 'node:crypto';
import type { SliceBuffer } from './slice-buffer.ts';

/** Of SHA-256, in bytes (FIPS 180-4). */
const BLOCK = 64;
const DIGEST = 32;
const INNER_PAD = 0x36;
const OUTER_PAD = 0x5c;
/** Text that needs no buffer of its own: most values have a few characters. */
const SHORT_BYTES = 4_096;

/**
 * HMAC-SHA256 (RFC 2104) with one key, by two plain hashes: an Hmac object for each value costs several times as much, and the collector has to free what
 * is behind it.
 */
export class KeyedHash {
  readonly #outer: SliceBuffer;
  #inner: SliceBuffer;

  constructor(key: Uint8Array) {
    const block = Buffer.alloc(BLOCK);
    block.set(key.length > BLOCK ? hash('sha256', key, 'buffer') : key);
    this.#inner = Buffer.alloc(BLOCK + SHORT_BYTES) as SliceBuffer;
    this.#outer = Buffer.alloc(BLOCK + DIGEST) as SliceBuffer;
    for (const [index, byte] of block.entries()) {
      this.#inner[index] = byte ^ INNER_PAD;
      this.#outer[index] = byte ^ OUTER_PAD;
    }
  }

  /** Of the text's UTF-8, in base64url. */
  of(text: string): string {
    // A character of UTF-16 has at most three bytes of UTF-8.
    const inner = text.length * 3 > SHORT_BYTES ? this.#innerFor(text) : this.#inner;
    const length = inner.utf8Write(text, BLOCK, inner.length - BLOCK);
    // As a string of one character a byte: a buffer for each costs more.
    const digest = hash('sha256', inner.subarray(0, BLOCK + length), 'binary');
    this.#outer.latin1Write(digest, BLOCK, DIGEST);
    return hash('sha256', this.#outer, 'base64url');
  }

  #innerFor(text: string): SliceBuffer {
    const inner = Buffer.alloc(BLOCK + Buffer.byteLength(text)) as SliceBuffer;
    this.#inner.copy(inner, 0, 0, BLOCK);
    return inner;
  }
}

const byKey = new WeakMap<Uint8Array, KeyedHash>();

/** The same object for the same key, which is used over and over. */
export function keyedHash(key: Uint8Array): KeyedHash {
  let keyed = byKey.get(key);
  if (keyed === undefined) byKey.set(key, (keyed = new KeyedHash(key)));
  return keyed;
}
