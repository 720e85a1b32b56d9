/**
 * An exact decimal with PostgreSQL's scale: `10.50` stays `10.50`, a product has the sum of both scales, as `numeric` has it.
 * Floating-point libraries drop trailing zeros, and a price that reads 21 where the database says 21.00 is a difference that
 * somebody has to explain.
 */
export class Decimal {
  /** The value times 10^scale. */
  readonly unscaled: bigint;
  readonly scale: number;

  constructor(unscaled: bigint, scale: number) {
    this.unscaled = unscaled;
    this.scale = scale;
  }

  toString(): string {
    return formatDecimal(this);
  }
}

/** Reads digits with an optional sign, point and exponent; undefined on anything else (`NaN`, `Infinity`, words). */
export function parseDecimal(text: string): Decimal | undefined {
  const match = /^([+-]?\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,5}))?$/.exec(text);
  const whole = match?.[1] ?? '';
  const fraction = match?.[2] ?? '';
  if (match === null || !/\d/.test(whole + fraction)) return undefined;
  const unscaled = BigInt(
    `${whole === '' || whole === '+' || whole === '-' ? `${whole.replace('+', '')}0` : whole.replace('+', '')}${fraction}`,
  );
  const scale = fraction.length - Number(match[3] ?? 0);
  return scale >= 0 ? new Decimal(unscaled, scale) : new Decimal(unscaled * 10n ** BigInt(-scale), 0);
}

export function formatDecimal(value: Decimal): string {
  if (value.scale === 0) return value.unscaled.toString();
  const negative = value.unscaled < 0n;
  const digits = (negative ? -value.unscaled : value.unscaled).toString().padStart(value.scale + 1, '0');
  const point = digits.length - value.scale;
  return `${negative ? '-' : ''}${digits.slice(0, point)}.${digits.slice(point)}`;
}

export function add(a: Decimal, b: Decimal): Decimal {
  const scale = Math.max(a.scale, b.scale);
  return new Decimal(unscaledAt(a, scale) + unscaledAt(b, scale), scale);
}

export function subtract(a: Decimal, b: Decimal): Decimal {
  const scale = Math.max(a.scale, b.scale);
  return new Decimal(unscaledAt(a, scale) - unscaledAt(b, scale), scale);
}

export function multiply(a: Decimal, b: Decimal): Decimal {
  return new Decimal(a.unscaled * b.unscaled, a.scale + b.scale);
}

/** Below 0, 0 or above 0, as a sort wants it; scales do not matter: 1.0 equals 1. */
export function compare(a: Decimal, b: Decimal): number {
  const scale = Math.max(a.scale, b.scale);
  const left = unscaledAt(a, scale);
  const right = unscaledAt(b, scale);
  return left < right ? -1 : left > right ? 1 : 0;
}

/** Rounded to `scale` digits after the point, halves away from zero, as PostgreSQL rounds `numeric`. */
export function round(value: Decimal, scale: number): Decimal {
  if (scale >= value.scale) return new Decimal(unscaledAt(value, scale), scale);
  return new Decimal(divideRounded(value.unscaled, 10n ** BigInt(value.scale - scale)), scale);
}

/** The quotient with `scale` digits after the point, halves away from zero; undefined where `b` is zero. */
export function divide(a: Decimal, b: Decimal, scale: number): Decimal | undefined {
  if (b.unscaled === 0n) return undefined;
  const shift = scale + b.scale - a.scale;
  const numerator = shift >= 0 ? a.unscaled * 10n ** BigInt(shift) : a.unscaled;
  const denominator = shift >= 0 ? b.unscaled : b.unscaled * 10n ** BigInt(-shift);
  return new Decimal(divideRounded(numerator, denominator), scale);
}

function divideRounded(numerator: bigint, denominator: bigint): bigint {
  const negative = numerator < 0n !== denominator < 0n;
  const top = numerator < 0n ? -numerator : numerator;
  const bottom = denominator < 0n ? -denominator : denominator;
  const quotient = (2n * top + bottom) / (2n * bottom);
  return negative ? -quotient : quotient;
}

function unscaledAt(value: Decimal, scale: number): bigint {
  return scale === value.scale ? value.unscaled : value.unscaled * 10n ** BigInt(scale - value.scale);
}
