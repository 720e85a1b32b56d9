import type { Lsn } from '../core/lsn.ts';
import { maxLsn, ZERO_LSN } from '../core/lsn.ts';

/**
 * One transaction's account in the ledger: a counter, not a list, so that two million rows cost as much as one. Made by
 * `Ledger.begin` and changed by the ledger only.
 */
export interface LedgerTransaction {
  readonly commitLsn: Lsn;
  /** Events opened and not settled yet. */
  open: number;
  /**
   * Known from the commit on: the position that is safe once this transaction and all before it are settled. Grows past the
   * transaction's own end when transactions without open events follow it.
   */
  endLsn: Lsn | undefined;
  next: LedgerTransaction | undefined;
}

/**
 * Settlements in any order become the highest LSN that may be confirmed to PostgreSQL: the end of the last committed transaction
 * with nothing open at or before it. Transactions arrive one at a time and in commit order (pgoutput protocol 1 without
 * streaming). The watermark never goes backwards.
 */
export class Ledger {
  #watermark: Lsn;
  #position: Lsn;
  #ceiling: Lsn | undefined;
  #pending = 0;
  #settled = 0;
  #receiving: LedgerTransaction | undefined;
  /** Committed transactions that hold the watermark back, oldest first. Empty while everything is settled. */
  #oldest: LedgerTransaction | undefined;
  #newest: LedgerTransaction | undefined;

  /** @param start what is confirmed already: the slot's position */
  constructor(start: Lsn = ZERO_LSN) {
    this.#watermark = start;
    this.#position = start;
  }

  /** Everything that ends at or before this position is settled, and nothing else keeps it from being confirmed. */
  get watermark(): Lsn {
    const ceiling = this.#ceiling;
    return ceiling !== undefined && ceiling < this.#watermark ? ceiling : this.#watermark;
  }

  /** How far the stream has come, settled or not; inside a transaction, what lies before it. */
  get position(): Lsn {
    return this.#position;
  }

  /**
   * What lies behind it must not be confirmed yet, whatever settles; undefined: nothing keeps it. Only ever a `position` of the transaction that is being received,
   * or a later one, so that the watermark does not go back.
   */
  set ceiling(ceiling: Lsn | undefined) {
    this.#ceiling = ceiling;
  }

  /** Events opened and not settled, in all transactions, abandoned ones included. */
  get pending(): number {
    return this.#pending;
  }

  /** Events settled so far: grows also inside a transaction that keeps the watermark where it is. */
  get settled(): number {
    return this.#settled;
  }

  /** Whether a transaction is being received: between its begin and its commit. */
  get receiving(): boolean {
    return this.#receiving !== undefined;
  }

  begin(commitLsn: Lsn): LedgerTransaction {
    if (this.#receiving !== undefined) throw new RangeError('a transaction begins while another is being received');
    const transaction: LedgerTransaction = { commitLsn, open: 0, endLsn: undefined, next: undefined };
    this.#receiving = transaction;
    return transaction;
  }

  /** Before the event is handed on: `n` more events of the transaction must settle. Only while it is being received. */
  open(transaction: LedgerTransaction, n = 1): void {
    if (transaction !== this.#receiving)
      throw new RangeError('an event opens in a transaction that is not being received');
    transaction.open += n;
    this.#pending += n;
  }

  /** `n` events of the transaction were accepted by the bus or durably parked. */
  settle(transaction: LedgerTransaction, n = 1): void {
    if (n > transaction.open) throw new RangeError('more events settle in a transaction than were opened');
    transaction.open -= n;
    this.#pending -= n;
    this.#settled += n;
    if (transaction.open === 0 && transaction === this.#oldest) this.#advance(transaction);
  }

  /** @param endLsn of pgoutput's Commit: where the next transaction may start */
  commit(transaction: LedgerTransaction, endLsn: Lsn): void {
    if (transaction !== this.#receiving) throw new RangeError('a transaction commits that is not being received');
    this.#receiving = undefined;
    this.#position = maxLsn(this.#position, endLsn);
    if (transaction.open > 0) {
      transaction.endLsn = endLsn;
      if (this.#newest === undefined) this.#oldest = transaction;
      else this.#newest.next = transaction;
      this.#newest = transaction;
    } else if (this.#newest === undefined) {
      this.#watermark = maxLsn(this.#watermark, endLsn);
    } else {
      // Nothing of it is open: it is safe as soon as the one before it is, so that one answers for both.
      this.#newest.endLsn = endLsn;
    }
  }

  /**
   * The connection ended inside the transaction: the server will send it again from its begin. What it opened may still
   * settle, and moves nothing.
   */
  abandon(transaction: LedgerTransaction): void {
    if (transaction === this.#receiving) this.#receiving = undefined;
  }

  /**
   * A keepalive's WAL end, arrived behind every row before it. It moves the watermark only when nothing is open and no transaction
   * is being received, so that a slot whose tables are idle does not pin the WAL that others write.
   */
  idle(walEnd: Lsn): void {
    if (this.#receiving !== undefined) return;
    this.#position = maxLsn(this.#position, walEnd);
    if (this.#oldest !== undefined || this.#pending > 0) return;
    this.#watermark = maxLsn(this.#watermark, walEnd);
  }

  #advance(settled: LedgerTransaction): void {
    let transaction: LedgerTransaction | undefined = settled;
    while (transaction !== undefined && transaction.open === 0) {
      if (transaction.endLsn !== undefined) this.#watermark = maxLsn(this.#watermark, transaction.endLsn);
      const { next }: LedgerTransaction = transaction;
      // A settled one in the old generation would keep all that follow it from being collected young.
      transaction.next = undefined;
      transaction = next;
    }
    this.#oldest = transaction;
    if (transaction === undefined) this.#newest = undefined;
  }
}
