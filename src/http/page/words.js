// @ts-check
/** @import { Gate, Stage, TableReport } from '../../core/progress.ts' */

/** @type {readonly Stage[]} */
export const STAGES = ['mapped', 'backfilling', 'shadow', 'dual', 'new-primary', 'retired'];

/** @type {Readonly<Record<Stage, string>>} */
export const STAGE_MEANING = {
  mapped: 'Changes are captured; the legacy system writes.',
  backfilling: 'The rows that were there are on their way.',
  shadow: 'The new system has all of it, and follows.',
  dual: 'Both sides write; the legacy system’s word counts.',
  'new-primary': 'The new system writes; readers of the legacy table remain.',
  retired: 'Nobody writes or reads the legacy table.',
};

/** Classes of writes, from the bottom of a stack to its top. */
export const CLASSES = /** @type {const} */ ([
  { key: 'reverse', label: 'new system', about: 'written by reverse sync' },
  { key: 'trigger', label: 'triggers', about: 'done by the database because of it' },
  { key: 'legacy', label: 'legacy', about: 'written by the legacy system' },
  { key: 'foreign', label: 'replicated', about: 'replicated into the database from elsewhere' },
]);

/**
 * How a gate is shown: by the evidence alone; a waiver is shown beside it.
 *
 * @param {Gate} gate
 * @param {number} now
 * @returns {'pass' | 'fail' | 'unknown'}
 */
export function resultOf(gate, now) {
  if (gate.result !== 'pass') return gate.result;
  // Between two reports evidence may grow too old; a pass is never shown longer than it is good for.
  const isOld = gate.observedAt === undefined || now - Date.parse(gate.observedAt) > gate.ttlSeconds * 1000;
  return isOld ? 'unknown' : 'pass';
}

/**
 * @param {readonly Gate[]} gates
 * @param {number} now
 */
export function tally(gates, now) {
  const of = (/** @type {string} */ result) =>
    gates.filter((gate) => gate.waiver === undefined && resultOf(gate, now) === result).length;
  const waived = gates.filter((gate) => gate.waiver !== undefined).length;
  return { pass: of('pass'), fail: of('fail'), unknown: of('unknown'), waived, total: gates.length };
}

/** @param {ReturnType<typeof tally>} counts */
export function tallyText({ pass, fail, unknown, waived }) {
  const parts = [`${pass} pass`];
  if (fail > 0) parts.push(`${fail} fail`);
  if (unknown > 0) parts.push(`${unknown} unknown`);
  if (waived > 0) parts.push(`${waived} waived`);
  return parts.join(' · ');
}

/**
 * What a person must look at, in few words; the worst first.
 *
 * @param {TableReport} table
 * @returns {{ text: string, level: 'bad' | 'warn' }[]}
 */
export function problemsOf({ open, backfill }) {
  /** @type {{ text: string, level: 'bad' | 'warn' }[]} */
  const found = [];
  if (open.held !== undefined) found.push({ text: 'held', level: 'bad' });
  if (backfill?.status === 'failed') found.push({ text: 'backfill failed', level: 'bad' });
  if (open.deadLetters > 0) found.push({ text: `${open.deadLetters} parked`, level: 'bad' });
  if (open.conflicts > 0)
    found.push({ text: `${open.conflicts} conflict${open.conflicts === 1 ? '' : 's'}`, level: 'bad' });
  if (open.waiting > 0) found.push({ text: `${open.waiting} waiting`, level: 'warn' });
  return found;
}

/** @param {TableReport} table */
export function weight(table) {
  return problemsOf(table).reduce((sum, { level }) => sum + (level === 'bad' ? 10 : 1), 0);
}

/** @param {TableReport} table */
export function newShare({ writes }) {
  return writes.legacyShare === undefined ? undefined : 1 - writes.legacyShare;
}
