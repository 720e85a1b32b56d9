import type { Change, Relation, StreamOperation, TransactionHeader, Tuple } from '../core/change.ts';
import { BanyanError } from '../core/errors.ts';
import type { Lsn } from '../core/lsn.ts';
import type { StreamItem } from '../postgres/stream-options.ts';

/** What the assembler says, in the order of the stream. */
export interface TransactionMarks {
  begin(transaction: TransactionHeader): void;
  /** The transaction was replicated from elsewhere: comes behind its begin. */
  origin(name: string): void;
  relation(relation: Relation): void;
  change(change: Change): void;
  /** `endLsn` is the end of the commit record: what may be confirmed once everything before it is settled. */
  commit(transaction: TransactionHeader, endLsn: Lsn): void;
  /** The server has sent everything before `walEnd`, and no transaction is being received. */
  idle(walEnd: Lsn): void;
}

/**
 * Turns protocol messages into changes that know their transaction and ordinal. The ordinal counts rows, tables of a TRUNCATE and
 * transactional messages as they arrive, before anything is filtered, so that a redelivered transaction is numbered alike.
 */
export class TransactionAssembler {
  readonly #marks: TransactionMarks;
  readonly #timelineAt: (commitLsn: Lsn) => number;
  readonly #relations = new Map<number, Relation>();
  #transaction: TransactionHeader | undefined;
  #ordinal = 0;
  /** The relation of the last row: rows of one table come in runs. */
  #lastRelation: Relation | undefined;

  constructor(marks: TransactionMarks, timelineAt: (commitLsn: Lsn) => number) {
    this.#marks = marks;
    this.#timelineAt = timelineAt;
  }

  accept(message: StreamItem): void {
    switch (message.kind) {
      case 'insert':
        this.#row('insert', message.relationOid, { new: message.new, old: undefined, oldKind: undefined });
        return;
      case 'update':
        this.#row('update', message.relationOid, message);
        return;
      case 'delete':
        this.#row('delete', message.relationOid, { new: undefined, old: message.old, oldKind: message.oldKind });
        return;
      case 'begin':
        this.#transaction = {
          xid: message.xid,
          commitLsn: message.finalLsn,
          committedAtMicros: message.commitMicros,
          timeline: this.#timelineAt(message.finalLsn),
        };
        this.#ordinal = 0;
        this.#marks.begin(this.#transaction);
        return;
      case 'commit': {
        const transaction = this.#current('commit');
        this.#transaction = undefined;
        this.#marks.commit(transaction, message.endLsn);
        return;
      }
      case 'relation':
        this.#relations.set(message.relation.oid, message.relation);
        this.#lastRelation = undefined;
        this.#marks.relation(message.relation);
        return;
      case 'truncate':
        for (const oid of message.relationOids) {
          const transaction = this.#current('truncate');
          this.#marks.change({
            operation: 'truncate',
            transaction,
            ordinal: this.#ordinal++,
            relation: this.#relation(oid),
          });
        }
        return;
      case 'message':
        // A non-transactional message is sent when it is decoded, between transactions, and even when its own rolls back.
        if (message.transactional) {
          this.#marks.change({
            operation: 'message',
            transaction: this.#current('message'),
            ordinal: this.#ordinal++,
            prefix: message.prefix,
            // Bytes that are not text can be no event; as empty text they fail like any other content that is no JSON.
            content: message.content ?? '',
          });
        }
        return;
      case 'origin':
        this.#current('origin').origin = message.name;
        this.#marks.origin(message.name);
        return;
      case 'type':
        return;
      case 'keepalive':
        if (this.#transaction === undefined) this.#marks.idle(message.walEnd);
        return;
    }
  }

  #row(
    operation: StreamOperation,
    oid: number,
    tuples: { new: Tuple | undefined; old: Tuple | undefined; oldKind: 'key' | 'full' | undefined },
  ): void {
    const last = this.#lastRelation;
    const relation = last !== undefined && last.oid === oid ? last : this.#relation(oid);
    this.#marks.change({
      operation,
      transaction: this.#transaction ?? this.#current(operation),
      ordinal: this.#ordinal++,
      relation,
      new: tuples.new,
      old: tuples.old,
      oldKind: tuples.oldKind,
    });
  }

  #relation(oid: number): Relation {
    const relation = this.#relations.get(oid);
    if (relation === undefined) {
      throw new BanyanError('unknown', `the stream sent a row of relation ${oid} that it never described`);
    }
    this.#lastRelation = relation;
    return relation;
  }

  #current(kind: string): TransactionHeader {
    if (this.#transaction === undefined) {
      throw new BanyanError('unknown', `the stream sent a ${kind} message outside of a transaction`);
    }
    return this.#transaction;
  }
}
