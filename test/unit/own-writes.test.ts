import { describe, expect, test } from 'vitest';
import { OwnTransaction } from '../../src/capture/own-writes.ts';
import type { Cell, Relation, RowChange, TableChange } from '../../src/core/change.ts';
import type { TagMessage, VerdictMessage } from '../../src/postgres/apply-tag.ts';
import type { Observation } from '../../src/state/inbox.ts';
import { transaction } from '../support/mapping-bed.ts';

const column = (name: string, inIdentity = false) => ({ name, typeOid: 25, typeModifier: -1, inIdentity });
const orders: Relation = {
  oid: 4_000_000_001,
  schema: 'public',
  name: 'orders',
  replicaIdentity: 'default',
  columns: [column('note'), column('id', true), column('status')],
};
const audit: Relation = { ...orders, oid: 4_000_000_002, name: 'audit' };
const lines: Relation = {
  ...orders,
  oid: 4_000_000_003,
  name: 'lines',
  columns: [column('order_id', true), column('line', true), column('text')],
};

type Step = TableChange | { readonly tag: TagMessage } | { readonly verdict: VerdictMessage };

function row(
  operation: RowChange['operation'],
  relation: Relation,
  tuples: { new?: readonly Cell[]; old?: readonly Cell[]; oldKind?: 'key' | 'full' },
): RowChange {
  const { new: after, old } = tuples;
  const oldKind = old === undefined ? undefined : (tuples.oldKind ?? 'key');
  return { operation, relation, transaction, ordinal: 0, new: after, old, oldKind };
}

const inserted = (id: string, relation = orders) => row('insert', relation, { new: ['n', id, 's'] });
const updated = (id: string, relation = orders) => row('update', relation, { new: ['n', id, 's'] });
const deleted = (id: string, relation = orders) => row('delete', relation, { old: [undefined, id, undefined] });
const truncated = (relation = orders): TableChange => ({ operation: 'truncate', relation, transaction, ordinal: 0 });

function tag(op: TagMessage['op'], id: string, more: Partial<TagMessage> = {}): Step {
  const event = `e${id}`;
  return {
    tag: { kind: 'tag', event, producer: 'shop', hops: 0, table: orders.oid, columns: ['id'], key: [id], op, ...more },
  };
}
const echo = (id: string): Step => ({ verdict: { kind: 'echo', event: `e${id}` } });
const correction = (id: string): Step => ({ verdict: { kind: 'correction', event: `e${id}` } });

/** What becomes of each change, in the order in which it is said. */
function classify(...steps: readonly Step[]) {
  const said: { what: string; change: TableChange }[] = [];
  const observed: Observation[] = [];
  const own = new OwnTransaction({
    take: (change, what) => said.push({ change, what }),
    observe: (observation) => observed.push(observation),
  });
  for (const step of steps) {
    if ('tag' in step) own.tag(step.tag);
    else if ('verdict' in step) own.verdict(step.verdict);
    else own.change(step);
  }
  own.settle();
  return {
    said: said.map(({ what, change }) => `${what}: ${change.operation} ${change.relation.name}`),
    origins: said.map(({ change }) => change.origin),
    observed: observed.map(({ producer, eventId, verdict }) => `${verdict} of ${eventId} from ${producer}`),
    changes: said.map(({ change }) => change),
  };
}

describe('the write that a tag announces', () => {
  test('is an echo where its verdict says so, and is handed on as it came', () => {
    for (const [op, change] of [
      ['insert', inserted('1')],
      ['update', updated('1')],
      ['delete', deleted('1')],
    ] as const) {
      const { said, changes, observed } = classify(tag(op, '1'), change, echo('1'));
      expect(said).toEqual([`echo: ${op} orders`]);
      expect(changes[0]).toBe(change);
      expect(observed).toEqual(['echo of e1 from shop']);
    }
  });

  test('is a correction where its verdict says so, caused by the event, and one hop further', () => {
    const { said, origins, observed } = classify(tag('update', '1', { hops: 1 }), updated('1'), correction('1'));
    expect(said).toEqual(['correction: update orders']);
    expect(origins).toEqual([{ kind: 'correction', causedBy: 'e1', hops: 2 }]);
    expect(observed).toEqual(['correction of e1 from shop']);
  });

  test('follows for every tag of the transaction', () => {
    const { said, observed } = classify(
      tag('insert', '1'),
      inserted('1'),
      echo('1'),
      tag('update', '2'),
      updated('2'),
      correction('2'),
      tag('delete', '3'),
      deleted('3'),
      echo('3'),
    );
    expect(said).toEqual(['echo: insert orders', 'correction: update orders', 'echo: delete orders']);
    expect(observed).toHaveLength(3);
  });

  test('has all parts of a composite key, in any place of the row', () => {
    const line = (order: string, number: string) => row('update', lines, { new: [order, number, 't'] });
    const announced = tag('update', '1', { table: lines.oid, columns: ['order_id', 'line'], key: ['7', '2'] });
    expect(classify(announced, line('7', '1'), line('2', '7'), line('7', '2'), echo('1')).said).toEqual([
      'trigger: update lines',
      'trigger: update lines',
      'echo: update lines',
    ]);
  });

  test('is found by the key that the row had, also where a trigger gave it another one', () => {
    const moved = row('update', orders, { new: ['n', '9', 's'], old: [undefined, '1', undefined] });
    expect(classify(tag('update', '1'), moved, correction('1')).said).toEqual(['correction: update orders']);
    expect(classify(tag('update', '9'), moved, echo('9')).said).toEqual(['trigger: update orders']);
  });

  test('is found by the whole old row, and by a key that the identity does not hold', () => {
    const full = row('update', orders, { new: ['n', '1', 's'], old: ['o', '1', 's'], oldKind: 'full' });
    expect(classify(tag('update', '1'), full, echo('1')).said).toEqual(['echo: update orders']);
    const byNote = tag('update', '1', { columns: ['note'], key: ['n'] });
    const otherIdentity = row('update', orders, { new: ['n', '1', 's'], old: [undefined, '0', undefined] });
    expect(classify(byNote, otherIdentity, echo('1')).said).toEqual(['echo: update orders']);
    // A delete does not send it: nobody can say that it is the one that was announced.
    expect(classify(tag('delete', '1', { columns: ['note'], key: ['n'] }), deleted('1'), echo('1')).said).toEqual([
      'trigger: delete orders',
    ]);
  });

  test('comes as a delete and an insert where it moves the row to another partition', () => {
    expect(classify(tag('update', '1'), deleted('1'), inserted('1'), echo('1')).said).toEqual([
      'echo: delete orders',
      'echo: insert orders',
    ]);
    const corrected = classify(
      tag('update', '1'),
      deleted('1'),
      inserted('8', audit),
      inserted('1'),
      correction('1'),
      inserted('1'),
    );
    expect(corrected.said).toEqual([
      'correction: delete orders',
      'trigger: insert audit',
      'correction: insert orders',
      'trigger: insert orders',
    ]);
  });
});

describe('what else is in the transaction', () => {
  test('is the legacy system’s before the first tag', () => {
    const { said, origins } = classify(updated('1'), truncated(audit), tag('update', '1'), updated('1'), echo('1'));
    expect(said).toEqual(['legacy: update orders', 'legacy: truncate audit', 'echo: update orders']);
    expect(origins).toEqual([undefined, undefined, undefined]);
  });

  test('is a trigger’s behind a verdict, caused by the event of the last tag', () => {
    const { said, origins } = classify(
      tag('update', '1'),
      updated('1'),
      echo('1'),
      inserted('5', audit),
      tag('update', '2', { hops: 1 }),
      updated('2'),
      echo('2'),
      inserted('6', audit),
      truncated(lines),
    );
    expect(said).toEqual([
      'echo: update orders',
      'trigger: insert audit',
      'echo: update orders',
      'trigger: insert audit',
      'trigger: truncate lines',
    ]);
    expect(origins).toEqual([
      undefined,
      { kind: 'trigger', causedBy: 'e1', hops: 1 },
      undefined,
      { kind: 'trigger', causedBy: 'e2', hops: 2 },
      { kind: 'trigger', causedBy: 'e2', hops: 2 },
    ]);
  });

  test('is a BEFORE trigger’s between tag and row: of another table, key, or operation', () => {
    expect(
      classify(
        tag('update', '1'),
        updated('1', audit),
        updated('2'),
        inserted('1'),
        truncated(),
        updated('1'),
        echo('1'),
      ).said,
    ).toEqual([
      'trigger: update audit',
      'trigger: update orders',
      'trigger: insert orders',
      'trigger: truncate orders',
      'echo: update orders',
    ]);
  });

  test('is a trigger’s where the same row changes a second time', () => {
    expect(classify(tag('update', '1'), updated('1'), echo('1'), updated('1'), deleted('1')).said).toEqual([
      'echo: update orders',
      'trigger: update orders',
      'trigger: delete orders',
    ]);
    // Before its verdict it waits behind the first one.
    expect(classify(tag('update', '1'), updated('1'), updated('1'), echo('1')).said).toEqual([
      'echo: update orders',
      'trigger: update orders',
    ]);
  });
});

describe('a message that is missing', () => {
  test('leaves the announced row a correction, at the next tag and at the commit', () => {
    const { said, origins, observed } = classify(
      tag('update', '1'),
      updated('1'),
      inserted('5', audit),
      tag('update', '2'),
      updated('2'),
    );
    expect(said).toEqual(['correction: update orders', 'trigger: insert audit', 'correction: update orders']);
    expect(origins[1]).toEqual({ kind: 'trigger', causedBy: 'e1', hops: 1 });
    expect(observed).toEqual(['correction of e1 from shop', 'correction of e2 from shop']);
  });

  test('does not let a row be taken for an echo by the verdict on another event, or by a second one', () => {
    expect(classify(tag('update', '1'), updated('1'), echo('2')).said).toEqual(['correction: update orders']);
    expect(classify(tag('update', '1'), updated('1'), correction('1'), echo('1')).said).toEqual([
      'correction: update orders',
    ]);
    expect(classify(echo('1'), updated('1')).said).toEqual(['legacy: update orders']);
  });

  test('lets nothing be announced any more once the verdict came without its row', () => {
    const { said, observed } = classify(tag('update', '1'), echo('1'), updated('1'), echo('1'));
    expect(said).toEqual(['trigger: update orders']);
    expect(observed).toEqual(['echo of e1 from shop']);
  });

  test('changes nothing where neither row nor verdict came', () => {
    expect(classify(tag('update', '1'), tag('update', '2'), updated('2'), echo('2'))).toMatchObject({
      said: ['echo: update orders'],
      observed: ['echo of e2 from shop'],
    });
    expect(classify(tag('update', '1'))).toMatchObject({ said: [], observed: [] });
  });

  test('does not keep a huge transaction in memory', () => {
    const said: string[] = [];
    const own = new OwnTransaction({ take: (_change, what) => said.push(what), observe: () => undefined });
    const [announced] = [tag('update', '1')];
    if ('tag' in announced) own.tag(announced.tag);
    own.change(updated('1'));
    for (let n = 0; n < 2_000; n += 1) own.change(inserted(`${n}`, audit));
    expect(said.length).toBeGreaterThan(1_900);
    expect(said[0]).toBe('correction');
    own.settle();
    expect(said).toHaveLength(2_001);
  });
});
