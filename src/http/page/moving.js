// @ts-check
/** @import { ProgressReport, TableReport } from '../../core/progress.ts' */
/** @import { Moving, Times } from './moving.d.ts' */

/**
 * The report with another value wherever time alone makes one: when something was looked at, and what the stream and the WAL are like at the moment, which is never
 * twice the same. The worker takes these out to see whether there is news, and the page puts new ones in: both walk here, in the same order.
 *
 * @param {ProgressReport} report
 * @param {(value: Moving) => any} change
 * @returns {ProgressReport}
 */
export function mapMoving(report, change) {
  const { at, slot, tables } = report;
  return {
    ...report,
    at: change(at),
    slot: {
      ...slot,
      lagSeconds: change(slot.lagSeconds),
      lagBytes: change(slot.lagBytes),
      observedAt: change(slot.observedAt),
      wal: {
        ...slot.wal,
        heldBytes: change(slot.wal.heldBytes),
        growthPerSecond: change(slot.wal.growthPerSecond),
        exhaustedInSeconds: change(slot.wal.exhaustedInSeconds),
      },
    },
    tables: tables.map((table) => mapMovingOfTable(table, change)),
  };
}

/**
 * @param {TableReport} table
 * @param {(value: Moving) => any} change
 * @returns {TableReport}
 */
export function mapMovingOfTable(table, change) {
  const { gates, writes } = table;
  return {
    ...table,
    gates: gates.map((gate) => ({
      ...gate,
      observedAt: change(gate.observedAt),
      // It says for how long the lag has been so small.
      ...(gate.code === 'LAG' ? { value: change(gate.value), reason: change(gate.reason) } : {}),
    })),
    writes: { ...writes, countedUntil: change(writes.countedUntil) },
  };
}

/**
 * What lasts of a report, and what does not.
 *
 * @param {ProgressReport} report
 * @returns {{ lasting: ProgressReport, times: Times }}
 */
export function splitMoving(report) {
  /** @type {Map<string | number | null, number>} */
  const places = new Map();
  /** @type {number[]} */
  const order = [];
  const lasting = mapMoving(report, (moving) => {
    const value = moving ?? null;
    // A hundred gates were looked at in few moments.
    const place = places.get(value) ?? places.size;
    places.set(value, place);
    order.push(place);
    return undefined;
  });
  return { lasting, times: { values: [...places.keys()], order } };
}

/**
 * @param {ProgressReport} report with the same lasting part
 * @param {Times} times
 */
export function withTimes(report, { values, order }) {
  let index = 0;
  return mapMoving(report, () => values[order[index++] ?? -1] ?? undefined);
}
