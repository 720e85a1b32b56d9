import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { LedgerTransaction } from '../../src/capture/ledger.ts';
import { Ledger } from '../../src/capture/ledger.ts';
import type { Lsn } from '../../src/core/lsn.ts';
import { ZERO_LSN } from '../../src/core/lsn.ts';

const lsn = (position: number): Lsn => BigInt(position) as Lsn;

describe('Ledger', () => {
  test('confirms the end of a transaction only when all its events are settled', () => {
    const ledger = new Ledger();
    const transaction = ledger.begin(lsn(100));
    ledger.open(transaction, 2);
    ledger.commit(transaction, lsn(110));
    ledger.settle(transaction);
    expect(ledger.watermark).toBe(ZERO_LSN);
    ledger.settle(transaction);
    expect(ledger.watermark).toBe(lsn(110));
    expect(ledger.pending).toBe(0);
  });

  test('does not move inside a transaction whose events so far are all settled', () => {
    const ledger = new Ledger(lsn(50));
    const transaction = ledger.begin(lsn(100));
    ledger.open(transaction, 3);
    ledger.settle(transaction, 3);
    ledger.idle(lsn(99));
    expect(ledger.watermark).toBe(lsn(50));
    ledger.commit(transaction, lsn(110));
    expect(ledger.watermark).toBe(lsn(110));
  });

  test('waits for the oldest transaction when later ones settle first', () => {
    const ledger = new Ledger();
    const first = ledger.begin(lsn(100));
    ledger.open(first);
    ledger.commit(first, lsn(110));
    const second = ledger.begin(lsn(200));
    ledger.open(second);
    ledger.commit(second, lsn(210));
    ledger.settle(second);
    expect(ledger.watermark).toBe(ZERO_LSN);
    ledger.settle(first);
    expect(ledger.watermark).toBe(lsn(210));
  });

  test('keeps no object for transactions without events behind an open one', () => {
    const ledger = new Ledger();
    const open = ledger.begin(lsn(100));
    ledger.open(open);
    ledger.commit(open, lsn(110));
    for (let position = 200; position < 1_200; position += 10) {
      const empty = ledger.begin(lsn(position));
      ledger.commit(empty, lsn(position + 5));
    }
    expect(open.next).toBeUndefined();
    ledger.settle(open);
    expect(ledger.watermark).toBe(lsn(1_195));
  });

  test('takes a keepalive’s WAL end only when nothing is open and nothing is being received', () => {
    const ledger = new Ledger();
    ledger.idle(lsn(10));
    expect(ledger.watermark).toBe(lsn(10));
    const transaction = ledger.begin(lsn(100));
    ledger.idle(lsn(20));
    ledger.open(transaction);
    ledger.commit(transaction, lsn(110));
    ledger.idle(lsn(500));
    expect(ledger.watermark).toBe(lsn(10));
    ledger.settle(transaction);
    ledger.idle(lsn(500));
    expect(ledger.watermark).toBe(lsn(500));
  });

  test('never goes backwards when transactions are sent again after a reconnect', () => {
    const ledger = new Ledger();
    const first = ledger.begin(lsn(100));
    ledger.open(first);
    ledger.commit(first, lsn(110));
    const torn = ledger.begin(lsn(200));
    ledger.open(torn, 2);
    ledger.abandon(torn);
    ledger.settle(torn);
    const firstAgain = ledger.begin(lsn(100));
    ledger.open(firstAgain);
    ledger.commit(firstAgain, lsn(110));
    const tornAgain = ledger.begin(lsn(200));
    ledger.open(tornAgain, 2);
    ledger.commit(tornAgain, lsn(210));
    ledger.settle(first);
    expect(ledger.watermark).toBe(lsn(110));
    ledger.settle(tornAgain, 2);
    ledger.settle(torn);
    expect(ledger.watermark).toBe(lsn(110));
    ledger.settle(firstAgain);
    expect(ledger.watermark).toBe(lsn(210));
    ledger.idle(lsn(50));
    expect(ledger.watermark).toBe(lsn(210));
  });

  test('refuses what would corrupt the account', () => {
    const ledger = new Ledger();
    const transaction = ledger.begin(lsn(100));
    expect(() => ledger.begin(lsn(200))).toThrow('while another is being received');
    expect(() => ledger.settle(transaction)).toThrow('than were opened');
    ledger.commit(transaction, lsn(110));
    expect(() => ledger.open(transaction)).toThrow('not being received');
    expect(() => ledger.commit(transaction, lsn(110))).toThrow('not being received');
  });

  test('agrees with a model that remembers every event, under any schedule', () => {
    const action = fc.oneof(
      fc.record({ do: fc.constant('receive' as const), events: fc.integer({ min: 0, max: 4 }) }),
      fc.record({ do: fc.constant('settle' as const), which: fc.nat() }),
      fc.record({ do: fc.constant('commit' as const) }),
      fc.record({ do: fc.constant('abandon' as const) }),
      fc.record({ do: fc.constant('idle' as const) }),
    );
    fc.assert(
      fc.property(fc.array(action, { maxLength: 200 }), (actions) => {
        const ledger = new Ledger();
        // The model: all committed transactions with their unsettled events, and one list of what may still settle.
        const committed: { end: number; account: LedgerTransaction }[] = [];
        const unsettled: LedgerTransaction[] = [];
        let receiving: LedgerTransaction | undefined;
        let position = 0;
        let expected = 0;
        for (const step of actions) {
          position += 10;
          if (step.do === 'receive') {
            receiving ??= ledger.begin(lsn(position));
            ledger.open(receiving, step.events);
            for (let i = 0; i < step.events; i += 1) unsettled.push(receiving);
          } else if (step.do === 'settle' && unsettled.length > 0) {
            const [transaction] = unsettled.splice(step.which % unsettled.length, 1);
            if (transaction !== undefined) ledger.settle(transaction);
          } else if (step.do === 'commit' && receiving !== undefined) {
            ledger.commit(receiving, lsn(position));
            committed.push({ end: position, account: receiving });
            receiving = undefined;
          } else if (step.do === 'abandon' && receiving !== undefined) {
            ledger.abandon(receiving);
            receiving = undefined;
          } else if (step.do === 'idle') {
            ledger.idle(lsn(position));
            if (unsettled.length === 0 && receiving === undefined) expected = position;
          }
          const blocked = committed.findIndex(({ account }) => unsettled.includes(account));
          const safe = blocked === -1 ? committed : committed.slice(0, blocked);
          expected = Math.max(expected, ...safe.map(({ end }) => end));
          expect(ledger.watermark).toBe(lsn(expected));
          expect(ledger.pending).toBe(unsettled.length);
        }
      }),
      { numRuns: 500 },
    );
  });
});

/** A transaction without events. */
function through(ledger: Ledger, [commitLsn, endLsn]: readonly [number, number]): void {
  ledger.commit(ledger.begin(lsn(commitLsn)), lsn(endLsn));
}

describe('the ceiling', () => {
  test('keeps what lies behind it from being confirmed, settled or not, until it is raised', () => {
    const ledger = new Ledger();
    through(ledger, [100, 110]);
    const before = ledger.position;
    ledger.ceiling = before;
    through(ledger, [200, 210]);
    ledger.idle(lsn(250));
    expect(ledger.watermark).toBe(lsn(110));
    ledger.ceiling = lsn(210);
    expect(ledger.watermark).toBe(lsn(210));
    ledger.ceiling = undefined;
    expect(ledger.watermark).toBe(lsn(250));
  });

  test('confirms nothing that is open below it', () => {
    const ledger = new Ledger();
    const open = ledger.begin(lsn(100));
    ledger.open(open);
    ledger.commit(open, lsn(110));
    ledger.ceiling = ledger.position;
    through(ledger, [200, 210]);
    expect(ledger.watermark).toBe(ZERO_LSN);
    ledger.settle(open);
    expect(ledger.watermark).toBe(lsn(110));
  });

  test('is set where the transaction that is received begins, so that what is confirmed never goes back', () => {
    fc.assert(
      fc.property(fc.array(fc.record({ idle: fc.boolean(), opens: fc.boolean(), counted: fc.nat(3) })), (steps) => {
        const ledger = new Ledger();
        const open: LedgerTransaction[] = [];
        let uncounted: Lsn[] = [];
        let position = 0;
        let confirmed = ledger.watermark;
        for (const { idle, opens, counted } of steps) {
          position += 10;
          if (idle) {
            ledger.idle(lsn(position));
          } else {
            const transaction = ledger.begin(lsn(position));
            if (opens) {
              ledger.open(transaction);
              open.push(transaction);
            }
            uncounted.push(ledger.position);
            ledger.ceiling = uncounted[0];
            ledger.commit(transaction, lsn(position + 5));
          }
          if (counted === 0) uncounted = [];
          if (counted === 1) uncounted = uncounted.slice(1);
          ledger.ceiling = uncounted[0];
          const settled = counted === 2 ? open.shift() : undefined;
          if (settled !== undefined) ledger.settle(settled);
          expect(ledger.watermark >= confirmed).toBe(true);
          confirmed = ledger.watermark;
          expect(uncounted.every((from) => confirmed <= from)).toBe(true);
        }
      }),
    );
  });
});
