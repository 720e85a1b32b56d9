import type { Relation, Tuple } from '../../core/change.ts';
import type { Lsn } from '../../core/lsn.ts';

/**
 * What pgoutput (protocol 1, text format) sends inside one XLogData, each message complete and independent of the buffer it came
 * in. https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
 */
export type PgoutputMessage =
  | BeginMessage
  | CommitMessage
  | OriginMessage
  | RelationMessage
  | TypeMessage
  | InsertMessage
  | UpdateMessage
  | DeleteMessage
  | TruncateMessage
  | LogicalMessage;

export interface BeginMessage {
  readonly kind: 'begin';
  readonly xid: number;
  /** LSN of the commit record: only committed transactions are sent, so it is known from the start. */
  readonly finalLsn: Lsn;
  /** Commit time, microseconds since 1970-01-01 UTC. */
  readonly commitMicros: bigint;
}

export interface CommitMessage {
  readonly kind: 'commit';
  /** LSN of the commit record, equal to the Begin's `finalLsn`. */
  readonly commitLsn: Lsn;
  /** The first byte behind the transaction: what is safe to confirm once everything of it has settled. */
  readonly endLsn: Lsn;
  /** Commit time, microseconds since 1970-01-01 UTC. */
  readonly commitMicros: bigint;
}

/** Comes right after Begin where the transaction was replayed from somewhere else. */
export interface OriginMessage {
  readonly kind: 'origin';
  /** Commit LSN on the origin server; ZERO_LSN where the origin did not say. */
  readonly lsn: Lsn;
  readonly name: string;
}

/** The shape of a table from here on; sent again after reconnects and DDL. */
export interface RelationMessage {
  readonly kind: 'relation';
  readonly relation: Relation;
}

/** Names a type that is not built in; precedes the Relation that uses it. */
export interface TypeMessage {
  readonly kind: 'type';
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
}

export interface InsertMessage {
  readonly kind: 'insert';
  readonly relationOid: number;
  readonly new: Tuple;
}

export interface UpdateMessage {
  readonly kind: 'update';
  readonly relationOid: number;
  readonly new: Tuple;
  /** Absent where the replica identity did not change (and is not FULL). */
  readonly old: Tuple | undefined;
  /** `key`: only the identity's columns were sent, the others are undefined; `full`: the whole old row. */
  readonly oldKind: 'key' | 'full' | undefined;
}

export interface DeleteMessage {
  readonly kind: 'delete';
  readonly relationOid: number;
  readonly old: Tuple;
  readonly oldKind: 'key' | 'full';
}

export interface TruncateMessage {
  readonly kind: 'truncate';
  readonly relationOids: readonly number[];
  readonly cascade: boolean;
  readonly restartIdentity: boolean;
}

/** `pg_logical_emit_message`. */
export interface LogicalMessage {
  readonly kind: 'message';
  readonly transactional: boolean;
  readonly lsn: Lsn;
  readonly prefix: string;
  /**
   * Undefined where the bytes are not text in the server's encoding: any role may emit any bytes under any prefix, and what is
   * not ours must not stop the stream.
   */
  readonly content: string | undefined;
}
