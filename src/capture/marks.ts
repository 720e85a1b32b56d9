import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import type { MessageChange, TransactionHeader } from '../core/change.ts';
import { abortReason } from '../flow/supervise.ts';
import { quoteLiteral } from '../postgres/identifier.ts';
import { toDatabaseError } from '../postgres/sqlstate.ts';

interface ExpectedMark {
  committedAtMs: number | undefined;
  readonly seen: (mark: TransactionHeader) => void;
}

/**
 * Positions in the stream that we set ourselves, by transactional logical messages. Their content is a random token: any role may send a message
 * of any prefix, and nobody else can know what is waited for.
 */
export class Marks {
  readonly #prefix: string;
  /** In the order in which they were set. */
  readonly #expected = new Map<string, ExpectedMark>();

  /** @param name the connector's */
  constructor(name: string) {
    this.#prefix = `banyan:${name}:mark`;
  }

  /** Whether the message is a mark, ours of now or one of an earlier session: then it is nobody else's event. */
  accept(change: MessageChange): boolean {
    if (change.prefix !== this.#prefix) return false;
    const expected = this.#expected.get(change.content);
    if (expected === undefined) return true;
    this.#expected.delete(change.content);
    expected.seen(change.transaction);
    return true;
  }

  /** Age of the oldest mark that is on its way, by our clock alone: so far is the stream behind at least. */
  get waitingMs(): number {
    for (const { committedAtMs } of this.#expected.values()) {
      if (committedAtMs !== undefined) return performance.now() - committedAtMs;
    }
    return 0;
  }

  /**
   * Writes a mark; resolves when it is committed, with the promise of its arrival. `onSeen` is called from within the stream, at the mark's place
   * between all other changes.
   */
  async set(
    client: pg.ClientBase | pg.Pool,
    { onSeen, signal }: { onSeen?: (mark: TransactionHeader) => void; signal: AbortSignal },
  ): Promise<{ readonly seen: Promise<TransactionHeader> }> {
    const token = randomBytes(16).toString('hex');
    const seen = Promise.withResolvers<TransactionHeader>();
    // Whoever never waits for it is not to be ended by its failure.
    seen.promise.catch(() => undefined);
    const onAbort = (): void => {
      this.#expected.delete(token);
      seen.reject(abortReason(signal));
    };
    signal.throwIfAborted();
    signal.addEventListener('abort', onAbort, { once: true });
    const expected: ExpectedMark = {
      committedAtMs: undefined,
      seen: (mark) => {
        signal.removeEventListener('abort', onAbort);
        onSeen?.(mark);
        seen.resolve(mark);
      },
    };
    this.#expected.set(token, expected);
    try {
      // Nothing depends on a mark outliving the server: it need not wait for a synchronous standby.
      await client.query(`begin; set local synchronous_commit = local;
        select pg_logical_emit_message(true, ${quoteLiteral(this.#prefix)}, '${token}'); commit`);
      expected.committedAtMs = performance.now();
    } catch (error) {
      onAbort();
      signal.removeEventListener('abort', onAbort);
      throw toDatabaseError(error, 'setting a mark in the stream');
    }
    return { seen: seen.promise };
  }
}
