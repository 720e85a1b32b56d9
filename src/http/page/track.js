// @ts-check
import { el, setAttr, setText, tooltip } from './dom.js';
import { ago } from './format.js';
import { STAGE_MEANING, STAGES, tally, tallyText, resultOf } from './words.js';

/** @import { Gate, TableReport } from '../../core/progress.ts' */

/** Six steps of which one is where the table stands. */
export function stageTrack() {
  const steps = STAGES.map(() => el('i'));
  const track = el('span', { class: 'track', attrs: { 'aria-hidden': 'true' } }, ...steps);
  const name = el('b');
  const since = el('span', { class: 'quiet since' });
  const root = el('div', { class: 'stage' }, track, el('span', { class: 'stage-words' }, name, ' ', since));
  return {
    root,
    /**
     * @param {TableReport} table
     * @param {number} now
     */
    set({ stage, stageSince, stageBy }, now) {
      const at = STAGES.indexOf(stage);
      steps.forEach((step, index) => setAttr(step, 'class', index < at ? 'past' : index === at ? 'now' : 'ahead'));
      setText(name, stage);
      setText(since, stageSince === undefined ? '' : ago(stageSince, now).replace(/ ago$/, ''));
      const by = stageBy === undefined ? '' : ` by ${stageBy}`;
      const when = stageSince === undefined ? 'It never moved.' : `Since ${stageSince}${by}.`;
      setAttr(
        root,
        'title',
        `Step ${at + 1} of 6. ${STAGE_MEANING[stage]} ${when} Source: the connector’s own tables.`,
      );
    },
  };
}

/** A dot a gate: filled, square or hollow, so that colour is not needed. */
export function gateDots() {
  const dots = el('span', { class: 'dots', attrs: { 'aria-hidden': 'true' } });
  const number = el('b', { class: 'number' });
  const target = el('span', { class: 'quiet' });
  const spoken = el('span', { class: 'unseen' });
  const root = el('div', { class: 'gates' }, dots, el('span', { class: 'gates-words' }, number, ' ', target, spoken));
  /** @type {{ gates: readonly Gate[], now: number } | undefined} */
  let shown;
  tooltip(root, () => shown && (shown.gates.map((gate) => gateLine(gate, shown?.now ?? 0)).join('\n') || undefined));
  return {
    root,
    /**
     * @param {TableReport} table
     * @param {number} now
     */
    set({ gates, target: to, stage }, now) {
      shown = { gates, now };
      if (to === undefined || gates.length === 0) {
        dots.replaceChildren();
        setText(number, '');
        setText(target, stage === 'retired' ? 'no stage after it' : 'moves by itself');
        setText(spoken, '');
        return;
      }
      while (dots.children.length > gates.length) dots.lastChild?.remove();
      gates.forEach((gate, index) => {
        const dot = dots.children[index] ?? dots.appendChild(el('i'));
        setAttr(dot, 'class', dotClass(gate, resultOf(gate, now)));
      });
      const counts = tally(gates, now);
      setText(number, `${counts.pass + counts.waived}/${counts.total}`);
      setText(target, `to ${to}`);
      setText(spoken, `: ${tallyText(counts)}`);
    },
  };
}

/**
 * @param {Pick<Gate, 'waiver'>} gate
 * @param {'pass' | 'fail' | 'unknown'} result
 */
export function dotClass(gate, result) {
  return `dot ${result}${gate.waiver === undefined ? '' : ' waived'}`;
}

/**
 * @param {Gate} gate
 * @param {number} now
 */
function gateLine(gate, now) {
  const sign = { pass: '✓', fail: '✗', unknown: '?' }[resultOf(gate, now)];
  const value = gate.value === undefined ? 'not measured' : gate.value;
  const waived = gate.waiver === undefined ? '' : ', waived';
  return `${sign} ${gate.code}  ${value} (${gate.threshold}), ${gate.source}, ${ago(gate.observedAt, now)}${waived}`;
}
