import { describe, expect, test } from 'vitest';
import { LegacyKeys } from '../../src/capture/legacy-keys.ts';
import type { Relation, RowChange, TableChange } from '../../src/core/change.ts';
import type { Lsn } from '../../src/core/lsn.ts';

const relation: Relation = {
  oid: 1,
  schema: 'public',
  name: 'orders',
  replicaIdentity: 'default',
  columns: [{ name: 'id', typeOid: 25, typeModifier: -1, inIdentity: true }],
};
const transaction = { xid: 7, commitLsn: 0x10n as Lsn, committedAtMicros: 0n, timeline: 1 };

function inserted(id: string): RowChange {
  return { operation: 'insert', relation, transaction, ordinal: 3, new: [id], old: undefined, oldKind: undefined };
}

function keysOf(change: TableChange): readonly (readonly string[])[] {
  const keys = new LegacyKeys(new Map([['public.orders', [['id']]]]), { systemId: '1', epoch: 1 });
  keys.describe(relation);
  return keys.of(change).map(({ key }) => key);
}

describe('the keys of a change that events may be based on', () => {
  test('are those of its row', () => {
    expect(keysOf(inserted('a'))).toEqual([['a']]);
  });

  test('leave out one that is longer than any that an event may name: it would not fit the index of ours', () => {
    expect(keysOf(inserted('ä'.repeat(400)))).toHaveLength(1);
    expect(keysOf(inserted('ä'.repeat(401)))).toEqual([]);
  });

  test('are all keys of the table where it is truncated', () => {
    expect(keysOf({ operation: 'truncate', relation, transaction, ordinal: 3 })).toEqual([[]]);
  });
});
