import { timingSafeEqual } from 'node:crypto';
import type { GateCode, GateResult, Stage } from '../core/progress.ts';
import { keyedHash } from './keyed-hash.ts';

/**
 * What we write into the WAL ourselves, as transactional logical messages, so that capture knows it: reverse sync beside its rows, and who moves a table beside the
 * new stage. Any role may emit a message of any prefix, so each carries a keyed hash; the transaction is part of what is hashed, so that a copy is worth
 * nothing in another one.
 */
export type ApplyMessage = TagMessage | VerdictMessage | RefusalMessage | SelfTestMessage | StageMessage;

/** Announces the next write of this table, key and operation. */
export interface TagMessage {
  readonly kind: 'tag';
  readonly event: string;
  readonly producer: string;
  readonly hops: number;
  /** OID of the table that the configuration names; of a partitioned one, the root. */
  readonly table: number;
  /** By which the row is known: the event's key; of an update or delete the replica identity, where that does not hold the key. */
  readonly columns: readonly string[];
  /** PostgreSQL's output text, one per column. */
  readonly key: readonly string[];
  readonly op: 'insert' | 'update' | 'delete';
}

/** Of the write that was announced last. */
export interface VerdictMessage {
  /** correction: the row is not as the event meant it, so the producer has to be told. */
  readonly kind: 'echo' | 'correction';
  readonly event: string;
}

/** Nothing was written; the producer has to be told how the row stands. */
export interface RefusalMessage {
  readonly kind: 'refusal';
  readonly event: string;
  readonly producer: string;
  readonly hops: number;
  readonly table: number;
  readonly columns: readonly string[];
  readonly key: readonly string[];
  /** delete: there is no such row. */
  readonly op: 'update' | 'delete';
  /** PostgreSQL's output text of all columns; null where there is no row. */
  readonly row: Readonly<Record<string, string | null>> | null;
}

/** Whether messages arrive at all. */
export interface SelfTestMessage {
  readonly kind: 'selftest';
  readonly token: string;
}

/** A table was moved; to be published where it stands in the stream. */
export interface StageMessage {
  readonly kind: 'stage';
  /** Its number, the same whenever it is announced again. */
  readonly move: number;
  /** `schema.name` */
  readonly table: string;
  readonly from: Stage;
  readonly to: Stage;
  readonly actor: string;
  /** ISO 8601 */
  readonly at: string;
  /** As they stood; empty where it went by itself. */
  readonly gates: readonly { readonly code: GateCode; readonly result: GateResult; readonly waived: boolean }[];
}

export interface MessageKey {
  /** The connector's secret of `reverse_secret`. */
  readonly secret: Uint8Array;
  /** Of the transaction, as pgoutput's Begin shows it: the low 32 bits. */
  readonly xid: number;
}

/** Of all messages of this connector. */
export function applyPrefix(connector: string): string {
  return `banyan.${connector}.reverse`;
}

/** pgoutput's form of what `pg_current_xact_id()` prints. */
export function shortXid(xid8: string): number {
  return Number(BigInt(xid8) & 0xffffffffn);
}

const VERSION = 1;
/** 132 of 256 bits, in base64url. */
const MAC_LENGTH = 22;
const SIGNED = /^(\{.*),"mac":"([\w-]{22})"\}$/s;

/** The message's content: one JSON object in ASCII, since it arrives in the server's encoding and rows in the client's. */
export function formatMessage(message: ApplyMessage, key: MessageKey): string {
  const json = ascii(JSON.stringify({ v: VERSION, ...message })).slice(0, -1);
  return `${json},"mac":"${mac(json, key)}"}`;
}

/** undefined: not ours, forged, of another transaction, or of a version that is not known. The caller has compared the prefix. */
export function parseMessage(content: string, key: MessageKey): ApplyMessage | undefined {
  const [, json, found] = SIGNED.exec(content) ?? [];
  if (json === undefined || found === undefined) return undefined;
  if (!timingSafeEqual(Buffer.from(found), Buffer.from(mac(json, key)))) return undefined;
  // Only we know the secret, so from here on it is what `formatMessage` of some version wrote.
  const { v, ...message } = JSON.parse(`${json}}`) as ApplyMessage & { readonly v: number };
  return v === VERSION ? message : undefined;
}

function mac(json: string, { secret, xid }: MessageKey): string {
  return keyedHash(secret).of(`${xid}\n${json}`).slice(0, MAC_LENGTH);
}

function ascii(json: string): string {
  return json.replaceAll(/[\u0080-\uFFFF]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
