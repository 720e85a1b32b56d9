// @ts-check
import { shellWord } from './commands.js';
import { byId, commandLine, el, part, refreshAges, setAttr, setText } from './dom.js';
import { backfillLines, changeList, gateList, numbersOfWrites, openLines } from './detail-parts.js';
import { tableHistory } from './history.js';
import { ago } from './format.js';
import { resultOf, STAGE_MEANING, STAGES, tally, tallyText } from './words.js';

/** @import { ProgressReport, TableReport } from '../../core/progress.ts' */

/**
 * All that is known of one table, in a dialog over the list.
 *
 * @param {{ closed: (table: string | undefined) => void }} events
 */
export function tableDetail({ closed }) {
  const dialog = /** @type {HTMLDialogElement} */ (byId('detail'));
  /** @type {ReturnType<typeof build> | undefined} */
  let view;
  /** @type {string | undefined} */
  let table;

  dialog.addEventListener('close', () => {
    const left = table;
    table = undefined;
    view?.destroy();
    view = undefined;
    dialog.replaceChildren();
    closed(left);
  });
  dialog.addEventListener('click', (event) => {
    // What is not one of its children is the backdrop.
    if (event.target === dialog) dialog.close();
  });

  return {
    /**
     * @param {string | undefined} wanted `schema.name`
     * @param {ProgressReport} report
     * @param {number} now
     */
    show(wanted, report, now) {
      if (wanted === undefined) {
        if (dialog.open) dialog.close();
        return;
      }
      if (wanted !== table) {
        view?.destroy();
        table = wanted;
        view = build(wanted, () => dialog.close());
        dialog.replaceChildren(view.root);
        if (!dialog.open) dialog.showModal();
        dialog.scrollTop = 0;
        view.start();
      }
      view?.set(
        report.tables.find((each) => each.table === wanted),
        now,
      );
    },
  };
}

/**
 * @param {string} table
 * @param {() => void} close
 */
function build(table, close) {
  const closer = el('button', { class: 'button close', text: 'Close', attrs: { type: 'button' } });
  closer.addEventListener('click', close);
  const facts = el('p', { class: 'lede' });
  const missing = el('p', { class: 'error-text', attrs: { role: 'status' } });
  const verdictHost = el('div', { class: 'verdict' });
  const gateHost = el('ul', { class: 'gate-list' });
  const history = tableHistory(table);
  const writes = el('div');
  const backfill = el('dl', { class: 'pairs' });
  const open = el('div', { class: 'open-lines' });
  const commands = el('div', { class: 'commands' });
  const changes = el('ol', { class: 'changes' });
  const steps = el(
    'ol',
    { class: 'steps', attrs: { 'aria-label': 'Stages' } },
    ...STAGES.map((stage) => el('li', { text: stage, attrs: { title: STAGE_MEANING[stage] } })),
  );
  const root = el(
    'div',
    { class: 'sheet' },
    el(
      'header',
      {},
      el(
        'div',
        {},
        el('p', { class: 'eyebrow', text: 'Table' }),
        el('h2', { text: table, attrs: { id: 'detail-title' } }),
      ),
      closer,
    ),
    steps,
    facts,
    missing,
    section('Next move', verdictHost, gateHost),
    section('Writes', writes, history.root),
    section('Open problems', open),
    section('Backfill', backfill),
    section(
      'Who depends on it',
      el('p', {
        class: 'quiet',
        text: 'Foreign keys, views, functions, grants and readers. What dynamic SQL reads, no catalog knows.',
      }),
      commands,
    ),
    section('Stage history', changes),
  );

  const setGates = gateList(gateHost);
  const setVerdict = part(verdictHost, verdictLines);
  const setWrites = part(writes, numbersOfWrites);
  const setBackfill = part(backfill, backfillLines);
  const setOpen = part(open, openLines);
  const setCommands = part(commands, (/** @type {string} */ name) => [
    commandLine(`banyan readers ${name}`),
    commandLine(`banyan writers ${name}`),
  ]);
  const setChanges = part(changes, changeList);

  return {
    root,
    start: () => closer.focus(),
    destroy: () => history.destroy(),
    /**
     * @param {TableReport | undefined} report
     * @param {number} now
     */
    set(report, now) {
      setText(missing, report === undefined ? `The report has no table ${table}: it is not in the configuration.` : '');
      for (const child of root.querySelectorAll('section')) child.hidden = report === undefined;
      steps.hidden = report === undefined;
      facts.hidden = report === undefined;
      if (report === undefined) return;
      const at = STAGES.indexOf(report.stage);
      [...steps.children].forEach((step, index) => {
        setAttr(step, 'class', index < at ? 'past' : index === at ? 'now' : 'ahead');
        setAttr(step, 'aria-current', index === at ? 'step' : undefined);
      });
      setText(facts, factsText(report, now));
      const { gates, target, verdict } = report;
      const name = shellWord(report.display);
      setGates(
        gates,
        gates.map((gate) => resultOf(gate, now)),
      );
      setVerdict({ name, target, verdict, counts: tallyText(tally(gates, now)) });
      const { countedUntil, ...counted } = report.writes;
      const isKnown = countedUntil !== undefined;
      setWrites({ writes: counted, isKnown }, isKnown ? [countedUntil] : []);
      setBackfill({ run: report.backfill });
      setOpen({ open: report.open, name });
      setCommands(name);
      setChanges({ changes: report.changes });
      refreshAges(root, now);
      history.set(report, now);
    },
  };
}

/**
 * @param {string} title
 * @param {...Node} children
 */
function section(title, ...children) {
  return el('section', {}, el('h3', { text: title }), ...children);
}

/**
 * @param {TableReport} report
 * @param {number} now
 */
function factsText({ stage, primary, reverse, stageSince, stageBy, lastEchoAt }, now) {
  const since =
    stageSince === undefined
      ? ''
      : ` Since ${ago(stageSince, now).replace(/ ago$/, '')}${stageBy === undefined ? '' : `, by ${stageBy}`}.`;
  const who = { legacy: 'The legacy system is primary', new: 'The new system is primary', nobody: 'Nobody is primary' }[
    primary
  ];
  const back = reverse === 'not configured' ? 'there is no way back' : `reverse sync is ${reverse}`;
  const echo = reverse === 'on' ? ` Its last write was seen in the stream ${ago(lastEchoAt, now)}.` : '';
  return `${STAGE_MEANING[stage]}${since} ${who}; ${back}.${echo}`;
}

/** @param {{ name: string, target: string | undefined, verdict: string | undefined, counts: string }} what `name`: as commands take it */
function verdictLines({ name, target, verdict, counts }) {
  if (target === undefined) return [el('p', { class: 'quiet', text: 'No further move.' })];
  const words = /** @type {Record<string, string>} */ ({
    ready: 'Ready',
    'not-ready': 'Not ready',
    unknown: 'Unknown',
  });
  const result = verdict ?? 'unknown';
  return [
    el(
      'p',
      { class: 'verdict-line' },
      el('b', { class: `stamp ${result}`, text: words[result] ?? result }),
      ` to ${target} `,
      el('span', { class: 'quiet', text: counts }),
    ),
    commandLine(result === 'ready' ? `banyan stage ${name} --to ${target}` : `banyan verdict ${name} --to ${target}`),
  ];
}
