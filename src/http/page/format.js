// @ts-check

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const dateAndClock = new Intl.DateTimeFormat('en-GB', {
  day: 'numeric',
  month: 'short',
  hour: '2-digit',
  minute: '2-digit',
});

/** What stands where nothing is known. */
export const UNKNOWN = '–';

/** @param {number | null | undefined} value */
export function count(value) {
  return value === undefined || value === null ? UNKNOWN : whole.format(value);
}

/** @param {number | null | undefined} value */
export function brief(value) {
  if (value === undefined || value === null) return UNKNOWN;
  return Math.abs(value) < 10_000 ? whole.format(value) : short.format(value);
}

/** @param {number | null | undefined} bytes */
export function size(bytes) {
  if (bytes === undefined || bytes === null) return UNKNOWN;
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let value = Math.abs(bytes);
  let unit = 0;
  // As the configuration and `status` count them.
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1_000;
    unit += 1;
  }
  const digits = unit > 0 && value < 10 ? 1 : 0;
  return `${bytes < 0 ? '−' : ''}${value.toFixed(digits)} ${units[unit]}`;
}

/**
 * Two units at most: `3 h 12 min`.
 *
 * @param {number | null | undefined} seconds
 */
export function span(seconds) {
  if (seconds === undefined || seconds === null) return UNKNOWN;
  if (seconds < 10) return `${Number(seconds.toFixed(1))} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 === 0 || hours > 9 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d`;
}

/**
 * A share of one never rounds to all or to nothing: 99.97 % is not 100 %.
 *
 * @param {number | null | undefined} share
 */
export function percent(share) {
  if (share === undefined || share === null) return UNKNOWN;
  if (share === 0) return '0 %';
  if (share === 1) return '100 %';
  const value = share * 100;
  if (value < 0.1) return '< 0.1 %';
  if (value > 99.9) return '> 99.9 %';
  return `${value.toFixed(1).replace(/\.0$/, '')} %`;
}

/**
 * @param {string | null | undefined} iso
 * @param {number} now of the worker's clock, ms
 */
export function ago(iso, now) {
  if (iso === undefined || iso === null) return 'never';
  const seconds = Math.max(0, (now - Date.parse(iso)) / 1000);
  return seconds < 2 ? 'just now' : `${span(Math.floor(seconds))} ago`;
}

/** @param {number} ms */
export function timeOfDay(ms) {
  return clock.format(ms);
}

/** @param {string | number} time */
export function dateTime(time) {
  return dateAndClock.format(new Date(time));
}

/**
 * @param {number} many
 * @param {string} one
 * @param {string} [more]
 */
export function plural(many, one, more = `${one}s`) {
  return `${count(many)} ${many === 1 ? one : more}`;
}
