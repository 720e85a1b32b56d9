import { isIP } from 'node:net';
import { nearest } from '../core/nearest.ts';
import type { Cast } from './cast.ts';
import { isJsonObject, type Json, jsonText } from './json.ts';
import { Misfit, misfit, within } from './misfit.ts';
import { dateProblem, momentProblem, timeProblem } from './moment.ts';

/** Any text that the server can store. Numbers and booleans are refused: which of their spellings is meant, only the mapping can say. */
export const text: Cast = (value) => {
  if (typeof value !== 'string') throw misfit(value, 'a text (`{ cel: "string(…)" }` makes one)');
  return storable(value);
};

/** The server stores no zero character, and half of a surrogate pair would silently become another character on the way. */
function storable(value: string): string {
  if (value.includes('\0')) throw new Misfit('a text with the character U+0000', 'a text without it');
  if (!value.isWellFormed()) throw new Misfit('a text with half of a surrogate pair', 'well-formed Unicode');
  return value;
}

/** `varchar(n)` and `char(n)`: spaces past the limit are cut by the server, anything else is refused. */
export function limitedText(limit: number): Cast {
  return (value) => {
    const whole = text(value);
    if (whole.length > limit && Array.from(whole.trimEnd()).length > limit) {
      throw new Misfit('a text that is too long', `a text of at most ${limit} characters`);
    }
    return whole;
  };
}

/** `name` and `"char"`, which the server cuts without a word. */
export function shortText(maxBytes: number): Cast {
  return (value) => {
    const whole = text(value);
    if (Buffer.byteLength(whole) > maxBytes) {
      throw new Misfit('a text that is too long', `a text of at most ${maxBytes} ${maxBytes === 1 ? 'byte' : 'bytes'}`);
    }
    return whole;
  };
}

export const boolean: Cast = (value) => {
  if (typeof value !== 'boolean') throw misfit(value, '`true` or `false`');
  return `${value}`;
};

/** A text that satisfies `pattern`; `form` says how one looks. */
function patterned(pattern: RegExp, form: string): Cast {
  return (value) => {
    if (typeof value === 'string' && pattern.test(value)) return value;
    throw misfit(value, form);
  };
}

const uuidText = patterned(
  /^(?:(?:[\da-f]{4}-?){7}[\da-f]{4}|\{(?:[\da-f]{4}-?){7}[\da-f]{4}\})$/i,
  'a UUID (32 hexadecimal digits)',
);
/** In the form that the server prints, so that one row has one key. */
export const uuid: Cast = (value) =>
  uuidText(value)
    .toLowerCase()
    .replaceAll(/[{}-]/g, '')
    .replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');

export const bytea = patterned(/^\\x(?:[\da-f]{2})*$/i, String.raw`bytes in hexadecimal, such as "\x00ff"`);
export const bits = patterned(/^[01]*$/, 'bits, such as "10101"');
export const macaddr = patterned(/^(?:[\da-f]{2}[:.-]?){5}[\da-f]{2}$/i, 'a hardware address of 6 bytes');
export const macaddr8 = patterned(
  /^(?:[\da-f]{2}[:.-]?){5}(?:[\da-f]{2}[:.-]?){0,2}[\da-f]{2}$/i,
  'a hardware address of 8 bytes',
);

/** `inet` and `cidr`: a whole address, with or without the length of its network. */
export const address: Cast = (value) => {
  const wanted = 'an IP address, such as "10.0.0.1" or "10.0.0.0/8"';
  if (typeof value !== 'string') throw misfit(value, wanted);
  const [, host = '', length] = /^([\d.:a-f]+)(?:\/(\d{1,3}))?$/i.exec(value) ?? [];
  const family = isIP(host);
  if (family === 0 || (length !== undefined && Number(length) > (family === 4 ? 32 : 128))) throw misfit(value, wanted);
  return value;
};

/** A text about which `problemOf` finds nothing wrong. */
function temporal(problemOf: (text: string) => string | undefined, wanted: string): Cast {
  return (value) => {
    if (typeof value !== 'string') throw misfit(value, wanted);
    const problem = problemOf(value);
    if (problem !== undefined) throw new Misfit(problem, wanted);
    return value;
  };
}

export const date = temporal(dateProblem, 'a date, such as "2026-03-01"');
export const time = temporal((value) => timeProblem(value, { zone: 'none' }), 'a time of day, such as "12:00:00"');
export const timetz = temporal(
  (value) => timeProblem(value, { zone: 'required' }),
  'a time of day with its offset, such as "12:00:00+00:00"',
);
/** Without an offset, or with that of UTC, which the server drops: what else it is given would silently lose its offset. */
export const timestamp = temporal(
  (value) => momentProblem(value, { zone: 'utc' }),
  'a date and time in UTC or without an offset, such as "2026-03-01T12:00:00"',
);
/** With its offset: without one the session's time zone would decide. */
export const timestamptz = temporal(
  (value) => momentProblem(value, { zone: 'required' }),
  'a date and time with its offset, such as "2026-03-01T12:00:00Z"',
);

const UNIT = '(?:years?|mons?|months?|weeks?|days?|hours?|mins?|minutes?|secs?|seconds?)';
const CLOCK = String.raw`[+-]?\d+:\d\d(?::\d\d(?:\.\d+)?)?`;
const INTERVALS = [
  new RegExp(String.raw`^(?:[+-]?\d+(?:\.\d+)? ${UNIT}(?: (?!$)|$))*(?:${CLOCK})?$`),
  /^P(?=[\d+-]|T)(?:[+-]?\d+(?:\.\d+)?[YMWD])*(?:T(?:[+-]?\d+(?:\.\d+)?[HMS])+)?$/,
  /^-?infinity$/,
];

/** In the server's own words (`1 year -2 mons 04:05:06`) or those of ISO 8601 (`P1Y`). */
export const interval: Cast = (value) => {
  // Far above what any interval needs; the patterns need not read more.
  if (typeof value === 'string' && value !== '' && value.length <= 200 && INTERVALS.some((form) => form.test(value))) {
    return value;
  }
  throw misfit(value, 'an interval, such as "1 day 02:00:00" or "P1DT2H"');
};

/** Any value, as JSON; a JSON null is SQL's NULL before it comes here. */
export const json: Cast = (value) => jsonText(value);

/** As `json`, without what jsonb can not hold: the character U+0000 and halves of surrogate pairs. */
export const jsonb: Cast = (value) => {
  checkTexts(value);
  return jsonText(value);
};

function checkTexts(value: Json): void {
  if (typeof value === 'string') storable(value);
  else if (Array.isArray(value))
    (value as readonly Json[]).forEach((item, index) => within(index, () => checkTexts(item)));
  else if (isJsonObject(value)) {
    for (const [name, member] of Object.entries(value)) {
      storable(name);
      within(name, () => checkTexts(member));
    }
  }
}

/** One of the labels that the catalog had. */
export function enumLabel(labels: readonly string[]): Cast {
  const known = new Set(labels);
  return (value) => {
    if (typeof value !== 'string') throw misfit(value, 'a label of the enum');
    if (known.has(value)) return value;
    // The nearest label is the catalog's; what was sent is not repeated.
    const near = nearest(value, labels);
    throw new Misfit(
      'a text that is no label of the enum',
      near === undefined ? 'one of its labels (a new one is known after a restart)' : `such as ${JSON.stringify(near)}`,
    );
  };
}
