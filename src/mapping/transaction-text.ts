import type { TransactionHeader } from '../core/change.ts';
import { formatMicros, idPrefix, readIdPrefix, sequencePrefix, type StreamIdentity } from '../core/event.ts';
import { formatLsn } from '../core/lsn.ts';

export const NOTHING_UNAVAILABLE = ',"unavailable":[],"origin":"legacy"';

/** What all events of one transaction have in common, as text. */
export interface TransactionText {
  readonly idPrefix: string;
  readonly sequencePrefix: string;
  /** The detail up to the id's ordinal, and from there to the sequence's ordinal. */
  readonly idHead: string;
  readonly sequenceHead: string;
  /** `"transaction":{…}` */
  readonly json: string;
  /** From the transaction to the data, where nothing is changed or unavailable. */
  readonly plainTail: string;
  readonly timeSeconds: number;
}

/** What all reads of one chunk have in common: as for a transaction, but named by the run. */
export function chunkTexts(identity: StreamIdentity): (mark: TransactionHeader, run: number) => TransactionText {
  let last: TransactionHeader | undefined;
  let text: TransactionText | undefined;
  return (mark, run) => {
    if (mark === last && text !== undefined) return text;
    last = mark;
    const ids = readIdPrefix(identity, run);
    const sequences = sequencePrefix(identity, mark);
    const json = `"run":${run}`;
    text = {
      idPrefix: ids,
      sequencePrefix: sequences,
      idHead: `{"metadata":{"id":"${ids}`,
      sequenceHead: `","sequence":"${sequences}`,
      json,
      plainTail: `${json}${NOTHING_UNAVAILABLE}},"data":`,
      timeSeconds: Number(mark.committedAtMicros / 1_000_000n),
    };
    return text;
  };
}

/** Remembers the last transaction by its object: changes arrive transaction by transaction, and one object is shared by all of one. */
export function transactionTexts(identity: StreamIdentity): (transaction: TransactionHeader) => TransactionText {
  let last: TransactionHeader | undefined;
  let text: TransactionText | undefined;
  return (transaction) => {
    if (transaction === last && text !== undefined) return text;
    last = transaction;
    const ids = idPrefix(identity, transaction);
    const sequences = sequencePrefix(identity, transaction);
    const json = `"transaction":{"id":${transaction.xid},"lsn":"${formatLsn(transaction.commitLsn)}","committedAt":"${formatMicros(transaction.committedAtMicros)}"}`;
    text = {
      idPrefix: ids,
      sequencePrefix: sequences,
      idHead: `{"metadata":{"id":"${ids}`,
      sequenceHead: `","sequence":"${sequences}`,
      json,
      plainTail: `${json}${NOTHING_UNAVAILABLE}},"data":`,
      timeSeconds: Number(transaction.committedAtMicros / 1_000_000n),
    };
    return text;
  };
}
