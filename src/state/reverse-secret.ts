import { randomBytes } from 'node:crypto';
import { queryState, type StateScope } from './scope.ts';

const SECRET_BYTES = 32;

export interface ReverseSecretStore {
  /** The connector's secret: what keys the tags in the WAL and the hashes of written values. Made with the first use, the same for ever after. */
  get(): Promise<Buffer>;
}

export function reverseSecretStore(scope: StateScope): ReverseSecretStore {
  const read = async () =>
    (
      await queryState<{ secret: Buffer }>(scope, 'select secret from {reverse_secret} where connector = $1', [
        scope.connector,
      ])
    )[0]?.secret;
  return {
    async get() {
      const known = await read();
      if (known !== undefined) return known;
      await queryState(
        scope,
        'insert into {reverse_secret} (connector, secret) values ($1, $2) on conflict (connector) do nothing',
        [scope.connector, randomBytes(SECRET_BYTES)],
      );
      // Another process may have been first: what stands there counts.
      const made = await read();
      if (made === undefined) throw new TypeError('the secret that was just written is not there');
      return made;
    },
  };
}
