import type { TransactionHeader } from '../core/change.ts';
import { formatMicros, idPrefix, sequencePrefix, type StreamIdentity } from '../core/event.ts';
import { formatLsn } from '../core/lsn.ts';

/** What all events of one transaction have in common, as text. */
export interface TransactionText {
  readonly idPrefix: string;
  readonly sequencePrefix: string;
  /** `"transaction":{…}` */
  readonly json: string;
  readonly timeSeconds: number;
}

/** Remembers the last transaction by its object: changes arrive transaction by transaction, and one object is shared by all of one. */
export function transactionTexts(identity: StreamIdentity): (transaction: TransactionHeader) => TransactionText {
  let last: TransactionHeader | undefined;
  let text: TransactionText | undefined;
  return (transaction) => {
    if (transaction === last && text !== undefined) return text;
    last = transaction;
    text = {
      idPrefix: idPrefix(identity, transaction),
      sequencePrefix: sequencePrefix(identity, transaction),
      json: `"transaction":{"id":${transaction.xid},"lsn":"${formatLsn(transaction.commitLsn)}","committedAt":"${formatMicros(transaction.committedAtMicros)}"}`,
      timeSeconds: Number(transaction.committedAtMicros / 1_000_000n),
    };
    return text;
  };
}
