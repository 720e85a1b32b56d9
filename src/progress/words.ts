/** How gates and tables say amounts. */

const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1_000],
] as const;

/** `14 d`, `31 h`, `90 s`: whole numbers of the largest unit that has at least two of them, or one exactly. */
export function span(ms: number): string {
  for (const [unit, size] of UNITS) {
    if (ms >= 2 * size || ms === size) return `${Math.floor(ms / size)} ${unit}`;
  }
  return `${(Math.max(0, ms) / 1_000).toLocaleString('en-US', { maximumFractionDigits: 1 })} s`;
}

/** `12.4 %`. What is not nothing never reads as nothing, nor what is not all as all. */
export function percent(share: number): string {
  const text = (share * 100).toLocaleString('en-US', { maximumFractionDigits: 1 });
  if (text === '0' && share > 0) return '< 0.1 %';
  if (text === '100' && share < 1) return '> 99.9 %';
  return `${text} %`;
}

/** `1 write`, `1,234 writes`. */
export function amount(number: number, singular: string, plural = `${singular}s`): string {
  return `${number.toLocaleString('en-US')} ${number === 1 ? singular : plural}`;
}

/** `2026-03-01 12:00 UTC` */
export function moment(iso: string): string {
  return `${iso.slice(0, 16).replace('T', ' ')} UTC`;
}

/** A name as a shell takes it, in commands that are shown. */
export function shellWord(name: string): string {
  return /^[\w.]+$/.test(name) ? name : `'${name.replaceAll("'", `'\\''`)}'`;
}
