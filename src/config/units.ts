import { z } from 'zod';

const DURATION_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, min: 60_000, h: 3_600_000, d: 86_400_000 };
const SIZE_BYTES: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1_000,
  MB: 1_000_000,
  GB: 1_000_000_000,
  TB: 1_000_000_000_000,
};

/** Timers of Node.js fire at once above 2^31 - 1 ms, which is 24.8 days. */
const LONGEST_DURATION = '24d';

/** `5ms`, `10s`, `15min`, `2h`, `14d` to milliseconds; undefined on anything else. */
export function parseDuration(text: string): number | undefined {
  return parseWithUnit(text, DURATION_MS);
}

/** `500B`, `1000kB`, `1MB`, `10GB` to bytes (units of 1,000, as AWS counts); undefined on anything else. */
export function parseSize(text: string): number | undefined {
  return parseWithUnit(text, SIZE_BYTES);
}

function parseWithUnit(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]+)$/.exec(text.trim());
  const factor = match?.[2] === undefined ? undefined : units[match[2]];
  return factor === undefined ? undefined : Math.round(Number(match?.[1]) * factor);
}

/** Inclusive bounds, written with their unit as the option itself is. */
export interface UnitBounds {
  readonly min?: string;
  readonly max?: string;
}

/** A duration option: written with its unit, read as milliseconds. */
export function duration(defaultText: string, description: string, bounds: UnitBounds = {}) {
  return unit(parseDuration, {
    kind: 'duration',
    units: DURATION_MS,
    example: '5ms, 10s, 15min, 2h or 14d',
    defaultText,
    description,
    bounds: { max: LONGEST_DURATION, ...bounds },
  });
}

/** A size option: written with its unit, read as bytes. */
export function size(defaultText: string, description: string, bounds: UnitBounds = {}) {
  return unit(parseSize, {
    kind: 'size',
    units: SIZE_BYTES,
    example: '500B, 1000kB, 1MB or 10GB',
    defaultText,
    description,
    bounds,
  });
}

function unit(
  parse: (text: string) => number | undefined,
  option: {
    kind: string;
    units: Readonly<Record<string, number>>;
    example: string;
    defaultText: string;
    description: string;
    bounds: UnitBounds;
  },
) {
  const { min, max } = option.bounds;
  const pattern = new RegExp(`^\\d+(\\.\\d+)?\\s*(${Object.keys(option.units).join('|')})$`);
  return z
    .string()
    .regex(pattern, `write a ${option.kind} as a number with its unit, such as ${option.example}`)
    .default(option.defaultText)
    .transform((text, context) => {
      const value = parse(text) ?? 0;
      if (min !== undefined && value < (parse(min) ?? 0)) {
        context.addIssue({ code: 'custom', message: `use at least ${min}` });
      }
      if (max !== undefined && value > (parse(max) ?? Infinity)) {
        context.addIssue({ code: 'custom', message: `use at most ${max}` });
      }
      return value;
    })
    .describe(option.description);
}
