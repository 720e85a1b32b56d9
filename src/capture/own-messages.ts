import type { Logger } from 'pino';
import type { MessageChange } from '../core/change.ts';
import { type ApplyMessage, applyPrefix, parseMessage, type SelfTestMessage } from '../postgres/apply-tag.ts';
import { seldom } from './seldom.ts';

export interface OwnMessagesOptions {
  /** Name of the connector. */
  readonly connector: string;
  /** Keys the messages: what any other role writes under our prefix is worth nothing. */
  readonly secret: Uint8Array;
  readonly log: Logger;
}

/** What we wrote into the WAL ourselves, read back from the stream: reverse sync's, and moves of tables. */
export class OwnMessages {
  readonly prefix: string;
  readonly #secret: Uint8Array;
  readonly #complain: (facts: object) => void;
  /** Tokens of self-tests that are waited for. */
  readonly #expected = new Map<string, () => void>();
  /** Messages of our prefix that are not ours. */
  forged = 0;

  constructor({ connector, secret, log }: OwnMessagesOptions) {
    this.prefix = applyPrefix(connector);
    this.#secret = secret;
    this.#complain = seldom((facts) =>
      log.warn(
        facts,
        'a logical message of our own prefix is not ours: somebody forged it, or another database was copied',
      ),
    );
  }

  /** undefined: a self-test, or not ours; then it says nothing about its transaction. */
  read(change: MessageChange): Exclude<ApplyMessage, SelfTestMessage> | undefined {
    const { xid } = change.transaction;
    const message = parseMessage(change.content, { secret: this.#secret, xid });
    if (message === undefined) {
      this.forged += 1;
      this.#complain({ prefix: this.prefix, xid, forged: this.forged });
      return undefined;
    }
    if (message.kind !== 'selftest') return message;
    this.#expected.get(message.token)?.();
    return undefined;
  }

  /** Calls `onSeen` from within the stream when the self-test of this token passes; the function returned gives up waiting. */
  expect(token: string, onSeen: () => void): () => void {
    this.#expected.set(token, onSeen);
    return () => void this.#expected.delete(token);
  }
}
