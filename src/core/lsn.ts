declare const lsnBrand: unique symbol;

/**
 * A position in PostgreSQL's write-ahead log, 0 to 2^64 - 1. Compared as a bigint, never as text: `'0/FF' > '0/100'`
 * is true of the text and false of the positions.
 */
export type Lsn = bigint & { readonly [lsnBrand]: true };

export const ZERO_LSN = 0n as Lsn;

/** Reads PostgreSQL's own form, two hexadecimal halves: `0/1A2B3C8`. Throws a RangeError on anything else. */
export function parseLsn(text: string): Lsn {
  const match = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/.exec(text);
  if (match === null) throw new RangeError(`not a PostgreSQL LSN (expected two hexadecimal halves such as 0/1A2B3C8)`);
  return ((BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`)) as Lsn;
}

/** PostgreSQL's own form, `0/1A2B3C8`. */
export function formatLsn(lsn: Lsn): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffffffffn).toString(16).toUpperCase()}`;
}

/** Sixteen upper-case hexadecimal digits, so that text sorts as positions do: `0000000001A2B3C8`. */
export function sortableLsn(lsn: Lsn): string {
  return lsn.toString(16).toUpperCase().padStart(16, '0');
}

export function maxLsn(a: Lsn, b: Lsn): Lsn {
  return a > b ? a : b;
}
