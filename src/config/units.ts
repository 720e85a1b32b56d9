import { z } from 'zod';

const DURATION_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, min: 60_000, h: 3_600_000, d: 86_400_000 };
const SIZE_BYTES: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1_000,
  MB: 1_000_000,
  GB: 1_000_000_000,
  TB: 1_000_000_000_000,
};

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

/** A duration option: written with its unit, read as milliseconds. */
export function duration(defaultText: string, description: string) {
  return unit(parseDuration, { unit: 'duration', example: '5ms, 10s, 15min, 2h or 14d', defaultText, description });
}

/** A size option: written with its unit, read as bytes. */
export function size(defaultText: string, description: string) {
  return unit(parseSize, { unit: 'size', example: '500B, 1000kB, 1MB or 10GB', defaultText, description });
}

function unit(
  parse: (text: string) => number | undefined,
  option: { unit: string; example: string; defaultText: string; description: string },
) {
  return z
    .string()
    .default(option.defaultText)
    .transform((text, context) => {
      const value = parse(text);
      if (value !== undefined) return value;
      context.addIssue({
        code: 'custom',
        message: `not a ${option.unit}: write a number with its unit, such as ${option.example}`,
      });
      return z.NEVER;
    })
    .describe(option.description);
}
