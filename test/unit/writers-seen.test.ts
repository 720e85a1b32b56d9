import { expect, test } from 'vitest';
import { Routes } from '../../src/capture/routes.ts';
import { WritersSeen } from '../../src/capture/writers-seen.ts';
import type { MessageChange } from '../../src/core/change.ts';
import type { Lsn } from '../../src/core/lsn.ts';

const TABLE = 'public.orders';
const OID = 16_384;

/** Writers of one table in a stream that a test plays. */
function play() {
  const counters = new Routes(() => undefined, new Map()).countersOf(TABLE);
  const writers = new WritersSeen({
    connector: 'shop',
    route: (oid) => (oid === OID ? { table: TABLE, counters } : undefined),
  });
  writers.watch(TABLE, counters);
  const write = (rows: number, note: object) => {
    counters.insert += rows;
    writers.note(messageOf(note));
  };
  return { writers, write };
}

function messageOf(note: object): MessageChange {
  return {
    operation: 'message',
    transaction: { xid: 1, commitLsn: 1n as Lsn, committedAtMicros: 0n, timeline: 1 },
    ordinal: 0,
    prefix: 'banyan.shop.writer',
    content: JSON.stringify({ t: OID, ...note }),
  };
}

test('what waits to be stored is one row for each writer and minute, however often it was taken', () => {
  const { writers, write } = play();
  for (let second = 0; second < 120; second += 1) {
    writers.begin();
    write(2, { r: 'billing', a: 'invoices' });
    writers.take(second < 60 ? 0 : 60_000);
  }
  expect(writers.size).toBe(2);
  const row = { table: TABLE, role: 'billing', application: 'invoices', changes: 120 };
  expect(writers.drain()).toEqual([
    { ...row, startsAt: new Date(0) },
    { ...row, startsAt: new Date(60_000) },
  ]);
  expect([writers.size, writers.drain()]).toEqual([0, []]);
});

test('before the first transaction that counts nobody is heard', () => {
  const { writers, write } = play();
  write(5, { r: 'billing', a: 'invoices' });
  writers.begin();
  write(1, { r: 'billing', a: 'invoices' });
  writers.take(0);
  expect(writers.drain().map(({ changes }) => changes)).toEqual([1]);
});
