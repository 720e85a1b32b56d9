import type { Lsn } from './lsn.ts';

/** `relreplident` of a table: which old columns an UPDATE or DELETE sends. */
export type ReplicaIdentity = 'default' | 'nothing' | 'full' | 'index';

/** A column as the Relation message of pgoutput describes it (not as the catalog does now). */
export interface RelationColumn {
  readonly name: string;
  readonly typeOid: number;
  /** `atttypmod`; -1 where the type has none. */
  readonly typeModifier: number;
  /** Whether the column belongs to the replica identity. */
  readonly inIdentity: boolean;
}

/** A table's shape at one position of the WAL. A new object comes after every DDL that changes it. */
export interface Relation {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly replicaIdentity: ReplicaIdentity;
  readonly columns: readonly RelationColumn[];
}

/**
 * One value of a tuple: PostgreSQL's text form, `null` for SQL NULL, `undefined` where the server did not send it
 * (unchanged TOAST, or a column outside the key in a key-only old tuple).
 */
export type Cell = string | null | undefined;

/** Cells in the order of `Relation.columns`. */
export type Tuple = readonly Cell[];

/** What pgoutput's Begin says of a transaction. One object is shared by all changes of the transaction. */
export interface TransactionHeader {
  readonly xid: number;
  /** LSN of the commit record, known from the start since only committed transactions are sent. */
  readonly commitLsn: Lsn;
  /** Commit time, microseconds since 1970-01-01 UTC. */
  readonly committedAtMicros: bigint;
  /** The timeline that wrote the commit, from the timeline history. */
  readonly timeline: number;
  /** Replication origin that the transaction was replayed from, as pgoutput names it. */
  origin?: string;
}

/** Where a change stands: its transaction, and its number among the transaction's rows, truncates and messages as received. */
export interface ChangePosition {
  readonly transaction: TransactionHeader;
  /** Counted from 0 before any filter or mapping, so that a redelivery numbers alike. */
  readonly ordinal: number;
}

/**
 * Where a change comes from that an event of the new system caused. correction: the row is not as the event meant it. trigger: something in the
 * database wrote it because of our write. Absent: the legacy system.
 */
export interface ChangeOrigin {
  readonly kind: 'correction' | 'trigger';
  /** Id of the event. */
  readonly causedBy: string;
  /** How often the change has crossed between the systems, this time included. */
  readonly hops: number;
}

/** What the stream sends of rows. */
export type StreamOperation = 'insert' | 'update' | 'delete';

/** read: a row that was there before, from a backfill. */
export type RowOperation = StreamOperation | 'read';

/**
 * A row change. All operations have one shape, since this is the object that the hot path makes per row:
 * `new` is absent on delete; `old` is absent on insert, read, and updates whose identity did not change (unless FULL).
 *
 * A read stands where the low mark of its chunk does: `transaction` is the mark's, `ordinal` the row's number in the chunk.
 */
export interface RowChange extends ChangePosition {
  readonly operation: RowOperation;
  readonly relation: Relation;
  readonly new: Tuple | undefined;
  readonly old: Tuple | undefined;
  /** `key`: the old tuple holds the identity's columns only, its other cells are undefined; `full`: it is the whole old row. */
  readonly oldKind: 'key' | 'full' | undefined;
  /** Of a read: number of the backfill run. */
  readonly run?: number | undefined;
  readonly origin?: ChangeOrigin | undefined;
}

/** One table of a TRUNCATE; a statement that names several makes one change for each. */
export interface TruncateChange extends ChangePosition {
  readonly operation: 'truncate';
  readonly relation: Relation;
  readonly origin?: ChangeOrigin | undefined;
}

/** A transactional logical message (`pg_logical_emit_message(true, prefix, content)`). */
export interface MessageChange extends ChangePosition {
  readonly operation: 'message';
  readonly prefix: string;
  readonly content: string;
}

export type TableChange = RowChange | TruncateChange;
export type Change = TableChange | MessageChange;
export type Operation = Change['operation'];
