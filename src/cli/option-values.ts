import { InvalidArgumentError } from 'commander';
import { parseDuration } from '../config/units.ts';

/** `a, b,c` */
export function list(text: string): string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

export function whole(text: string): number {
  if (!/^\d{1,15}$/.test(text) || Number(text) === 0)
    throw new InvalidArgumentError('It must be a whole number from 1.');
  return Number(text);
}

export function numbers(text: string, earlier: readonly number[] = []): number[] {
  return [...earlier, whole(text)];
}

/** `24h`, `15min`, in milliseconds. */
export function span(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined || ms <= 0) throw new InvalidArgumentError('It must be a duration such as 15min, 24h or 7d.');
  return ms;
}

export function port(text: string): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535)
    throw new InvalidArgumentError('It must be a port, 0 to 65535.');
  return Number(text);
}

export function account(text: string): string {
  if (!/^\d{12}$/.test(text)) throw new InvalidArgumentError('It must be an AWS account id, 12 digits.');
  return text;
}

/** `status=shipped`; the value may hold further `=`. */
export function assignment(
  text: string,
  earlier: ReadonlyMap<string, string | null> = new Map(),
): ReadonlyMap<string, string | null> {
  const at = text.indexOf('=');
  if (at === 0) throw new InvalidArgumentError('It must be COLUMN=VALUE.');
  return new Map([...earlier, at === -1 ? [text, null] : [text.slice(0, at), text.slice(at + 1)]]);
}
