import { parseDuration } from '../config/units.ts';
import { BanyanError } from '../core/errors.ts';

/** What `/v1/history` is asked for. */
export interface HistoryQuery {
  /** undefined: all tables together, with the connector's own health. */
  readonly table: string | undefined;
  readonly from: Date;
  readonly to: Date;
  readonly stepSeconds: number;
}

const MINUTE = 60;
const DEFAULT_MS = 24 * 3_600_000;
/** More than any screen has pixels for, and few enough to be answered at once. */
export const MAX_POINTS = 2_000;
/** As the default of a step: what people think in, seconds. */
const STEPS = [60, 300, 600, 1_800, 3_600, 21_600, 86_400];
const DEFAULT_POINTS = 300;
const PARAMETERS = ['table', 'from', 'to', 'step'];

/** Throws a BanyanError `usage` that says which parameter is wrong and how it is written. */
export function parseHistoryQuery(query: Readonly<Record<string, unknown>>, now: Date): HistoryQuery {
  const given = new Map<string, string>();
  for (const [name, value] of Object.entries(query)) {
    if (!PARAMETERS.includes(name))
      throw wrong(`there is no parameter ${name.slice(0, 40)}`, `it takes ${PARAMETERS.join(', ')}`);
    if (typeof value !== 'string') throw wrong(`${name} is given more than once`, `give ${name} once`);
    if (value === '') throw wrong(`${name} is empty`, `give ${name} a value, or leave it out`);
    given.set(name, value);
  }
  const to = timeOf('to', given.get('to')) ?? now;
  const from = timeOf('from', given.get('from')) ?? new Date(to.getTime() - DEFAULT_MS);
  const seconds = (to.getTime() - from.getTime()) / 1_000;
  if (seconds <= 0) throw wrong('from is not before to', 'give an earlier from or a later to');
  const stepSeconds = stepOf(given.get('step')) ?? defaultStep(seconds);
  if (seconds / stepSeconds > MAX_POINTS) {
    const least = Math.ceil(seconds / MAX_POINTS / MINUTE) * MINUTE;
    throw wrong(
      `from, to and step ask for ${Math.ceil(seconds / stepSeconds)} points, more than ${MAX_POINTS}`,
      `give a step of ${least} s at least, or a shorter time`,
    );
  }
  return { table: given.get('table'), from, to, stepSeconds };
}

/** With a time zone: a time without one is another moment on each machine. */
const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)$/;

function timeOf(name: string, text: string | undefined): Date | undefined {
  if (text === undefined) return undefined;
  const time = ISO.test(text) && isDay(text.slice(0, 10)) ? new Date(text) : undefined;
  if (time === undefined || Number.isNaN(time.getTime()))
    throw wrong(`${name} is no time`, 'write ISO 8601 with a time zone: 2026-03-01T12:00:00Z');
  return time;
}

/** The 30th of February would be the 2nd of March. */
function isDay(day: string): boolean {
  const time = new Date(`${day}T00:00:00Z`);
  return !Number.isNaN(time.getTime()) && time.toISOString().startsWith(day);
}

function stepOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * 1_000 : parseDuration(text);
  if (ms === undefined || ms < MINUTE * 1_000 || ms % (MINUTE * 1_000) !== 0)
    throw wrong(
      'step is no number of whole minutes',
      'write seconds (600) or a duration (10min, 6h), in whole minutes',
    );
  return ms / 1_000;
}

function defaultStep(seconds: number): number {
  const fitting = STEPS.find((step) => seconds / step <= DEFAULT_POINTS);
  return fitting ?? Math.ceil(seconds / DEFAULT_POINTS / 86_400) * 86_400;
}

function wrong(message: string, remedy: string): BanyanError {
  return new BanyanError('usage', message, { remedy });
}
