// @ts-check
import uPlot from './uPlot.esm.js';
import { brief, dateTime, timeOfDay } from './format.js';
import { CLASSES } from './words.js';

/** @typedef {[number[], ...(number | null)[][]]} Data */

/** @type {Map<string, string>} */
const colours = new Map();

/** @param {string} name a custom property of the style sheet */
function colour(name) {
  let value = colours.get(name);
  if (value === undefined) {
    value = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    colours.set(name, value);
  }
  return value;
}

/** Another theme has other colours. */
export function forgetColours() {
  colours.clear();
}

/**
 * Fill of a class of writes. Replicated writes are hatched: they must not be told apart by colour alone.
 *
 * @param {string} key
 * @param {CanvasRenderingContext2D} context
 */
function fillOf(key, context) {
  const plain = colour(`--${key}`);
  return key === 'foreign' ? (hatch(context, plain, colour('--surface')) ?? plain) : plain;
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {string} line
 * @param {string} ground
 */
function hatch(context, line, ground) {
  const tile = document.createElement('canvas');
  tile.width = 6;
  tile.height = 6;
  const drawing = tile.getContext('2d');
  if (drawing === null) return undefined;
  drawing.fillStyle = ground;
  drawing.fillRect(0, 0, 6, 6);
  drawing.strokeStyle = line;
  drawing.lineWidth = 2.4;
  drawing.beginPath();
  for (const x of [-6, 0, 6]) {
    drawing.moveTo(x, 6);
    drawing.lineTo(x + 6, 0);
  }
  drawing.stroke();
  return context.createPattern(tile, 'repeat') ?? undefined;
}

/**
 * Where nothing is known is marked, so that it is not taken for nothing.
 *
 * @param {uPlot} plot
 */
function markUnknown(plot) {
  const { ctx, bbox } = plot;
  const [times, values] = plot.data;
  if (times.length < 2 || values === undefined) return;
  const step = (times[1] ?? 0) - (times[0] ?? 0);
  ctx.save();
  ctx.fillStyle = colour('--grid');
  ctx.fillRect(bbox.left, bbox.top + bbox.height - 1, bbox.width, 1);
  ctx.fillStyle = colour('--unmeasured');
  for (let start = 0; start < times.length; start += 1) {
    if (values[start] !== null) continue;
    let end = start;
    while (end + 1 < times.length && values[end + 1] === null) end += 1;
    const left = Math.max(bbox.left, plot.valToPos((times[start] ?? 0) - step / 2, 'x', true));
    const right = Math.min(bbox.left + bbox.width, plot.valToPos((times[end] ?? 0) + step / 2, 'x', true));
    if (right > left) ctx.fillRect(left, bbox.top, right - left, bbox.height);
    start = end;
  }
  ctx.restore();
}

const bars = uPlot.paths.bars?.({ size: [0.82, 40], align: 0 });

function stackedSeries() {
  return CLASSES.toReversed().map(({ key, label }) => ({
    label,
    stroke: colour(`--${key}`),
    fill: (/** @type {uPlot} */ plot) => fillOf(key, plot.ctx),
    width: 0,
    points: { show: false },
    ...(bars === undefined ? {} : { paths: bars }),
  }));
}

/**
 * @param {Data} data
 * @returns {[number, number]}
 */
function wholeTime([times]) {
  const step = (times[1] ?? 0) - (times[0] ?? 0);
  return [(times[0] ?? 0) - step / 2, (times.at(-1) ?? 1) + step / 2];
}

/**
 * A plot without axes, for a line of the list.
 *
 * @param {HTMLElement} host
 * @param {Data} data
 * @param {'writes' | 'share'} kind
 */
export function spark(host, data, kind) {
  const plot = new uPlot(
    {
      width: Math.max(40, host.clientWidth),
      height: Math.max(20, host.clientHeight),
      padding: [1, 0, 0, 0],
      cursor: { show: false },
      legend: { show: false },
      scales: {
        x: { range: (plot) => wholeTime(/** @type {Data} */ (plot.data)) },
        y: { range: (_plot, _min, max) => (kind === 'share' ? [0, 102] : [0, Math.max(4, max)]) },
      },
      axes: [{ show: false }, { show: false }],
      series: [{}, ...(kind === 'writes' ? stackedSeries() : [shareSeries()])],
      hooks: kind === 'writes' ? { drawAxes: [markUnknown] } : { drawAxes: [ground] },
    },
    data,
    host,
  );
  plot.root.setAttribute('aria-hidden', 'true');
  return plot;
}

/**
 * Half and all, so that a line without an axis can be read.
 *
 * @param {uPlot} plot
 */
function ground(plot) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.fillStyle = colour('--grid');
  for (const value of [0, 50, 100]) {
    const y = Math.min(bbox.top + bbox.height - 1, Math.round(plot.valToPos(value, 'y', true)));
    ctx.fillRect(bbox.left, y, bbox.width, 1);
  }
  ctx.restore();
}

function shareSeries() {
  return {
    label: 'new system',
    stroke: colour('--reverse'),
    fill: colour('--reverse-soft'),
    width: 1.6,
    spanGaps: false,
    points: { show: false },
  };
}

/**
 * @typedef {object} Line
 * @property {string} label
 * @property {string} colour custom property
 * @property {string} [fill]
 * @property {number[]} [dash] a second sign beside the colour
 */

/**
 * A plot with axes and a line that reads out what the pointer is at.
 *
 * @param {HTMLElement} host
 * @param {object} what
 * @param {Data} what.data
 * @param {'stack' | readonly Line[]} what.lines
 * @param {(value: number | null | undefined) => string} [what.show]
 * @param {number} [what.max]
 * @param {(index: number | undefined) => void} what.onPoint
 * @param {number} [what.height]
 */
export function plotOf(host, { data, lines, show = brief, max, onPoint, height = 168 }) {
  const axis = {
    stroke: colour('--quiet'),
    font: `11px ${getComputedStyle(document.body).fontFamily}`,
    grid: { stroke: colour('--grid'), width: 1 },
    ticks: { show: false },
  };
  const span = (data[0].at(-1) ?? 0) - (data[0][0] ?? 0);
  const when = (/** @type {number} */ time) => (span > 100_000 ? dateTime(time * 1000) : timeOfDay(time * 1000));
  return new uPlot(
    {
      width: Math.max(160, host.clientWidth),
      height,
      padding: [8, 8, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { show: lines !== 'stack' } },
      scales: {
        x: { range: (plot) => wholeTime(/** @type {Data} */ (plot.data)) },
        y: { range: (_plot, _min, most) => [0, max ?? Math.max(1, (most ?? 0) * 1.08)] },
      },
      axes: [
        { ...axis, grid: { show: false }, space: span > 100_000 ? 110 : 60, values: (_plot, ticks) => ticks.map(when) },
        { ...axis, size: 62, space: 34, values: (_plot, ticks) => ticks.map((tick) => show(tick)) },
      ],
      series: [
        {},
        ...(lines === 'stack'
          ? stackedSeries()
          : lines.map(({ label, colour: name, fill, dash }) => ({
              label,
              stroke: colour(name),
              width: 1.6,
              points: { show: data[0].length < 3 },
              ...(fill === undefined ? {} : { fill: colour(fill) }),
              ...(dash === undefined ? {} : { dash }),
            }))),
      ],
      hooks: {
        setCursor: [(plot) => onPoint(plot.cursor.idx ?? undefined)],
        ...(lines === 'stack' ? { drawAxes: [markUnknown] } : {}),
      },
    },
    data,
    host,
  );
}
