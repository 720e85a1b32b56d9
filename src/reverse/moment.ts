/** Dates and times as text: judged by the calendar before the server reads them, since it reads more than anyone means. */

/** Whether the text ends with an offset from UTC. `utc`: none, or the offset zero. */
export type ZoneRule = 'required' | 'utc';

const DATE = /^(\d{4,7})-(\d\d)-(\d\d)$/;
const CLOCK = /^(\d\d):(\d\d)(?::(\d\d)(?:\.\d{1,12})?)?$/;
const ZONE = /^(?:Z|[+-](\d\d)(?::?(\d\d)(?::(\d\d))?)?)$/;
const LAST_YEAR = { date: 5_874_897, moment: 294_276 };
const FIRST_YEAR_BC = 4_714;

/** What is wrong with a date, `2026-03-01`, `0044-03-15 BC`, `infinity`; undefined: nothing. */
export function dateProblem(text: string): string | undefined {
  if (isInfinite(text)) return undefined;
  const [day, isBc] = withoutEra(text);
  return dayProblem(day, { isBc, lastYear: LAST_YEAR.date });
}

/** What is wrong with a date and time, `2026-03-01T12:00:00.123456Z`; a space in place of the `T` is fine. */
export function momentProblem(text: string, { zone }: { readonly zone: ZoneRule }): string | undefined {
  if (isInfinite(text)) return undefined;
  const [moment, isBc] = withoutEra(text);
  const match = /^([\d-]{10,13})[T ]([\d:.]{5,21})(Z|[+-].{2,8})?$/.exec(moment);
  if (match === null) return 'no date and time';
  const [, day = '', clock = '', offset] = match;
  if (zone === 'required' && offset === undefined) return 'a time without its offset from UTC';
  if (zone === 'utc' && offset !== undefined && !/^(?:Z|[+-]00(?::?00)?)$/.test(offset)) {
    return 'a time with an offset from UTC, which would be lost';
  }
  return dayProblem(day, { isBc, lastYear: LAST_YEAR.moment }) ?? clockProblem(clock) ?? zoneProblem(offset);
}

/** What is wrong with a time of day, with an offset where `zone` asks for one. */
export function timeProblem(text: string, { zone }: { readonly zone: 'required' | 'none' }): string | undefined {
  const match = /^([\d:.]{5,21})(Z|[+-].{2,8})?$/.exec(text);
  if (match === null) return 'no time of day';
  const [, clock = '', offset] = match;
  if (zone === 'required' && offset === undefined) return 'a time without its offset from UTC';
  if (zone === 'none' && offset !== undefined) return 'a time with an offset from UTC, which would be lost';
  return clockProblem(clock) ?? zoneProblem(offset);
}

/**
 * Microseconds since 1970-01-01 UTC of an RFC 3339 time of the years 1 to 9999; undefined where the text is none, or finer than that: two times that
 * differ must not become one.
 */
export function microsOf(text: string): bigint | undefined {
  if (momentProblem(text, { zone: 'required' }) !== undefined) return undefined;
  const match = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,6})0*)?(Z|[+-]\d\d(?::?\d\d)?)$/.exec(text);
  if (match === null) return undefined;
  const [, day = '', clock = '', fraction = '', offset = ''] = match;
  const zone =
    offset.length === 3 ? `${offset}:00` : offset.length === 5 ? `${offset.slice(0, 3)}:${offset.slice(3)}` : offset;
  // A leap second is the next second, as for the server; Date knows none.
  const isLeap = clock.endsWith(':60');
  const millis = Date.parse(`${day}T${isLeap ? clock.replace(/60$/, '59') : clock}${zone}`);
  if (Number.isNaN(millis)) return undefined;
  return BigInt(millis + (isLeap ? 1_000 : 0)) * 1_000n + BigInt(fraction.padEnd(6, '0'));
}

function isInfinite(text: string): boolean {
  return text === 'infinity' || text === '-infinity';
}

function withoutEra(text: string): readonly [string, boolean] {
  return text.endsWith(' BC') ? [text.slice(0, -3), true] : [text, false];
}

function dayProblem(text: string, bounds: { readonly isBc: boolean; readonly lastYear: number }): string | undefined {
  const match = DATE.exec(text);
  if (match === null) return 'no date';
  const [year, month, day] = match.slice(1).map(Number) as [number, number, number];
  const { isBc, lastYear } = bounds;
  // There is no year zero: 1 BC is the year before 1.
  const astronomical = isBc ? 1 - year : year;
  if (year === 0 || year > (isBc ? FIRST_YEAR_BC : lastYear)) return 'a year that PostgreSQL does not have';
  if (month < 1 || month > 12 || day < 1 || day > daysIn(astronomical, month)) {
    return 'a day that the calendar does not have';
  }
  return undefined;
}

function daysIn(year: number, month: number): number {
  if (month === 2) return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28;
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
}

function clockProblem(text: string): string | undefined {
  const match = CLOCK.exec(text);
  if (match === null) return 'no time of day';
  const [hour = 0, minute = 0, second = 0] = match.slice(1, 4).map((part) => Number(part ?? 0));
  const isMidnight = hour === 24 && minute === 0 && /^24:00(?::00(?:\.0+)?)?$/.test(text);
  return (hour < 24 || isMidnight) && minute < 60 && second <= 60 ? undefined : 'a time that the clock does not have';
}

function zoneProblem(offset: string | undefined): string | undefined {
  if (offset === undefined || offset === 'Z') return undefined;
  const match = ZONE.exec(offset);
  if (match === null) return 'no offset from UTC';
  const [hours = 0, minutes = 0, seconds = 0] = match.slice(1).map((part) => Number(part ?? 0));
  return hours < 16 && minutes < 60 && seconds < 60 ? undefined : 'an offset from UTC that no place has';
}
