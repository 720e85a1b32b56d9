import type { EventBridgeClientConfig } from '@aws-sdk/client-eventbridge';
import { createHash, createHmac, createSecretKey, type Hash, type Hmac, type KeyObject } from 'node:crypto';

type Constructor = NonNullable<EventBridgeClientConfig['sha256']>;
type SourceData = NonNullable<ConstructorParameters<Constructor>[0]>;

/**
 * SHA-256 and its HMAC as the AWS SDK wants them (`sha256` of a client). The SDK's own makes a key object for each signature, which costs more than the
 * signature; every call of a day is signed with the same two keys.
 */
export class Sha256 {
  readonly #secret: SourceData | undefined;
  #hash: Hash | Hmac;

  constructor(secret?: SourceData) {
    this.#secret = secret;
    this.#hash = hashOf(secret);
  }

  update(data: SourceData, encoding?: 'utf8' | 'ascii' | 'latin1'): void {
    this.#hash.update(typeof data === 'string' ? Buffer.from(data, encoding) : viewOf(data));
  }

  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }

  reset(): void {
    this.#hash = hashOf(this.#secret);
  }
}

const keyOfBytes = new WeakMap<object, KeyObject>();
/** The last one: of texts only the secret access key comes again. */
let keyOfText: { readonly text: string; readonly key: KeyObject } | undefined;

function hashOf(secret: SourceData | undefined): Hash | Hmac {
  return secret === undefined ? createHash('sha256') : createHmac('sha256', keyOf(secret));
}

function keyOf(secret: SourceData): KeyObject {
  if (typeof secret === 'string') {
    if (keyOfText?.text !== secret) keyOfText = { text: secret, key: createSecretKey(secret, 'utf8') };
    return keyOfText.key;
  }
  let key = keyOfBytes.get(secret);
  if (key === undefined) {
    key = createSecretKey(viewOf(secret));
    keyOfBytes.set(secret, key);
  }
  return key;
}

function viewOf(data: Exclude<SourceData, string>): Uint8Array {
  return ArrayBuffer.isView(data)
    ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    : new Uint8Array(data);
}
