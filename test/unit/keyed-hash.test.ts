import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { KeyedHash, keyedHash } from '../../src/postgres/keyed-hash.ts';

const hex = (digest: string): string => Buffer.from(digest, 'base64url').toString('hex');

describe('a keyed hash', () => {
  test.for([
    // Test cases 1, 2, 6 and 7 of RFC 4231.
    [Buffer.alloc(20, 0x0b), 'Hi There', 'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7'],
    [
      Buffer.from('Jefe'),
      'what do ya want for nothing?',
      '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
    ],
    [
      Buffer.alloc(131, 0xaa),
      'Test Using Larger Than Block-Size Key - Hash Key First',
      '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54',
    ],
    [
      Buffer.alloc(131, 0xaa),
      'This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.',
      '9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2',
    ],
  ] as const)('is HMAC-SHA256: %#', ([key, text, digest]) => {
    expect(hex(new KeyedHash(key).of(text))).toBe(digest);
  });

  test('is that of Node.js for any key and text, one after the other', () => {
    const texts = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 200 }),
      fc.integer({ min: 0, max: 3_000 }).map((length) => 'é€'.repeat(length)),
      fc.integer({ min: 1_300, max: 1_400 }).map((length) => 'x'.repeat(length)),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.array(texts, { maxLength: 5 }), (key, all) => {
        const expected = all.map((text) => createHmac('sha256', key).update(text).digest('base64url'));
        expect(all.map((text) => keyedHash(key).of(text))).toEqual(expected);
      }),
    );
  });
});
