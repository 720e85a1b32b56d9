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

/** Remembers the last transaction by its object: changes arrive transaction by transaction, and one object is shared by all of one. */
export function transactionTexts(identity: StreamIdentity): (transaction: TransactionHeader) => TransactionText {
  return remembering((transaction) =>
    textOf(transaction, {
      ids: idPrefix(identity, transaction),
      sequences: sequencePrefix(identity, transaction),
      json: `"transaction":{"id":${transaction.xid},"lsn":"${formatLsn(transaction.commitLsn)}","committedAt":"${formatMicros(transaction.committedAtMicros)}"}`,
    }),
  );
}

/** What all reads of one chunk have in common: its low mark's place, but named by the run. */
export function chunkTexts(identity: StreamIdentity): (mark: TransactionHeader, run: number) => TransactionText {
  return remembering((mark, run) =>
    textOf(mark, {
      ids: readIdPrefix(identity, run),
      sequences: sequencePrefix(identity, mark),
      json: `"run":${run}`,
    }),
  );
}

/** `run` is the same for all calls with one object. */
function remembering(
  make: (transaction: TransactionHeader, run: number) => TransactionText,
): (transaction: TransactionHeader, run?: number) => TransactionText {
  let last: TransactionHeader | undefined;
  let text: TransactionText | undefined;
  return (transaction, run = 0) => {
    if (transaction === last && text !== undefined) return text;
    last = transaction;
    text = make(transaction, run);
    return text;
  };
}

function textOf(
  transaction: TransactionHeader,
  { ids, sequences, json }: { readonly ids: string; readonly sequences: string; readonly json: string },
): TransactionText {
  return {
    idPrefix: ids,
    sequencePrefix: sequences,
    idHead: `{"metadata":{"id":"${ids}`,
    sequenceHead: `","sequence":"${sequences}`,
    json,
    plainTail: `${json}${NOTHING_UNAVAILABLE}},"data":`,
    timeSeconds: Number(transaction.committedAtMicros / 1_000_000n),
  };
}
