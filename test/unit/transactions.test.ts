import { describe, expect, test } from 'vitest';
import { TransactionAssembler } from '../../src/capture/transactions.ts';
import type { Change, Relation } from '../../src/core/change.ts';
import { type Lsn, parseLsn } from '../../src/core/lsn.ts';

const items: Relation = {
  oid: 4_000_000_001,
  schema: 'shop',
  name: 'items',
  replicaIdentity: 'default',
  columns: [{ name: 'id', typeOid: 23, typeModifier: -1, inIdentity: true }],
};
const lines: Relation = { ...items, oid: 4_000_000_002, name: 'lines' };

function assemble() {
  const seen: string[] = [];
  const changes: Change[] = [];
  const assembler = new TransactionAssembler(
    {
      begin: (transaction) => seen.push(`begin ${transaction.xid} on timeline ${transaction.timeline}`),
      origin: (name) => seen.push(`origin ${name}`),
      relation: (relation) => seen.push(`relation ${relation.name}`),
      change: (change) => {
        changes.push(change);
        seen.push(`${change.operation} #${change.ordinal}`);
      },
      commit: (transaction, endLsn) => seen.push(`commit ${transaction.xid} ends ${endLsn}`),
      idle: (walEnd) => seen.push(`idle ${walEnd}`),
    },
    (lsn) => (lsn < 100n ? 1 : 2),
  );
  return { assembler, seen, changes };
}

const begin = (xid: number, lsn: bigint) => ({ kind: 'begin', xid, finalLsn: lsn as Lsn, commitMicros: 0n }) as const;
const commit = (lsn: bigint) =>
  ({ kind: 'commit', commitLsn: lsn as Lsn, endLsn: (lsn + 8n) as Lsn, commitMicros: 0n }) as const;
const insert = (oid: number) => ({ kind: 'insert', relationOid: oid, new: ['1'] }) as const;

describe('TransactionAssembler', () => {
  test('numbers rows, every table of a truncate, and transactional messages as they arrive', () => {
    const { assembler, seen } = assemble();
    assembler.accept({ kind: 'relation', relation: items });
    assembler.accept({ kind: 'relation', relation: lines });
    assembler.accept(begin(7, 50n));
    assembler.accept(insert(items.oid));
    assembler.accept({
      kind: 'truncate',
      relationOids: [items.oid, lines.oid],
      cascade: false,
      restartIdentity: false,
    });
    assembler.accept({ kind: 'message', transactional: true, lsn: parseLsn('0/1'), prefix: 'outbox', content: '{}' });
    assembler.accept(insert(lines.oid));
    assembler.accept(commit(50n));
    expect(seen.slice(2)).toEqual([
      'begin 7 on timeline 1',
      'insert #0',
      'truncate #1',
      'truncate #2',
      'message #3',
      'insert #4',
      'commit 7 ends 58',
    ]);
  });

  test('does not number a non-transactional message, which also appears outside of its transaction', () => {
    const { assembler, seen } = assemble();
    assembler.accept({ kind: 'message', transactional: false, lsn: parseLsn('0/1'), prefix: 'noise', content: 'x' });
    assembler.accept({ kind: 'relation', relation: items });
    assembler.accept(begin(8, 60n));
    assembler.accept(insert(items.oid));
    expect(seen.at(-1)).toBe('insert #0');
  });

  test('starts numbering again in each transaction and takes the timeline that wrote the commit', () => {
    const { assembler, seen } = assemble();
    assembler.accept({ kind: 'relation', relation: items });
    for (const lsn of [90n, 120n]) {
      assembler.accept(begin(Number(lsn), lsn));
      assembler.accept(insert(items.oid));
      assembler.accept(commit(lsn));
    }
    expect(seen).toContain('begin 90 on timeline 1');
    expect(seen).toContain('begin 120 on timeline 2');
    expect(seen.filter((mark) => mark === 'insert #0')).toHaveLength(2);
  });

  test('takes a keepalive as idle only between transactions', () => {
    const { assembler, seen } = assemble();
    assembler.accept(begin(9, 70n));
    assembler.accept({ kind: 'keepalive', walEnd: 70n as Lsn });
    assembler.accept(commit(70n));
    assembler.accept({ kind: 'keepalive', walEnd: 90n as Lsn });
    expect(seen).toEqual(['begin 9 on timeline 1', 'commit 9 ends 78', 'idle 90']);
  });

  test('uses the newest shape of a relation for the rows behind it', () => {
    const { assembler, changes } = assemble();
    assembler.accept({ kind: 'relation', relation: items });
    assembler.accept(begin(10, 80n));
    assembler.accept(insert(items.oid));
    const wider = {
      ...items,
      columns: [...items.columns, { name: 'note', typeOid: 25, typeModifier: -1, inIdentity: false }],
    };
    assembler.accept({ kind: 'relation', relation: wider });
    assembler.accept({ kind: 'insert', relationOid: items.oid, new: ['1', 'n'] });
    expect(changes.map((change) => change.operation === 'insert' && change.relation.columns.length)).toEqual([1, 2]);
  });

  test('refuses a row of a relation that was never described, and a row outside of a transaction', () => {
    const { assembler } = assemble();
    assembler.accept(begin(11, 90n));
    expect(() => assembler.accept(insert(12345))).toThrow(/relation 12345 that it never described/);
    const other = assemble().assembler;
    other.accept({ kind: 'relation', relation: items });
    expect(() => other.accept(insert(items.oid))).toThrow(/outside of a transaction/);
  });
});
