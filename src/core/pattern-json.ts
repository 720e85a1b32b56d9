/** What a field of an event holds. A bigint is an integer that a double can not hold exactly. */
export type Scalar = string | number | bigint | boolean | null;

/**
 * `JSON.parse`, with integers beyond 2^53 as bigint, so that a rule on such a number takes exactly that number. Texts without a long
 * run of digits (nearly all) take the plain path. Throws SyntaxError as `JSON.parse` does.
 */
export function parseExactJson(text: string): unknown {
  if (!/\d{16}/.test(text)) return JSON.parse(text) as unknown;
  return parseWithSource(text, (_key, value, context) => {
    if (typeof value !== 'number' || context.source === undefined) return value;
    if (!Number.isInteger(value) || Number.isSafeInteger(value)) return value;
    return /^-?\d+$/.test(context.source) ? BigInt(context.source) : value;
  });
}

/** The third argument is in every Node.js that we run on; the compiler's library does not know it yet. */
const parseWithSource = JSON.parse as (
  text: string,
  reviver: (key: string, value: unknown, context: { readonly source?: string }) => unknown,
) => unknown;
