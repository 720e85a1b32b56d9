import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Snapshot } from '../../src/postgres/snapshot-xids.ts';

const CIRCLE = 2 ** 32;

describe('a snapshot', () => {
  test('does not see what was running or had not begun, and sees everything else', () => {
    const snapshot = Snapshot.parse('100:110:100,105');
    expect(snapshot.xmin).toBe(100n);
    expect(snapshot.xmax).toBe(110n);
    const invisible = Array.from({ length: 20 }, (_, n) => 95 + n).filter((xid) => snapshot.isInvisible(xid));
    expect(invisible).toEqual([100, 105, 110, 111, 112, 113, 114]);
  });

  test('without running transactions ends with an empty list', () => {
    const snapshot = Snapshot.parse('748:748:');
    expect([747, 748, 749].map((xid) => snapshot.isInvisible(xid))).toEqual([false, true, true]);
  });

  test('has only what is below its xmin behind it', () => {
    const snapshot = Snapshot.parse('100:110:100,105');
    expect([99, 100, 102, 110].map((xid) => snapshot.isOver(xid))).toEqual([true, false, false, false]);
  });

  test('knows the 32-bit ids of its own epoch', () => {
    // Epoch 3: as after 13 thousand million transactions.
    const base = 3n * 2n ** 32n;
    const snapshot = Snapshot.parse(`${base + 100n}:${base + 110n}:${base + 100n},${base + 105n}`);
    expect(snapshot.xmin).toBe(base + 100n);
    expect([99, 100, 101, 105, 109, 110].map((xid) => snapshot.isInvisible(xid))).toEqual([
      false,
      true,
      false,
      true,
      false,
      true,
    ]);
    expect([99, 100].map((xid) => snapshot.isOver(xid))).toEqual([true, false]);
  });

  test('that lies across the turn at 2^32 sees the ids before it as older than those behind it', () => {
    const turn = 2n ** 32n;
    const snapshot = Snapshot.parse(`${turn - 2n}:${turn + 5n}:${turn - 2n},${turn + 3n}`);
    const last = CIRCLE - 1;
    expect([last - 2, last - 1, last, 3, 4, 5, 6].map((xid) => snapshot.isInvisible(xid))).toEqual([
      false,
      true,
      false,
      true,
      false,
      true,
      true,
    ]);
    expect([last - 2, last - 1, last, 3].map((xid) => snapshot.isOver(xid))).toEqual([true, false, false, false]);
  });

  test('whose xmax is the turn itself sees the last id before it, and not the first behind it', () => {
    const turn = 2n ** 32n;
    const snapshot = Snapshot.parse(`${turn}:${turn}:`);
    expect([CIRCLE - 1, 0, 3].map((xid) => snapshot.isInvisible(xid))).toEqual([false, true, true]);
    expect(snapshot.isOver(CIRCLE - 1)).toBe(true);
  });

  test('is as the 64-bit ids say, wherever on the circle it lies', () => {
    const xids = fc.record({
      xmin: fc.bigInt(2n ** 31n, 2n ** 40n),
      width: fc.integer({ min: 0, max: 40 }),
      listed: fc.array(fc.integer({ min: 0, max: 39 })),
      // Up to half the circle away, as a server allows.
      distance: fc.oneof(fc.integer({ min: -60, max: 60 }), fc.integer({ min: -(2 ** 31) + 50, max: 2 ** 31 - 50 })),
    });
    fc.assert(
      fc.property(xids, ({ xmin, width, listed, distance }) => {
        const xmax = xmin + BigInt(width);
        const running = listed.filter((offset) => offset < width).map((offset) => xmin + BigInt(offset));
        const snapshot = Snapshot.parse(`${xmin}:${xmax}:${running.join(',')}`);
        const full = xmin + BigInt(distance);
        const xid = Number(full % BigInt(CIRCLE));
        expect(snapshot.isInvisible(xid)).toBe(full >= xmax || running.includes(full));
        expect(snapshot.isOver(xid)).toBe(full < xmin);
      }),
    );
  });
});
