import { describe, expect, test } from 'vitest';
import { Sha256 } from '../../src/bus/sha256.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** FIPS 180-2, appendix B.1. */
const ABC = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
/** RFC 4231, test case 2. */
const JEFE = '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843';

async function sign(key: ConstructorParameters<typeof Sha256>[0]): Promise<string> {
  const hash = new Sha256(key);
  hash.update('what do ya want ');
  hash.update('for nothing?');
  return hex(await hash.digest());
}

describe('the hash that signs requests', () => {
  test('is SHA-256 over all that was given, text or bytes', async () => {
    const hash = new Sha256();
    hash.update('a');
    hash.update(new Uint8Array([0, 98, 0]).subarray(1, 2));
    hash.update(new DataView(new Uint8Array([99]).buffer));
    expect(hex(await hash.digest())).toBe(ABC);
    hash.reset();
    hash.update('abc', 'utf8');
    expect(hex(await hash.digest())).toBe(ABC);
  });

  test.for([
    ['text', 'Jefe'],
    ['bytes', Buffer.from('Jefe')],
    ['a buffer', new Uint8Array(Buffer.from('Jefe')).buffer],
    ['a part of a buffer', Buffer.from('(Jefe)').subarray(1, 5)],
  ] as const)('is HMAC-SHA-256 where the key is %s, also the second time and after another key', async ([, secret]) => {
    expect(await sign(secret)).toBe(JEFE);
    expect(await sign('another')).not.toBe(JEFE);
    expect(await sign(secret)).toBe(JEFE);
  });
});
