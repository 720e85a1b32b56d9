// @ts-check
import { byId, el, setAttr, setText } from './dom.js';
import { plural } from './format.js';
import { tableRow } from './row.js';
import { CLASSES, STAGES, tally, weight } from './words.js';

/** @import { ProgressReport, Stage, TableReport } from '../../core/progress.ts' */

/** The list of tables: rows are made once, changed in place, and moved only where their order has changed. */
export function tableList() {
  const body = byId('rows');
  const filter = /** @type {HTMLInputElement} */ (byId('filter'));
  const order = /** @type {HTMLSelectElement} */ (byId('order'));
  const empty = byId('empty');
  /** @type {Map<string, ReturnType<typeof tableRow>>} */
  const rows = new Map();
  /** @type {WeakMap<Element, ReturnType<typeof tableRow>>} */
  const byRoot = new WeakMap();
  /** @type {Stage | undefined} */
  let only;
  /** @type {{ report: ProgressReport, now: number } | undefined} */
  let shown;

  // A hundred plots that nobody sees would be drawn every two seconds.
  const seen = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) byRoot.get(target)?.see(isIntersecting);
    },
    { rootMargin: '120px 0px' },
  );
  const chips = stageChips((stage) => {
    only = only === stage ? undefined : stage;
    show();
  });
  filter.addEventListener('input', () => show());
  order.addEventListener('change', () => show());
  byId('legend').replaceChildren(
    ...CLASSES.map(({ key, label, about }) =>
      el('li', { attrs: { title: about } }, el('i', { class: `key ${key}` }), label),
    ),
    el('li', { attrs: { title: 'writes were not counted then' } }, el('i', { class: 'key unmeasured' }), 'not counted'),
  );

  const show = () => {
    if (shown === undefined) return;
    const { report, now } = shown;
    const wanted = filter.value.trim().toLowerCase();
    const visible = report.tables.filter(
      ({ table, stage }) => table.toLowerCase().includes(wanted) && (only === undefined || stage === only),
    );
    const sorted = sort(visible, order.value, now);
    const names = new Set(report.tables.map(({ table }) => table));
    for (const [name, row] of rows) {
      if (names.has(name)) continue;
      seen.unobserve(row.root);
      row.see(false);
      row.root.remove();
      rows.delete(name);
    }
    for (const table of report.tables) rowOf(table.table).set(table, now);
    arrange(sorted.map(({ table }) => rowOf(table).root));
    chips.set(report.tables, only);
    const all = report.tables.length;
    setText(byId('count'), visible.length === all ? plural(all, 'table') : `${visible.length} of ${all} tables`);
    showEmpty(all, visible.length);
  };

  const rowOf = (/** @type {string} */ table) => {
    let row = rows.get(table);
    if (row === undefined) {
      row = tableRow(table);
      rows.set(table, row);
      byRoot.set(row.root, row);
      seen.observe(row.root);
    }
    return row;
  };

  const arrange = (/** @type {Element[]} */ wanted) => {
    const focused = document.activeElement;
    const keep = new Set(wanted);
    // A copy: the collection follows what is removed.
    for (const child of Array.from(body.children)) if (!keep.has(child)) child.remove();
    let place = body.firstElementChild;
    for (const root of wanted) {
      if (root === place) place = place.nextElementSibling;
      else body.insertBefore(root, place);
    }
    // A row that is moved loses the focus.
    if (focused instanceof HTMLElement && focused !== document.activeElement && body.contains(focused)) focused.focus();
  };

  const showEmpty = (/** @type {number} */ all, /** @type {number} */ visible) => {
    empty.hidden = visible > 0;
    byId('tables').hidden = visible === 0;
    byId('legend').hidden = visible === 0;
    byId('stages').hidden = all === 0;
    byId('controls').hidden = all === 0;
    if (visible > 0) return;
    if (all > 0) {
      const clear = el('button', { class: 'button', text: 'Show all tables', attrs: { type: 'button' } });
      clear.addEventListener('click', () => {
        filter.value = '';
        only = undefined;
        show();
        filter.focus();
      });
      empty.replaceChildren(el('p', { text: 'No table fits.' }), clear);
      return;
    }
    empty.replaceChildren(
      el('h3', { text: 'No table is mapped yet' }),
      el('p', {
        text: 'Name the first one under capture: in the configuration, look at what its events would be, and start the worker again.',
      }),
      el('pre', {}, el('code', { text: 'capture:\n  - table: public.orders' })),
      el(
        'p',
        {},
        el('code', { text: 'banyan preview' }),
        ' shows its events, ',
        el('code', { text: 'banyan check' }),
        ' says what the database lacks.',
      ),
    );
  };

  return {
    /**
     * @param {ProgressReport} report
     * @param {number} now
     */
    set(report, now) {
      shown = { report, now };
      show();
    },
    /** @param {string} table */
    flash: (table) => rows.get(table)?.flash(),
    /** @param {string} table */
    focus: (table) => rows.get(table)?.link.focus(),
    replot() {
      for (const row of rows.values()) row.replot();
    },
  };
}

/**
 * @param {readonly TableReport[]} tables
 * @param {string} order
 * @param {number} now
 */
function sort(tables, order, now) {
  const failing = (/** @type {TableReport} */ { gates }) => tally(gates, now).fail;
  /** @type {Record<string, (a: TableReport, b: TableReport) => number>} */
  const orders = {
    name: byName,
    attention: (a, b) =>
      weight(b) - weight(a) || stageNumber(b) - stageNumber(a) || failing(b) - failing(a) || byName(a, b),
    stage: (a, b) => stageNumber(a) - stageNumber(b) || byName(a, b),
    writes: (a, b) => writesOf(b) - writesOf(a) || byName(a, b),
  };
  return tables.toSorted(orders[order] ?? byName);
}

/** @param {TableReport} table */
function stageNumber({ stage }) {
  return STAGES.indexOf(stage);
}

/** @param {TableReport} table */
function writesOf({ writes }) {
  return CLASSES.reduce((sum, { key }) => sum + writes[key], 0);
}

/**
 * @param {TableReport} a
 * @param {TableReport} b
 */
function byName(a, b) {
  return a.table.localeCompare(b.table);
}

/**
 * How many tables are in each stage; each one can be looked at alone.
 *
 * @param {(stage: Stage) => void} onChoose
 */
function stageChips(onChoose) {
  const chips = STAGES.map((stage) => {
    const number = el('b', { class: 'number' });
    const button = el(
      'button',
      { class: 'chip', attrs: { type: 'button', 'aria-pressed': 'false' } },
      number,
      el('span', { text: stage }),
    );
    button.addEventListener('click', () => onChoose(stage));
    return { stage, number, button };
  });
  byId('stages').replaceChildren(...chips.map(({ button }) => button));
  return {
    /**
     * @param {readonly TableReport[]} tables
     * @param {Stage | undefined} only
     */
    set(tables, only) {
      for (const { stage, number, button } of chips) {
        const many = tables.filter((table) => table.stage === stage).length;
        setText(number, String(many));
        setAttr(button, 'aria-pressed', String(only === stage));
        setAttr(button, 'class', many === 0 ? 'chip none' : 'chip');
      }
    },
  };
}
