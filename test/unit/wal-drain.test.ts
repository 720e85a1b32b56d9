import { describe, expect, test } from 'vitest';
import type { Lsn } from '../../src/core/lsn.ts';
import { type DrainLook, type DrainVerdict, WalDrain } from '../../src/postgres/wal-drain.ts';

const BUDGET = 1_000;

/** Numbers stand for looks; what is left out is as it was. */
type Step = Partial<Pick<DrainLook, 'heldBytes' | 'lagBytes' | 'settled'>> & {
  readonly restart?: number;
  readonly confirmed?: number;
};

class Play {
  readonly drain = new WalDrain(BUDGET);
  #now: DrainLook = {
    heldBytes: 0,
    lagBytes: 0,
    restartLsn: 1n as Lsn,
    confirmedLsn: 1n as Lsn,
    settled: 0,
  };

  look({ restart, confirmed, ...step }: Step): DrainVerdict {
    this.#now = {
      ...this.#now,
      ...step,
      ...(restart === undefined ? {} : { restartLsn: BigInt(restart) as Lsn }),
      ...(confirmed === undefined ? {} : { confirmedLsn: BigInt(confirmed) as Lsn }),
    };
    return this.drain.look(this.#now);
  }

  looks(count: number, step: (look: number) => Step): DrainVerdict[] {
    return Array.from({ length: count }, (_, look) => this.look(step(look)));
  }
}

describe('a slot over its budget', () => {
  test('is stalled when nothing has moved for twelve looks, and a budget that is not used up is no matter', () => {
    const play = new Play();
    expect(play.looks(50, () => ({ heldBytes: 1_000 }))).not.toContain('stalled');
    expect(play.looks(11, () => ({ heldBytes: 1_001 }))).not.toContain('stalled');
    expect(play.look({})).toBe('stalled');
  });

  test('drains while a position moves, or only what a long transaction has settled', () => {
    const play = new Play();
    expect(play.looks(50, (look) => ({ heldBytes: 5_000, confirmed: look >> 3 }))).not.toContain('stalled');
    expect(play.looks(50, (look) => ({ restart: look >> 3 }))).not.toContain('stalled');
    expect(play.looks(50, (look) => ({ settled: look >> 3 }))).not.toContain('stalled');
    expect(play.looks(20, () => ({}))).toContain('stalled');
  });

  test('has as long again when a session begins', () => {
    const play = new Play();
    play.looks(12, () => ({ heldBytes: 1_500 }));
    play.drain.begins();
    expect(play.looks(11, () => ({}))).not.toContain('stalled');
    expect(play.look({})).toBe('stalled');
  });

  test('drains although it holds more and more, while what is behind falls', () => {
    const play = new Play();
    const verdicts = play.looks(200, (look) => ({
      heldBytes: 3_000 + look * 30,
      lagBytes: 3_000 - look * 12,
      confirmed: look,
    }));
    expect(new Set(verdicts)).toEqual(new Set(['draining']));
  });

  test('drains over a burst that is less than half a budget', () => {
    const play = new Play();
    const level = [3_000, 2_500, 2_900, 2_990, 2_800, 2_400, 1_900];
    const verdicts = level.map((bytes, look) => play.look({ heldBytes: bytes, lagBytes: bytes, confirmed: look }));
    expect(new Set(verdicts)).toEqual(new Set(['draining']));
  });

  test('is losing when more is written than it drains', () => {
    const play = new Play();
    const verdicts = play.looks(60, (look) => ({
      heldBytes: 1_010 + look * 10,
      lagBytes: 900 + look * 10,
      confirmed: look,
    }));
    expect(verdicts.indexOf('losing')).toBe(51);
  });

  test('is losing where the open transaction of somebody else holds it back, though nothing is behind', () => {
    const play = new Play();
    const verdicts = play.looks(100, (look) => ({
      heldBytes: 1_010 + look * 10,
      lagBytes: 9 - (look % 10),
      confirmed: look,
    }));
    expect(verdicts.indexOf('losing')).toBe(51);
  });

  test('that comes back under it begins anew', () => {
    const play = new Play();
    play.looks(40, (look) => ({ heldBytes: 1_010 + look * 10, lagBytes: 1_000, confirmed: look }));
    expect(play.look({ heldBytes: 900, confirmed: 100 })).toBe('within');
    const verdicts = play.looks(40, (look) => ({ heldBytes: 1_400 + look * 10, confirmed: 200 + look }));
    expect(new Set(verdicts)).toEqual(new Set(['draining']));
  });
});
