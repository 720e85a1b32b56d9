/** An IP address as a number; two addresses compare only where `bits` are equal. */
export interface Address {
  readonly bits: 32 | 128;
  readonly value: bigint;
}

/** Both ends belong to the range. */
export interface AddressRange {
  readonly bits: 32 | 128;
  readonly bottom: bigint;
  readonly top: bigint;
}

/** Reads an IPv4 or IPv6 address; undefined for anything else. */
export function parseAddress(text: string): Address | undefined {
  if (text.includes(':')) return parseIpv6(text);
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  let value = 0;
  for (const part of parts) {
    if (!hasOnly(part, DIGITS) || part.length === 0 || part.length > 3 || Number(part) > 255) return undefined;
    value = value * 256 + Number(part);
  }
  return { bits: 32, value: BigInt(value) };
}

/**
 * Reads `10.0.0.0/24`. As in the rule engine of AWS the range begins at the address given, not at the network's first, and a mask
 * of all bits is refused.
 */
export function parseCidr(text: string): AddressRange | { readonly invalid: string } {
  const parts = text.split('/');
  const [ip, mask] = parts;
  if (parts.length !== 2 || ip === undefined || mask === undefined) {
    return { invalid: "Malformed CIDR, one '/' required" };
  }
  if (mask.length === 0 || mask.length > 3 || !hasOnly(mask, DIGITS)) {
    return { invalid: 'Malformed CIDR, mask bits must be an integer' };
  }
  const address = parseAddress(ip);
  if (address === undefined) return { invalid: 'Nonstandard IP address' };
  const maskBits = Number(mask);
  if (maskBits >= address.bits) {
    return { invalid: `IPv${address.bits === 32 ? 4 : 6} mask bits must be < ${address.bits}` };
  }
  const hostBits = (1n << BigInt(address.bits - maskBits)) - 1n;
  return { bits: address.bits, bottom: address.value, top: address.value | hostBits };
}

const DIGITS = '0123456789';
const HEXADECIMAL = '0123456789abcdefABCDEF';

function hasOnly(text: string, characters: string): boolean {
  for (const character of text) if (!characters.includes(character)) return false;
  return true;
}

function parseIpv6(text: string): Address | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = groups(halves[0]);
  const tail = groups(halves[1]);
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  let value = 0n;
  for (const group of head) value = (value << 16n) | group;
  value <<= BigInt(16 * missing);
  for (const group of tail) value = (value << 16n) | group;
  return { bits: 128, value };
}

function groups(half: string | undefined): bigint[] | undefined {
  if (half === undefined || half === '') return [];
  const values: bigint[] = [];
  for (const group of half.split(':')) {
    if (group.length === 0 || group.length > 4 || !hasOnly(group, HEXADECIMAL)) return undefined;
    values.push(BigInt(`0x${group}`));
  }
  return values;
}
