import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Cell, RelationColumn } from '../../src/core/change.ts';
import type { BanyanError } from '../../src/core/errors.ts';
import type { Lsn } from '../../src/core/lsn.ts';
import { createDecoder } from '../../src/postgres/pgoutput/decode.ts';
import type { PgoutputMessage } from '../../src/postgres/pgoutput/messages.ts';

const decode = createDecoder();

const oid = fc.integer({ min: 0, max: 0xffff_ffff });
const lsn = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }).map((value) => value as Lsn);
/** 1,000 years around 2000, which the protocol's 64 bits hold with ease. */
const micros = fc.bigInt({ min: -30_000_000_000_000_000n, max: 30_000_000_000_000_000n });
/** Names and values hold no zero byte in PostgreSQL. */
const text = fc
  .oneof(
    fc.string({ unit: 'grapheme' }),
    fc.string({ unit: 'binary', maxLength: 300 }).map((value) => value.toWellFormed()),
    fc.nat().map(String),
    fc.string({ minLength: 90, maxLength: 130 }),
  )
  .map((value) => value.replaceAll('\0', ''));
const longText = fc.nat({ max: 9_000 }).map((length) => 'ä'.repeat(length));
const cell = fc.oneof(text, text, longText, fc.constant(null), fc.constant(undefined));
const tuple = fc.array(cell, { maxLength: 20 });
const keyTuple = fc.array(fc.oneof(text, fc.constant(undefined)), { maxLength: 20 });
const column = fc.record({
  name: text,
  typeOid: oid,
  typeModifier: fc.integer({ min: -1, max: 0x7fff_ffff }),
  inIdentity: fc.boolean(),
});

const message: fc.Arbitrary<PgoutputMessage> = fc.oneof(
  fc.record({ kind: fc.constant('begin' as const), finalLsn: lsn, commitMicros: micros, xid: oid }),
  fc.record({ kind: fc.constant('commit' as const), commitLsn: lsn, endLsn: lsn, commitMicros: micros }),
  fc.record({ kind: fc.constant('origin' as const), lsn, name: text }),
  fc.record({ kind: fc.constant('type' as const), oid, schema: nonEmpty(text), name: text }),
  fc.record({
    kind: fc.constant('relation' as const),
    relation: fc.record({
      oid,
      schema: nonEmpty(text),
      name: text,
      replicaIdentity: fc.constantFrom('default' as const, 'nothing' as const, 'full' as const, 'index' as const),
      columns: fc.array(column),
    }),
  }),
  fc.record({ kind: fc.constant('insert' as const), relationOid: oid, new: tuple }),
  fc.record({
    kind: fc.constant('update' as const),
    relationOid: oid,
    new: tuple,
    old: fc.constant(undefined),
    oldKind: fc.constant(undefined),
  }),
  fc.record({
    kind: fc.constant('update' as const),
    relationOid: oid,
    new: tuple,
    old: tuple,
    oldKind: fc.constant('full' as const),
  }),
  fc.record({
    kind: fc.constant('update' as const),
    relationOid: oid,
    new: tuple,
    old: keyTuple,
    oldKind: fc.constant('key' as const),
  }),
  fc.record({
    kind: fc.constant('delete' as const),
    relationOid: oid,
    old: tuple,
    oldKind: fc.constant('full' as const),
  }),
  fc.record({
    kind: fc.constant('delete' as const),
    relationOid: oid,
    old: keyTuple,
    oldKind: fc.constant('key' as const),
  }),
  fc.record({
    kind: fc.constant('truncate' as const),
    relationOids: fc.array(oid),
    cascade: fc.boolean(),
    restartIdentity: fc.boolean(),
  }),
  fc.record({ kind: fc.constant('message' as const), transactional: fc.boolean(), lsn, prefix: text, content: text }),
);

describe('the pgoutput decoder', () => {
  it('reads back every message that can be written', () => {
    fc.assert(
      fc.property(message, (written) => {
        expect(decode(encode(written))).toEqual(written);
      }),
      { numRuns: 2_000 },
    );
  });

  it('refuses every message that is cut short or has bytes left over, and names the position', () => {
    fc.assert(
      fc.property(message, fc.nat(), (written, at) => {
        const bytes = encode(written);
        const refused = { kind: 'unknown', message: expect.stringMatching(/at byte \d+ of \d+/) };
        expect(failureOf(bytes.subarray(0, at % bytes.length))).toMatchObject(refused);
        expect(failureOf(Buffer.concat([bytes, Buffer.from([0])]))).toMatchObject(refused);
      }),
      { numRuns: 2_000 },
    );
  });

  it('never fails in another way on bytes that are no message', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(...Array.from('IUDBCRYOTM')), (bytes, tag) => {
        const failure = failureOf(Buffer.concat([Buffer.from(tag), bytes]));
        expect(failure === undefined || (failure as BanyanError).context['offset'] !== undefined).toBe(true);
      }),
      { numRuns: 5_000 },
    );
  });

  it('keeps what it returned when the buffer is used again', () => {
    const bytes = encode({ kind: 'insert', relationOid: 1, new: ['short', 'ä', 'x'.repeat(200), null] });
    const decoded = decode(bytes);
    bytes.fill(0x7a);
    expect(decoded).toEqual({ kind: 'insert', relationOid: 1, new: ['short', 'ä', 'x'.repeat(200), null] });
  });

  it('reads OIDs and transaction ids above 2^31 unsigned', () => {
    expect(decode(encode({ kind: 'insert', relationOid: 4_000_000_000, new: [] }))).toMatchObject({
      relationOid: 4_000_000_000,
    });
  });

  it('takes a null in a key-only old tuple for a value that was not sent', () => {
    const bytes = Buffer.concat([
      Buffer.from('D'),
      uint32(1),
      Buffer.from('K'),
      Buffer.from([0, 2]),
      Buffer.from('t'),
      uint32(1),
      Buffer.from('7'),
      Buffer.from('n'),
    ]);
    expect(decode(bytes)).toMatchObject({ oldKind: 'key', old: ['7', undefined] });
  });

  it('calls the schema of system types by its name, which the protocol leaves empty', () => {
    expect(decode(encode({ kind: 'type', oid: 1, schema: '', name: 'x' }))).toMatchObject({ schema: 'pg_catalog' });
  });

  it('decodes message content by the server’s encoding, where that is not UTF8', () => {
    expect(contentOf('LATIN1', [0x80, 0xe9])).toBe('\u0080é');
    expect(contentOf('WIN1252', [0x80, 0xe9])).toBe('€é');
    expect(contentOf('LATIN9', [0xa4])).toBe('€');
    expect(contentOf('EUC_JP', [0xc6, 0xfc])).toBe('日');
    expect(contentOf('UTF8', [0xe9])).toBeUndefined();
    expect(contentOf('EUC_JP', [0xff])).toBeUndefined();
    expect(contentOf('MULE_INTERNAL', [0x41])).toBe('A');
    expect(contentOf('MULE_INTERNAL', [0x81, 0xe9])).toBeUndefined();
  });
});

function failureOf(bytes: Buffer): unknown {
  try {
    decode(bytes);
    return undefined;
  } catch (error) {
    return error;
  }
}

function contentOf(encoding: string, content: readonly number[]): string | undefined {
  const bytes = encode({
    kind: 'message',
    transactional: true,
    lsn: 1n as Lsn,
    prefix: 'p',
    content: Buffer.from(content),
  });
  return (createDecoder(encoding)(bytes) as { content: string | undefined }).content;
}

function nonEmpty(arbitrary: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return arbitrary.filter((value) => value !== '');
}

type Encodable =
  | PgoutputMessage
  | (Omit<Extract<PgoutputMessage, { kind: 'message' }>, 'content'> & { content: Buffer });

/** The server's side of the protocol, written from its documentation. */
function encode(message: Encodable): Buffer {
  switch (message.kind) {
    case 'begin':
      return join('B', uint64(message.finalLsn), clock(message.commitMicros), uint32(message.xid));
    case 'commit':
      return join('C', '\0', uint64(message.commitLsn), uint64(message.endLsn), clock(message.commitMicros));
    case 'origin':
      return join('O', uint64(message.lsn), name(message.name));
    case 'type':
      return join('Y', uint32(message.oid), name(message.schema), name(message.name));
    case 'relation': {
      const { relation } = message;
      const letter = { default: 'd', nothing: 'n', full: 'f', index: 'i' }[relation.replicaIdentity];
      return join(
        'R',
        uint32(relation.oid),
        name(relation.schema),
        name(relation.name),
        letter,
        uint16(relation.columns.length),
        ...relation.columns.map(columnOf),
      );
    }
    case 'insert':
      return join('I', uint32(message.relationOid), 'N', cells(message.new));
    case 'update': {
      const old =
        message.old === undefined
          ? ''
          : join(message.oldKind === 'key' ? 'K' : 'O', cells(message.old, message.oldKind));
      return join('U', uint32(message.relationOid), old, 'N', cells(message.new));
    }
    case 'delete':
      return join(
        'D',
        uint32(message.relationOid),
        message.oldKind === 'key' ? 'K' : 'O',
        cells(message.old, message.oldKind),
      );
    case 'truncate': {
      const flags = (message.cascade ? 1 : 0) | (message.restartIdentity ? 2 : 0);
      return join('T', uint32(message.relationOids.length), Buffer.from([flags]), ...message.relationOids.map(uint32));
    }
    case 'message':
      break;
  }
  const content = Buffer.from((message.content ?? '') as string);
  const flags = Buffer.from([message.transactional ? 1 : 0]);
  return join('M', flags, uint64(message.lsn), name(message.prefix), uint32(content.length), content);
}

function columnOf(column: RelationColumn): Buffer {
  const modifier = Buffer.alloc(4);
  modifier.writeInt32BE(column.typeModifier);
  return join(Buffer.from([column.inIdentity ? 1 : 0]), name(column.name), uint32(column.typeOid), modifier);
}

function cells(tuple: readonly Cell[], kind?: 'key' | 'full'): Buffer {
  return join(
    uint16(tuple.length),
    ...tuple.map((value) => {
      if (value === null) return 'n';
      if (value === undefined) return kind === 'key' ? 'n' : 'u';
      const bytes = Buffer.from(value);
      return join('t', uint32(bytes.length), bytes);
    }),
  );
}

function join(...parts: readonly (string | Buffer)[]): Buffer {
  return Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)));
}

function name(value: string): Buffer {
  return join(value, '\0');
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function uint64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
}

function clock(sinceUnixEpoch: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(sinceUnixEpoch - 946_684_800_000_000n);
  return bytes;
}
