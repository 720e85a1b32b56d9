import type { Cast } from './cast.ts';
import { isNumber, type Json, numberText } from './json.ts';
import { Misfit, misfit } from './misfit.ts';

/** `int2` and its like: a number or a text of digits. `2.0` and `1e3` are whole numbers too, as JSON knows only one kind. */
export function integer(lowest: bigint, highest: bigint): Cast {
  const wanted = `a whole number from ${lowest} to ${highest}`;
  return (value) => {
    const found = wholeNumber(value);
    if (found === undefined) throw misfit(value, wanted);
    if (found < lowest || found > highest) throw new Misfit('a number out of range', wanted);
    return found.toString();
  };
}

/** The whole number that a JSON number or a text of digits is; undefined where it is none, or has more than forty digits. */
export function wholeNumber(value: Json): bigint | undefined {
  if (typeof value === 'string') return /^[+-]?\d{1,40}$/.test(value) ? BigInt(value.replace(/^\+/, '')) : undefined;
  if (!isNumber(value)) return undefined;
  const match = /^(-?\d{1,40})(?:\.0+|[eE]\+?(\d{1,2}))?$/.exec(numberText(value));
  return match?.[1] === undefined ? undefined : BigInt(match[1]) * 10n ** BigInt(match[2] ?? 0);
}

const DECIMAL = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,9})?$/;
const WORDS = /^(?:NaN|-?Infinity)$/;

/** A JSON number with its digits as they were written, or a text: digits with an exponent, `NaN`, `Infinity`, `-Infinity`. */
export const numeric: Cast = (value) => {
  const text = decimalText(value);
  if (text === undefined) throw misfit(value, 'a number, or a text that is one');
  return text;
};

/** As `numeric`, within what the type can hold: the server refuses what would become infinite or zero. */
export function float(kind: 'float4' | 'float8'): Cast {
  return (value) => {
    const text = decimalText(value);
    if (text === undefined) throw misfit(value, 'a number, or a text that is one');
    if (WORDS.test(text)) return text;
    const double = Number(text);
    const stored = kind === 'float4' ? Math.fround(double) : double;
    const isZero = /^[^1-9]*(?:[eE]|$)/.test(text);
    if (!Number.isFinite(stored) || (stored === 0 && !isZero)) {
      throw new Misfit('a number out of range', `a number that ${kind} can hold`);
    }
    return text;
  };
}

/** `money`: also in the form that the server prints it in. */
export const money: Cast = (value) => {
  const text = isNumber(value) ? decimalText(value) : value;
  if (typeof text === 'string' && /^-?\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?$/.test(text)) return text;
  throw misfit(value, 'an amount of money, such as 1234.50 or "$1,234.50"');
};

function decimalText(value: Json): string | undefined {
  if (isNumber(value)) return numberText(value);
  return typeof value === 'string' && (DECIMAL.test(value) || WORDS.test(value)) ? value : undefined;
}
