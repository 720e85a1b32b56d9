// @ts-check
import { nextStep } from './commands.js';
import { age, commandLine, el, part, setAttr } from './dom.js';
import { count, dateTime, percent, span, UNKNOWN } from './format.js';
import { problemLines } from './health.js';
import { dotClass } from './track.js';
import { CLASSES, tally, tallyText } from './words.js';

/** @import { BackfillReport, Gate, GateResult, StageChange, TableReport, WritesReport } from '../../core/progress.ts' */

/**
 * One item a gate, which stays while another one changes.
 *
 * @param {HTMLElement} host
 * @returns {(gates: readonly Gate[], results: readonly GateResult[]) => void} `results`: of now
 */
export function gateList(host) {
  /** @type {Map<string, ReturnType<typeof gateItem>>} */
  const items = new Map();
  return (gates, results) => {
    const roots = gates.map((gate, index) => {
      const item = items.get(gate.code) ?? gateItem();
      items.set(gate.code, item);
      item.set(gate, results[index] ?? 'unknown');
      return item.root;
    });
    if (roots.length === host.children.length && roots.every((root, index) => root === host.children[index])) return;
    host.replaceChildren(...roots);
  };
}

function gateItem() {
  const root = el('li');
  const setLines = part(root, gateLines);
  return {
    root,
    /**
     * @param {Gate} gate
     * @param {GateResult} result
     */
    set({ observedAt, ...gate }, result) {
      setAttr(root, 'class', `gate ${result}`);
      setLines({ gate, result, isMeasured: observedAt !== undefined }, observedAt === undefined ? [] : [observedAt]);
    },
  };
}

/** @param {{ gate: Omit<Gate, 'observedAt'>, result: GateResult, isMeasured: boolean }} value `result`: of now */
function gateLines({ gate, result, isMeasured }) {
  const isExpired = result === 'unknown' && gate.result === 'pass';
  const measured = isMeasured
    ? [`${gate.source}, measured `, age(), `, good for ${span(gate.ttlSeconds)}`]
    : [`${gate.source}, never measured`];
  const lines = [
    el('i', { class: dotClass(gate, result), attrs: { 'aria-hidden': 'true' } }),
    el(
      'div',
      { class: 'gate-head' },
      el('b', { class: 'code', text: gate.code }),
      el('span', { class: `gate-result ${result}`, text: result }),
      el(
        'span',
        { class: 'gate-value number' },
        el('b', { text: gate.value ?? 'not measured' }),
        ` needs ${gate.threshold}`,
      ),
    ),
    el('p', { text: isExpired ? `${gate.reason} (The evidence has grown too old.)` : gate.reason }),
    el('p', { class: 'source' }, ...measured),
  ];
  if (gate.waiver !== undefined) {
    const { by, reason, until } = gate.waiver;
    lines.push(el('p', { class: 'waiver', text: `Waived by ${by} until ${dateTime(until)}: ${reason}` }));
  }
  if (gate.next !== undefined && result !== 'pass') lines.push(nextStep(gate.next));
  return lines;
}

/** @param {{ writes: Omit<WritesReport, 'countedUntil'>, isKnown: boolean }} value `isKnown`: up to when they are counted */
export function numbersOfWrites({ writes, isKnown }) {
  const sum = CLASSES.reduce((total, { key }) => total + writes[key], 0);
  const share = writes.legacyShare === undefined ? 'no writes of either side' : `${percent(writes.legacyShare)} legacy`;
  const isCounted = writes.covered !== 'none';
  const covered = writes.uncovered === undefined ? '' : ` Not all of that time is known: ${writes.uncovered}.`;
  return [
    el(
      'ul',
      { class: 'classes' },
      ...CLASSES.map(({ key, label, about }) =>
        el(
          'li',
          { attrs: { title: about } },
          el('i', { class: `key ${key}` }),
          el('span', { text: label }),
          el('b', { class: 'number', text: isCounted ? count(writes[key]) : UNKNOWN }),
        ),
      ),
    ),
    !isCounted
      ? el('p', { class: 'source', text: `Not counted: ${writes.uncovered}.` })
      : el(
          'p',
          { class: 'source' },
          `${count(sum)} in the last ${span(writes.windowSeconds)}, ${share}. WAL, counted `,
          isKnown ? age() : UNKNOWN,
          `.${covered}`,
        ),
  ];
}

/** @param {{ run: BackfillReport | undefined }} value */
export function backfillLines({ run }) {
  if (run === undefined) return pairs([['State', 'none asked for']]);
  const isDone = run.status === 'completed';
  return pairs([
    ['State', run.status],
    [
      'Rows sent',
      isDone || run.rowsEstimated === undefined
        ? count(run.rowsSent)
        : `${count(run.rowsSent)} of ~${count(run.rowsEstimated)}`,
    ],
    ['Share', isDone ? '100 %' : run.share === undefined ? 'not known' : `~${percent(run.share)}`],
    ['Pace', run.ratePerSecond === undefined ? UNKNOWN : `${count(run.ratePerSecond)} rows a second`],
    ['Left', run.etaSeconds === undefined ? UNKNOWN : `~${span(run.etaSeconds)}`],
    ['Reason', run.reason],
    ['Finished', run.finishedAt === undefined ? undefined : dateTime(run.finishedAt)],
    ['Source', 'the backfill’s own count; estimates (~) by the planner’s statistics'],
  ]);
}

/** @param {readonly [string, string | undefined][]} list */
function pairs(list) {
  return list.flatMap(([name, value]) =>
    value === undefined ? [] : [el('div', {}, el('dt', { text: name }), el('dd', { class: 'number', text: value }))],
  );
}

/** @param {{ open: TableReport['open'], name: string }} value `name`: as commands take it */
export function openLines({ open, name }) {
  const lines = [];
  if (open.held !== undefined)
    lines.push(
      el(
        'article',
        { class: 'problem' },
        el('h4', { text: 'Held: its changes are set aside' }),
        ...problemLines(open.held),
      ),
    );
  if (open.deadLetters > 0)
    lines.push(
      el('p', { text: `${count(open.deadLetters)} parked: they wait for a person.` }),
      commandLine(`banyan dead-letters list --table ${name}`),
    );
  if (open.conflicts > 0)
    lines.push(
      el('p', { text: `${count(open.conflicts)} in conflict: both sides changed the same row.` }),
      commandLine(`banyan conflicts list --open --table ${name}`),
    );
  if (open.waiting > 0)
    lines.push(
      el('p', { text: `${count(open.waiting)} events of the new system wait for something that is still to come.` }),
    );
  return lines.length > 0 ? lines : [el('p', { class: 'quiet', text: 'None. Source: the connector’s own tables.' })];
}

/** @param {{ changes: readonly StageChange[] }} value */
export function changeList({ changes }) {
  if (changes.length === 0) return [el('li', { class: 'quiet', text: 'It never moved.' })];
  return changes.map(({ from, to, actor, at, verdict }) => {
    const judged =
      verdict === undefined
        ? 'by itself, no verdict'
        : `${verdict.result}: ${tallyText(tally(verdict.gates, Date.parse(verdict.at)))}`;
    return el(
      'li',
      {},
      el(
        'span',
        { class: 'move' },
        from,
        el('span', { text: ' → ', attrs: { 'aria-label': ' to ' } }),
        el('b', { text: to }),
      ),
      el('span', { class: 'quiet number' }, `${dateTime(at)}, `, age(at)),
      el('span', { text: actor }),
      el('span', { class: 'quiet', text: judged }),
    );
  });
}
