import type { RelationColumn, ReplicaIdentity } from '../../core/change.ts';
import { textDecoderFor } from './encoding.ts';
import type {
  DeleteMessage,
  LogicalMessage,
  PgoutputMessage,
  RelationMessage,
  TruncateMessage,
  UpdateMessage,
} from './messages.ts';
import { PgoutputReader } from './reader.ts';

const TAG_NEW = 0x4e; // N
const TAG_OLD = 0x4f; // O
const TAG_KEY = 0x4b; // K

export type PgoutputDecoder = (bytes: Buffer) => PgoutputMessage;

/**
 * A decoder for the messages of one replication session. Rows arrive in the client's encoding, which is UTF8; the content of
 * logical messages arrives in the server's, which is named here as `server_encoding` has it.
 */
export function createDecoder(serverEncoding = 'UTF8'): PgoutputDecoder {
  const reader = new PgoutputReader();
  const decodeContent = textDecoderFor(serverEncoding);
  return (bytes) => {
    reader.open(bytes);
    const message = readMessage(reader, decodeContent);
    reader.close();
    return message;
  };
}

function readMessage(reader: PgoutputReader, decodeContent: (bytes: Buffer) => string | undefined): PgoutputMessage {
  const tag = reader.uint8();
  switch (tag) {
    case 0x49: // I
      return { kind: 'insert', relationOid: reader.uint32(), new: newTuple(reader) };
    case 0x55: // U
      return update(reader);
    case 0x44: // D
      return deletion(reader);
    case 0x42: // B
      return { kind: 'begin', finalLsn: reader.lsn(), commitMicros: reader.micros(), xid: reader.uint32() };
    case 0x43: // C
      reader.uint8(); // flags, none defined
      return { kind: 'commit', commitLsn: reader.lsn(), endLsn: reader.lsn(), commitMicros: reader.micros() };
    case 0x52: // R
      return relation(reader);
    case 0x59: // Y
      return { kind: 'type', oid: reader.uint32(), schema: systemSchema(reader.string()), name: reader.string() };
    case 0x4f: // O
      return { kind: 'origin', lsn: reader.lsn(), name: reader.string() };
    case 0x54: // T
      return truncate(reader);
    case 0x4d: // M
      return logicalMessage(reader, decodeContent);
    default:
      throw reader.malformed(`a message of unknown type 0x${tag.toString(16)}`);
  }
}

function update(reader: PgoutputReader): UpdateMessage {
  const relationOid = reader.uint32();
  const tag = reader.uint8();
  switch (tag) {
    case TAG_NEW:
      return { kind: 'update', relationOid, new: reader.tuple(null), old: undefined, oldKind: undefined };
    case TAG_KEY: {
      const old = reader.tuple(undefined);
      return { kind: 'update', relationOid, new: newTuple(reader), old, oldKind: 'key' };
    }
    case TAG_OLD: {
      const old = reader.tuple(null);
      return { kind: 'update', relationOid, new: newTuple(reader), old, oldKind: 'full' };
    }
    default:
      throw reader.malformed('an update whose tuple is neither N, K nor O');
  }
}

function deletion(reader: PgoutputReader): DeleteMessage {
  const relationOid = reader.uint32();
  const tag = reader.uint8();
  switch (tag) {
    case TAG_KEY:
      return { kind: 'delete', relationOid, old: reader.tuple(undefined), oldKind: 'key' };
    case TAG_OLD:
      return { kind: 'delete', relationOid, old: reader.tuple(null), oldKind: 'full' };
    default:
      throw reader.malformed('a delete whose tuple is neither K nor O');
  }
}

function newTuple(reader: PgoutputReader) {
  if (reader.uint8() !== TAG_NEW) throw reader.malformed('a new tuple (N) was expected');
  return reader.tuple(null);
}

function relation(reader: PgoutputReader): RelationMessage {
  const oid = reader.uint32();
  const schema = systemSchema(reader.string());
  const name = reader.string();
  const replicaIdentity = identity(reader);
  const count = reader.int16();
  if (count < 0) throw reader.malformed(`a relation of ${count} columns`);
  const columns: RelationColumn[] = [];
  for (let index = 0; index < count; index++) {
    const inIdentity = (reader.uint8() & 1) === 1;
    columns.push({ inIdentity, name: reader.string(), typeOid: reader.uint32(), typeModifier: reader.int32() });
  }
  return { kind: 'relation', relation: { oid, schema, name, replicaIdentity, columns } };
}

/** pgoutput sends an empty string for pg_catalog. */
function systemSchema(schema: string): string {
  return schema === '' ? 'pg_catalog' : schema;
}

function identity(reader: PgoutputReader): ReplicaIdentity {
  const letter = reader.uint8();
  switch (letter) {
    case 0x64: // d
      return 'default';
    case 0x6e: // n
      return 'nothing';
    case 0x66: // f
      return 'full';
    case 0x69: // i
      return 'index';
    default:
      throw reader.malformed(`a replica identity of unknown kind 0x${letter.toString(16)}`);
  }
}

function truncate(reader: PgoutputReader): TruncateMessage {
  const count = reader.int32();
  if (count < 0) throw reader.malformed(`a truncate of ${count} relations`);
  const flags = reader.uint8();
  const relationOids: number[] = [];
  for (let index = 0; index < count; index++) relationOids.push(reader.uint32());
  return { kind: 'truncate', relationOids, cascade: (flags & 1) !== 0, restartIdentity: (flags & 2) !== 0 };
}

function logicalMessage(reader: PgoutputReader, decodeContent: (bytes: Buffer) => string | undefined): LogicalMessage {
  const transactional = (reader.uint8() & 1) === 1;
  const lsn = reader.lsn();
  const prefix = reader.string();
  const content = decodeContent(reader.bytes(reader.int32()));
  return { kind: 'message', transactional, lsn, prefix, content };
}
