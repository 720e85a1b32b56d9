// @ts-check
import { forgetColours, plotOf } from './charts.js';
import { el, setText } from './dom.js';
import { dateTime, UNKNOWN } from './format.js';

/** @import { Data, Line } from './charts.js' */

/** @type {Set<() => void>} */
const drawn = new Set();

/** Colours have changed: all that stands is drawn again. */
export function redrawFigures() {
  forgetColours();
  for (const draw of drawn) draw();
}

/**
 * @typedef {object} FigureData
 * @property {Data} data
 * @property {'stack' | readonly Line[]} lines
 * @property {readonly { label: string, at: (index: number) => number | null | undefined }[]} columns what is read out
 * @property {string} summary the plot in words
 * @property {number} [max]
 */

/**
 * A plot with its title, a read-out, its meaning in words, and its numbers as a table.
 *
 * @param {string} title
 * @param {(value: number | null | undefined) => string} show
 */
export function figure(title, show) {
  const readout = el('p', { class: 'readout' });
  const host = el('div', { class: 'plot', attrs: { 'aria-hidden': 'true' } });
  const body = el('div', { class: 'numbers-body' });
  const numbers = el('details', { class: 'numbers' }, el('summary', { text: 'As a table' }), body);
  const root = el(
    'figure',
    { class: 'figure' },
    el('figcaption', {}, el('h4', { text: title }), readout),
    host,
    numbers,
  );
  /** @type {FigureData | undefined} */
  let shown;
  /** @type {ReturnType<typeof plotOf> | undefined} */
  let plot;

  const readOut = (/** @type {number | undefined} */ index) => {
    if (shown === undefined) return;
    const time = index === undefined ? undefined : shown.data[0][index];
    if (index === undefined || time === undefined) return setText(readout, shown.summary);
    const values = shown.columns.map(({ label, at }) => `${label} ${show(at(index))}`);
    setText(readout, `${dateTime(time * 1000)}: ${values.join(' · ')}`);
  };
  const draw = () => {
    plot?.destroy();
    plot = undefined;
    if (shown === undefined || host.clientWidth === 0) return;
    plot = plotOf(host, { ...shown, show, onPoint: readOut });
  };
  const tabulate = () => {
    if (numbers.open && shown !== undefined) body.replaceChildren(tableOf(shown, title, show));
  };
  numbers.addEventListener('toggle', tabulate);
  const sizes = new ResizeObserver(() => {
    if (plot === undefined) draw();
    else if (Math.abs(plot.width - host.clientWidth) > 1 && host.clientWidth > 0)
      plot.setSize({ width: host.clientWidth, height: plot.height });
  });
  sizes.observe(host);
  drawn.add(draw);

  return {
    root,
    /** @param {FigureData} next */
    set(next) {
      const isSameKind = plot !== undefined && shown?.data.length === next.data.length && shown.max === next.max;
      const isSameSpan = shown?.data[0].length === next.data[0].length;
      shown = next;
      if (isSameKind && isSameSpan) plot?.setData(next.data);
      else draw();
      readOut(plot?.cursor.idx ?? undefined);
      tabulate();
    },
    destroy() {
      sizes.disconnect();
      drawn.delete(draw);
      plot?.destroy();
    },
  };
}

/**
 * @param {FigureData} shown
 * @param {string} title
 * @param {(value: number | null | undefined) => string} show
 */
function tableOf({ data: [times], columns }, title, show) {
  const head = el('tr', {}, ...['Time', ...columns.map(({ label }) => label)].map(columnHead));
  const rows = times
    .map((time, index) =>
      el(
        'tr',
        {},
        el('th', { text: dateTime(time * 1000), attrs: { scope: 'row' } }),
        ...columns.map(({ at }) => el('td', { text: at(index) === null ? UNKNOWN : show(at(index)) })),
      ),
    )
    .toReversed();
  return el(
    'table',
    {},
    el('caption', { class: 'unseen', text: title }),
    el('thead', {}, head),
    el('tbody', {}, ...rows),
  );
}

/** @param {string} text */
function columnHead(text) {
  return el('th', { text, attrs: { scope: 'col' } });
}
