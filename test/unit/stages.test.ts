import { describe, expect, test } from 'vitest';
import { type Stage, STAGES, type TargetStage } from '../../src/core/progress.ts';
import { automaticStage, primaryOf, reverseIsOn, stageWinner } from '../../src/core/stages.ts';
import { gatesOf, isRollback, nextTarget, refusedMove, targetsOf, type TableWays } from '../../src/progress/stages.ts';

const BOTH: TableWays = { captured: true, reversed: true, backfill: true };
const OUT: TableWays = { captured: true, reversed: false, backfill: false };
const BACK: TableWays = { captured: false, reversed: true, backfill: false };

/** Every move that a person may make, of all 36 there are. */
function allowed(table: TableWays): string[] {
  return STAGES.flatMap((from) =>
    STAGES.filter((to) => refusedMove(from, to, table) === undefined).map((to) => `${from} → ${to}`),
  );
}

describe('what a person may do', () => {
  test('with a table that goes both ways: forward by one stage or over dual, and back', () => {
    expect(allowed(BOTH)).toEqual([
      'shadow → dual',
      'shadow → new-primary',
      'dual → shadow',
      'dual → new-primary',
      'new-primary → shadow',
      'new-primary → dual',
      'new-primary → retired',
      'retired → new-primary',
    ]);
  });

  test('with a table that only goes out: never to dual', () => {
    expect(allowed(OUT)).toEqual([
      'shadow → new-primary',
      'dual → shadow',
      'dual → new-primary',
      'new-primary → shadow',
      'new-primary → retired',
      'retired → new-primary',
    ]);
  });

  test('with a table that only comes back: it has no shadow to wait for', () => {
    expect(allowed(BACK)).toEqual([
      'mapped → dual',
      'mapped → new-primary',
      'backfilling → dual',
      'backfilling → new-primary',
      'shadow → dual',
      'shadow → new-primary',
      'dual → shadow',
      'dual → new-primary',
      'new-primary → shadow',
      'new-primary → dual',
      'new-primary → retired',
      'retired → new-primary',
    ]);
  });

  test('every refusal says why', () => {
    expect(refusedMove('dual', 'dual', BOTH)).toBe('it is dual already');
    expect(refusedMove('shadow', 'dual', OUT)).toContain('reverse.apply');
    expect(refusedMove('mapped', 'dual', BOTH)).toBe(
      'it is mapped, and goes to shadow by itself when its rows are sent',
    );
    expect(refusedMove('mapped', 'shadow', OUT)).toContain('when the stream has come to it');
    expect(refusedMove('backfilling', 'new-primary', BOTH)).toContain('by itself');
    expect(refusedMove('shadow', 'retired', BOTH)).toBe('from shadow it can go to dual or new-primary');
    expect(refusedMove('retired', 'shadow', BOTH)).toBe('from retired it can go to new-primary');
  });

  test('the next stage is never one that a move to would be refused, or a step back', () => {
    for (const table of [BOTH, OUT, BACK]) {
      const steps = STAGES.map((from) => ({ from, to: nextTarget(from, table) }));
      expect(steps.filter(({ to }) => to === undefined)).toEqual([{ from: 'retired', to: undefined }]);
      const refused = steps.filter(
        ({ from, to }) =>
          to !== undefined && (isRollback(from, to) || (to !== 'shadow' && !targetsOf(from, table).includes(to))),
      );
      expect(refused).toEqual([]);
    }
    expect(STAGES.map((from) => nextTarget(from, { reversed: true }))).toEqual([
      'shadow',
      'shadow',
      'dual',
      'new-primary',
      'retired',
      undefined,
    ]);
    expect(nextTarget('shadow', { reversed: false })).toBe('new-primary');
    expect(nextTarget('mapped', { reversed: true, captured: false })).toBe('dual');
  });
});

describe('gates', () => {
  test('forward, of a table that goes both ways', () => {
    expect(gatesOf('backfilling', 'shadow', BOTH)).toEqual(['BACKFILL_DONE', 'SLOT']);
    expect(gatesOf('shadow', 'dual', BOTH)).toEqual(['BACKFILL_DONE', 'SLOT', 'LAG', 'PARITY', 'REVERSE_TEST']);
    const toPrimary = [
      'BACKFILL_DONE',
      'SLOT',
      'LAG',
      'PARITY',
      'REVERSE_TEST',
      'CONFLICTS_OPEN',
      'DEAD_LETTERS',
      'LEGACY_WRITES',
    ];
    expect(gatesOf('dual', 'new-primary', BOTH)).toEqual(toPrimary);
    expect(gatesOf('shadow', 'new-primary', BOTH)).toEqual(toPrimary);
    expect(gatesOf('new-primary', 'retired', BOTH)).toEqual(['LEGACY_WRITES', 'LEGACY_READS', 'DEPENDANTS']);
  });

  test('only what the table can have: no backfill, no way back, no way out', () => {
    expect(gatesOf('shadow', 'new-primary', OUT)).toEqual(['SLOT', 'LAG', 'PARITY', 'DEAD_LETTERS', 'LEGACY_WRITES']);
    expect(gatesOf('mapped', 'dual', BACK)).toEqual(['REVERSE_TEST']);
    expect(gatesOf('new-primary', 'retired', OUT)).toEqual(['LEGACY_WRITES', 'LEGACY_READS', 'DEPENDANTS']);
  });

  test('a rollback asks for reverse sync where it relies on it', () => {
    const whole = ['REVERSE_TEST', 'CONFLICTS_OPEN', 'DEAD_LETTERS'];
    const rollbacks: [Stage, TargetStage, string[], string[]][] = [
      ['dual', 'shadow', [], []],
      // What the new system wrote must be in the legacy table, all of it; without a way back it never is.
      ['new-primary', 'dual', whole, ['REVERSE_TEST']],
      ['new-primary', 'shadow', whole, ['REVERSE_TEST']],
      ['retired', 'new-primary', ['REVERSE_TEST'], []],
    ];
    for (const [from, to, both, out] of rollbacks) {
      expect(isRollback(from, to)).toBe(true);
      expect(gatesOf(from, to, BOTH), `${from} → ${to}`).toEqual(both);
      expect(gatesOf(from, to, OUT), `${from} → ${to}`).toEqual(out);
    }
  });
});

function moves(stage: Stage, isCovered: boolean, backfill: 'not-asked' | 'open' | 'done'): Stage | undefined {
  return automaticStage({ stage, isCovered, backfill });
}

describe('by itself', () => {
  test('a table goes to shadow when the stream covers it, over backfilling where its rows are asked for', () => {
    expect(moves('mapped', true, 'not-asked')).toBe('shadow');
    expect(moves('mapped', true, 'open')).toBe('backfilling');
    expect(moves('mapped', true, 'done')).toBe('backfilling');
    expect(moves('backfilling', true, 'open')).toBeUndefined();
    expect(moves('backfilling', true, 'done')).toBe('shadow');
    expect(moves('backfilling', true, 'not-asked')).toBe('shadow');
  });

  test('nothing moves before the stream covers it, and nothing from shadow on, not back either', () => {
    for (const backfill of ['not-asked', 'open', 'done'] as const) {
      for (const stage of STAGES) expect(moves(stage, false, backfill)).toBeUndefined();
      for (const stage of STAGES.slice(2)) expect(moves(stage, true, backfill)).toBeUndefined();
    }
  });
});

test('what a stage means', () => {
  expect(STAGES.map((stage) => [stage, primaryOf(stage), reverseIsOn(stage), stageWinner(stage)])).toEqual([
    ['mapped', 'legacy', false, 'legacy-wins'],
    ['backfilling', 'legacy', false, 'legacy-wins'],
    ['shadow', 'legacy', false, 'legacy-wins'],
    ['dual', 'legacy', true, 'legacy-wins'],
    ['new-primary', 'new', true, 'new-wins'],
    ['retired', 'nobody', false, 'legacy-wins'],
  ]);
});
