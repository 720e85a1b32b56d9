import { BanyanError } from '../core/errors.ts';
import type { NumbersOption } from '../postgres/values/scalars.ts';
import { jsonString } from '../postgres/values/json-string.ts';
import { formatTimestamp } from './cel-environment.ts';
import { Decimal, formatDecimal } from './decimal.ts';

export interface CelJsonOptions {
  readonly numbers: NumbersOption;
  /** int as JSON string, because the expression names a bigint column (and `numbers` is text). */
  readonly bigIntegers: boolean;
}

/**
 * The JSON text of what an expression gave. decimal: as `numbers` says for numeric. int: a JSON number, or as `numbers` says
 * for bigint where the expression names a bigint column. Throws `mapping-failed` where a JSON number would not keep its
 * digits in JavaScript.
 */
export function celToJson(value: unknown, options: CelJsonOptions): string {
  switch (typeof value) {
    case 'string':
      return jsonString(value);
    case 'boolean':
      return value ? 'true' : 'false';
    case 'bigint':
      return integer(value, options);
    case 'number':
      // JSON has no NaN and no infinities; as words, as to_jsonb has them.
      return Number.isFinite(value) ? `${value}` : `"${value}"`;
    case 'object':
      return value === null ? 'null' : object(value, options);
    default:
      throw new BanyanError('mapping-failed', `the expression gave a ${typeof value}, which JSON has no form for`);
  }
}

function object(value: object, options: CelJsonOptions): string {
  if (value instanceof Decimal) {
    return options.numbers === 'json' ? formatDecimal(value) : `"${formatDecimal(value)}"`;
  }
  if (value instanceof Date) return `"${formatTimestamp(value)}"`;
  if (value instanceof Uint8Array) return `"${Buffer.from(value).toString('base64')}"`;
  if (Array.isArray(value) || value instanceof Set) {
    return `[${Array.from(value as Iterable<unknown>, (item) => celToJson(item, options)).join(',')}]`;
  }
  if (value instanceof Map || isPlainObject(value)) {
    const entries = value instanceof Map ? Array.from(value as Map<unknown, unknown>) : Object.entries(value);
    return `{${entries.map(([key, item]) => `${jsonString(String(key))}:${celToJson(item, options)}`).join(',')}}`;
  }
  // Unsigned integers and durations: CEL has a text for both, and it is what protobuf's JSON has.
  const { constructor } = value;
  if (constructor.name === 'UnsignedInt') return integer(BigInt(celText(value)), options);
  if (constructor.name === 'Duration') return `"${celText(value)}"`;
  throw new BanyanError('mapping-failed', `the expression gave a ${constructor.name}, which JSON has no form for`);
}

/** Both classes of the library say their CEL text by `toString`, which their types do not show. */
function celText(value: object): string {
  return (value as { toString(): string }).toString();
}

function integer(value: bigint, options: CelJsonOptions): string {
  if (options.numbers === 'json') return value.toString();
  if (options.bigIntegers) return `"${value}"`;
  if (value > MAX_SAFE || value < -MAX_SAFE) {
    throw new BanyanError(
      'mapping-failed',
      'the expression gave an integer beyond 2^53, which JSON numbers do not keep',
      { remedy: 'put string(…) around the integer in the mapping, restart, then `banyan dead-letters redrive`' },
    );
  }
  return value.toString();
}

const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);

function isPlainObject(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
