import type { Logger } from 'pino';
import type { Lsn } from '../core/lsn.ts';
import type { ConnectionSettings } from './connection.ts';
import type { PgoutputMessage } from './pgoutput/messages.ts';

/** What the server says of its position, behind everything that it had sent before. */
export interface KeepaliveItem {
  readonly kind: 'keepalive';
  /** Everything that ends before this has been sent. */
  readonly walEnd: Lsn;
}

export type StreamItem = PgoutputMessage | KeepaliveItem;

export interface ReplicationStreamOptions {
  readonly connection: ConnectionSettings;
  readonly slot: string;
  readonly publication: string;
  /** The end of what is settled: everything before it may be forgotten by the server. ZERO_LSN: nothing yet. */
  readonly watermark: () => Lsn;
  /** Stops the intake. The connection stays for the last status updates until `close`. */
  readonly signal: AbortSignal;
  readonly log: Logger;
  /** Default 2,000, and never more than a third of `wal_sender_timeout`. */
  readonly statusIntervalMs?: number;
  /** Silence, while every status update asks for a reply, after which the connection is given up. Default: `wal_sender_timeout`, else 60,000. */
  readonly replyTimeoutMs?: number;
  /** Items and bytes that may wait for the consumer before the socket is paused. */
  readonly highItems?: number;
  readonly highBytes?: number;
}
