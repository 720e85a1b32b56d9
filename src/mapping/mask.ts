import { createHmac } from 'node:crypto';
import type { Mask } from '../config/schema.ts';

/** 128 of the 256 bits: no two values of a table meet by chance, and the event stays short. */
const HASH_HEX_DIGITS = 32;
/** Of a shorter text, four characters would be half of it or more. */
const LAST4_MIN_LENGTH = 8;

/**
 * From PostgreSQL's text of a value to the text that leaves. NULL stays NULL. `hash` is HMAC-SHA256 under the mask key, the
 * same for equal texts in every table, so that consumers can still join by it; without the key it can not be found by
 * trying all values. `last4` shows the last four characters of a text of eight or more, nothing of a shorter one.
 */
export function masker(mask: Mask, maskKey: string | undefined): (text: string) => string {
  if (mask === 'redact') return () => '[redacted]';
  if (mask === 'last4') {
    return (text) => {
      const characters = Array.from(text);
      return characters.length < LAST4_MIN_LENGTH ? '****' : `****${characters.slice(-4).join('')}`;
    };
  }
  if (maskKey === undefined) throw new TypeError('a hash needs the mask key');
  return (text) => createHmac('sha256', maskKey).update(text).digest('hex').slice(0, HASH_HEX_DIGITS);
}
