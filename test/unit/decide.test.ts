import { describe, expect, test } from 'vitest';
import { decide, type Decision, type Facts, type RowFacts } from '../../src/reverse/decide.ts';
import type { AppliedVersion, ColumnMark } from '../../src/state/applied-versions.ts';

const unknown: AppliedVersion = { created: undefined, deleted: undefined, last: undefined, columns: {}, told: false };

function mark(version: bigint | undefined, hash: string | undefined): ColumnMark {
  return { version, hash };
}

/** A row that event `version` wrote and nobody else touched. */
function written(version: bigint): AppliedVersion {
  return {
    created: version,
    deleted: undefined,
    last: version,
    columns: { a: mark(version, 'a1'), b: mark(version, 'b1') },
    told: false,
  };
}

const untouched: RowFacts = { hashes: { a: 'a1', b: 'b1' }, same: new Set(), expected: undefined };
const touched: RowFacts = { hashes: { a: 'other', b: 'b1' }, same: new Set(), expected: undefined };

function facts(changed: Partial<Facts>): Facts {
  return {
    operation: 'upsert',
    set: ['a', 'b'],
    version: 5n,
    gaps: 'ignore',
    carries: 'full',
    replayed: false,
    decided: undefined,
    policy: 'legacy-wins',
    known: unknown,
    row: undefined,
    basedOn: undefined,
    legacy: undefined,
    ...changed,
  };
}

function brief(decision: Decision): string {
  const parts: string[] = [decision.do];
  if ('kind' in decision) parts.push(decision.kind);
  if ('columns' in decision && decision.columns.length > 0) parts.push(decision.columns.join('+'));
  if ('conflict' in decision && decision.conflict !== undefined) parts.push(decision.conflict);
  return parts.join(' ');
}

function table(rules: readonly (readonly [string, Partial<Facts>, string])[]): void {
  test.for(rules)('%s', ([, changed, expected]) => {
    expect(brief(decide(facts(changed)))).toBe(expected);
  });
}

describe('an upsert', () => {
  table([
    ['makes a row that is not there', {}, 'insert a+b'],
    ['writes a row that we wrote before', { known: written(4n), row: untouched }, 'update a+b'],
    ['that is older than what wrote the row is stale', { known: written(6n), row: untouched }, 'stale'],
    ['of the same version is stale', { known: written(5n), row: untouched }, 'stale'],
    [
      'leaves a column alone that a newer patch has set',
      { known: { ...written(4n), columns: { a: mark(7n, 'a1'), b: mark(4n, 'b1') } }, row: untouched },
      'update b',
    ],
    [
      'all of whose columns are newer is stale',
      { known: { ...written(4n), columns: { a: mark(7n, 'a1'), b: mark(7n, 'b1') } }, row: untouched },
      'stale',
    ],
    ['older than the tombstone is stale', { known: { ...unknown, deleted: 6n } }, 'stale'],
    ['newer than the tombstone makes the row again', { known: { ...unknown, deleted: 4n } }, 'insert a+b'],
    [
      'with what is there already writes nothing',
      { known: written(4n), row: { ...touched, same: new Set(['a', 'b']) } },
      'nothing a+b',
    ],
    ['without a version is as new as can be', { version: undefined, known: written(9n), row: untouched }, 'update a+b'],
    ['without a version passes a tombstone', { version: undefined, known: { ...unknown, deleted: 9n } }, 'insert a+b'],
    [
      'of a row whose other columns were touched is no conflict',
      { set: ['b'], known: written(4n), row: touched },
      'update b',
    ],
    [
      'that agrees with what the other side made of the one column that it touched is no conflict',
      { known: written(4n), row: { ...touched, same: new Set(['a']) } },
      'update a+b',
    ],
    ['of nothing but a key makes the row', { set: [] }, 'insert'],
    ['of nothing but a key that is there writes nothing', { set: [], row: { ...untouched, hashes: {} } }, 'nothing'],
    [
      'of nothing but a key that is older is stale',
      { set: [], known: { ...unknown, created: 6n }, row: { ...untouched, hashes: {} } },
      'stale',
    ],
  ]);

  test('that comes late still protects the row from older deletes', () => {
    const known = { ...written(2n), columns: { a: mark(7n, 'a1'), b: mark(7n, 'b1') } };
    expect(decide(facts({ known, row: untouched }))).toEqual({
      do: 'stale',
      next: { created: 5n, deleted: undefined, last: 5n },
    });
  });

  test('keeps the tombstone when it makes the row again', () => {
    expect(decide(facts({ known: { ...unknown, deleted: 4n, last: 4n } }))).toMatchObject({
      next: { created: 5n, deleted: 4n, last: 5n },
    });
  });
});

describe('an insert', () => {
  table([
    ['makes a row', { operation: 'insert' }, 'insert a+b'],
    [
      'of a row that the other side made meets its policy',
      { operation: 'insert', row: untouched },
      'refuse insert_exists',
    ],
    [
      'of such a row overwrites it where the new side wins',
      { operation: 'insert', row: untouched, policy: 'new-wins' },
      'update a+b insert_exists',
    ],
    [
      'of such a row does not ask what the producer had seen',
      { operation: 'insert', row: { ...untouched, expected: true }, basedOn: '9', policy: 'park' },
      'fail conflict-parked insert_exists',
    ],
    [
      'of a row that holds the same already agrees',
      { operation: 'insert', row: { ...touched, same: new Set(['a', 'b']) } },
      'nothing a+b',
    ],
    ['of a row of ours is an upsert', { operation: 'insert', known: written(4n), row: untouched }, 'update a+b'],
  ]);
});

describe('an update', () => {
  table([
    ['writes its columns', { operation: 'update', set: ['a'], known: written(4n), row: untouched }, 'update a'],
    [
      'is not stale by a newer version of other columns',
      {
        operation: 'update',
        set: ['a'],
        known: { ...written(4n), last: 9n, columns: { a: mark(4n, 'a1'), b: mark(9n, 'b1') } },
        row: untouched,
      },
      'update a',
    ],
    [
      'is stale where all its columns are newer',
      { operation: 'update', set: ['a'], known: written(6n), row: untouched },
      'stale',
    ],
    ['of a row that never was waits', { operation: 'update' }, 'fail row-missing update_missing'],
    [
      'newer than the delete of its row waits',
      { operation: 'update', known: { ...unknown, deleted: 4n } },
      'fail row-missing update_deleted',
    ],
    [
      'older than the delete of its row does not bring it back',
      { operation: 'update', known: { ...unknown, deleted: 6n } },
      'stale',
    ],
    [
      'older than a delete does not change the row that was made since',
      { operation: 'update', known: { ...unknown, created: 7n, deleted: 6n }, row: untouched },
      'stale',
    ],
    [
      'without a row is stale where its columns are newer',
      { operation: 'update', set: ['a'], known: { ...unknown, columns: { a: mark(6n, undefined) } } },
      'stale',
    ],
  ]);

  test('does not protect its row from older deletes, even if it sets all columns', () => {
    expect(decide(facts({ operation: 'update', known: written(2n), row: untouched }))).toMatchObject({
      next: { created: 2n, last: 5n },
    });
  });
});

describe('a delete', () => {
  table([
    ['deletes a row of ours', { operation: 'delete', set: [], known: written(4n), row: untouched }, 'delete'],
    [
      'older than what made the row is stale',
      { operation: 'delete', set: [], known: written(6n), row: untouched },
      'stale',
    ],
    ['that was here already is stale', { operation: 'delete', set: [], known: { ...unknown, deleted: 5n } }, 'stale'],
    [
      'is not stopped by newer patches',
      {
        operation: 'delete',
        set: [],
        known: { ...written(4n), columns: { a: mark(9n, 'a1'), b: mark(4n, 'b1') } },
        row: untouched,
      },
      'delete',
    ],
    ['of nothing is counted', { operation: 'delete', set: [] }, 'nothing delete_missing'],
    [
      'of what we deleted before is not even counted',
      { operation: 'delete', set: [], known: { ...unknown, deleted: 4n } },
      'nothing',
    ],
    [
      'of a row that the other side touched is a conflict in any column',
      { operation: 'delete', set: [], known: written(4n), row: touched },
      'refuse delete_origin_differs',
    ],
    [
      'of a row that we never wrote is a conflict',
      { operation: 'delete', set: [], row: untouched },
      'refuse delete_origin_differs',
    ],
    [
      'does not mind a column that is gone',
      {
        operation: 'delete',
        set: [],
        known: { ...written(4n), columns: { a: mark(4n, 'a1'), gone: mark(4n, 'x') } },
        row: { ...untouched, hashes: { a: 'a1' } },
      },
      'delete',
    ],
    [
      'without a version deletes',
      { operation: 'delete', set: [], version: undefined, known: written(9n), row: untouched },
      'delete',
    ],
  ]);

  test('leaves a tombstone, also where there was no row', () => {
    expect(decide(facts({ operation: 'delete', set: [] }))).toMatchObject({ next: { deleted: 5n, last: 5n } });
    const known = written(4n);
    expect(decide(facts({ operation: 'delete', set: [], known, row: untouched }))).toMatchObject({
      next: { created: 4n, deleted: 5n, last: 5n },
    });
  });

  test('that comes late keeps its tombstone, and the row stays', () => {
    expect(decide(facts({ operation: 'delete', set: [], known: written(6n), row: untouched }))).toEqual({
      do: 'stale',
      next: { created: 6n, deleted: 5n, last: 6n },
    });
  });
});

describe('a delete of a row that was made anew', () => {
  const late = { operation: 'delete', set: [], row: untouched } as const;
  /** `b` is of the row before. */
  const anew = { ...written(6n), columns: { a: mark(6n, 'a1'), b: mark(3n, 'b1') } };

  test('resets what older events had set, as far as nobody else has written it', () => {
    const update = { do: 'update', columns: [], conflict: undefined, announce: false };
    const next = { created: 6n, deleted: 5n, last: 6n };
    expect(decide(facts({ ...late, known: anew }))).toEqual({ ...update, reset: ['b'], next });
    const changed = { ...untouched, hashes: { a: 'a1', b: 'by hand' } };
    expect(decide(facts({ ...late, known: anew, row: changed }))).toEqual({ do: 'stale', next });
    expect(decide(facts({ ...late, known: anew, row: undefined }))).toEqual({ do: 'stale', next });
    const gone = { ...untouched, hashes: { a: 'a1' } };
    expect(decide(facts({ ...late, known: anew, row: gone }))).toEqual({ do: 'stale', next });
  });

  test('resets nothing that another delete has reset, and nothing where a person wants the row as it is', () => {
    expect(decide(facts({ ...late, known: { ...anew, deleted: 4n } }))).toMatchObject({ do: 'stale' });
    expect(decide(facts({ ...late, known: { ...anew, deleted: 2n } }))).toMatchObject({ reset: ['b'] });
    expect(decide(facts({ ...late, known: anew, decided: 'current' }))).toMatchObject({ do: 'stale' });
    expect(decide(facts({ ...late, known: anew, replayed: true }))).toMatchObject({ do: 'fail', kind: 'replayed' });
  });

  test('asks what its producer has heard of where that was told something', () => {
    const told = { ...anew, told: true };
    expect(decide(facts({ ...late, known: told, basedOn: '1' }))).toEqual({ do: 'ask' });
    expect(decide(facts({ ...late, known: told }))).toMatchObject({ reset: ['b'], announce: true });
  });
});

test('what makes a row brings back what newer patches had set, also what it does not set itself', () => {
  const columns = {
    b: { ...mark(9n, undefined), kept: 'b9' },
    c: { ...mark(4n, undefined), kept: null },
    d: mark(2n, undefined),
  };
  const known = { ...unknown, deleted: 3n, columns };
  expect(decide(facts({ known }))).toMatchObject({ do: 'insert', columns: ['a', 'b'], restored: ['c'] });
});

describe('a row that the other side has changed', () => {
  const known = written(4n);
  table([
    ['stays where legacy wins', { known, row: touched }, 'refuse update_origin_differs'],
    [
      'is overwritten where the new side wins',
      { known, row: touched, policy: 'new-wins' },
      'update a+b update_origin_differs',
    ],
    ['parks the event', { known, row: touched, policy: 'park' }, 'fail conflict-parked update_origin_differs'],
    ['is a conflict with the first write of it', { row: untouched }, 'refuse update_origin_differs'],
    ['is none where it is what the producer expected', { known, row: { ...touched, expected: true } }, 'update a+b'],
    ['is one where it is not', { known, row: { ...touched, expected: false } }, 'refuse update_origin_differs'],
    ['has to be looked up where the event is based on something', { known, row: touched, basedOn: '0007' }, 'ask'],
    [
      'is none where the producer had seen the change',
      { known, row: touched, basedOn: '0007', legacy: { sequence: '0007' } },
      'update a+b',
    ],
    [
      'is one where the producer had seen an earlier one',
      { known, row: touched, basedOn: '0007', legacy: { sequence: '0008' } },
      'refuse update_origin_differs',
    ],
    [
      'is none where nobody changed it since changes are kept',
      { known, row: touched, basedOn: '0007', legacy: { sequence: undefined } },
      'update a+b',
    ],
    ['is not looked up where nobody touched it', { known, row: untouched, basedOn: '0007' }, 'update a+b'],
    ['and deleted is a conflict for an upsert', { known }, 'refuse update_deleted'],
    ['and deleted is made again where the new side wins', { known, policy: 'new-wins' }, 'insert a+b update_deleted'],
    [
      'and deleted is none where the producer knew',
      { known, basedOn: '0008', legacy: { sequence: '0008' } },
      'insert a+b',
    ],
    [
      'and deleted is none after the producer was told',
      { known: { ...known, columns: { a: mark(4n, undefined), b: mark(4n, undefined) } } },
      'insert a+b',
    ],
  ]);

  test('counts the version of an event that was refused', () => {
    expect(decide(facts({ known, row: touched }))).toMatchObject({ next: { created: 5n, last: 5n } });
  });
});

describe('what a person has decided', () => {
  const known = written(4n);
  const update = { operation: 'update', policy: 'park' } as const;
  table([
    [
      'the event: is written',
      { known, row: touched, policy: 'park', decided: 'event' },
      'update a+b update_origin_differs',
    ],
    ['the event: makes the row that its update needs', { ...update, decided: 'event' }, 'insert a+b update_missing'],
    [
      'the event: makes the row again that was deleted',
      { ...update, known: { ...unknown, deleted: 4n }, decided: 'event' },
      'insert a+b update_deleted',
    ],
    [
      'the event: can make no row of a patch',
      { ...update, carries: 'patch', decided: 'event' },
      'fail row-missing update_missing',
    ],
    ['the event: is stale where a newer one was here', { known: written(6n), row: touched, decided: 'event' }, 'stale'],
    ['the row: stays', { known, row: touched, policy: 'new-wins', decided: 'current' }, 'refuse update_origin_differs'],
    [
      'the row: stays, also where it is as we left it',
      { known, row: untouched, decided: 'current' },
      'refuse update_origin_differs',
    ],
    [
      'the row: stays, whatever the producer had seen',
      { known, row: touched, basedOn: '0007', decided: 'current' },
      'refuse update_origin_differs',
    ],
    ['no row: none is made', { decided: 'current' }, 'refuse update_deleted'],
    ['no row: none is made of what an update sets', { ...update, decided: 'current' }, 'refuse update_missing'],
    [
      'the row: is not deleted',
      { operation: 'delete', set: [], known, row: untouched, decided: 'current' },
      'refuse delete_origin_differs',
    ],
  ]);

  test('of an event that has made a row lets older deletes pass it by, of one that has not none', () => {
    expect(decide(facts({ ...update, decided: 'event' }))).toMatchObject({
      announce: true,
      next: { created: 5n, last: 5n },
    });
    expect(decide(facts({ ...update, decided: 'current' }))).toMatchObject({ next: { created: undefined, last: 5n } });
  });
});

describe('consecutive versions', () => {
  const gaps = 'park';
  table([
    ['begin with one', { gaps, version: 1n }, 'insert a+b'],
    ['do not begin with two', { gaps, version: 2n }, 'fail version-gap'],
    ['follow each other', { gaps, known: written(4n), row: untouched }, 'update a+b'],
    ['wait for the one between', { gaps, known: written(3n), row: untouched }, 'fail version-gap'],
    ['are stale behind the last one', { gaps, known: written(6n), row: untouched }, 'stale'],
    ['do not matter without a version', { gaps, version: undefined }, 'insert a+b'],
    ['do not matter where they are not promised', { known: written(3n), row: untouched }, 'update a+b'],
    ['come before a row that is missing', { gaps, operation: 'update' }, 'fail version-gap'],
  ]);
});

describe('an event of a replay', () => {
  const replayed = true;
  table([
    ['is set aside before it writes', { replayed }, 'fail replayed'],
    ['is set aside before it is refused', { replayed, known: written(4n), row: touched }, 'fail replayed'],
    ['is stale where it would do nothing', { replayed, known: written(6n), row: untouched }, 'stale'],
    ['may agree', { replayed, known: written(4n), row: { ...untouched, same: new Set(['a', 'b']) } }, 'nothing a+b'],
  ]);
});
