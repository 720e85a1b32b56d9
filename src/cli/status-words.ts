import type { TableReport } from '../core/progress.ts';
import { percent } from '../progress/words.ts';
import { roughly } from './backfill-pace.ts';

/** `48 MB`, `1.2 GB`, in units of 1,000 as the configuration has them. */
export function bytes(number: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let value = number;
  let unit = 0;
  for (; value >= 999.5 && unit < units.length - 1; unit += 1) value /= 1_000;
  return `${unit === 0 || value >= 99.5 ? Math.round(value) : Number(value.toPrecision(2))} ${units[unit] ?? ''}`;
}

/** `950`, `8.1k`, `61M` */
export function short(number: number): string {
  const units = ['', 'k', 'M', 'G', 'T'];
  let value = number;
  let unit = 0;
  for (; value >= 999.5 && unit < units.length - 1; unit += 1) value /= 1_000;
  return `${unit === 0 || value >= 99.5 ? Math.round(value) : Number(value.toPrecision(2))}${units[unit] ?? ''}`;
}

export function backfillText({ backfill }: TableReport): string {
  if (backfill === undefined) return '-';
  const { status, share, rowsSent, etaSeconds } = backfill;
  if (status === 'completed') return 'done';
  // Cut, not rounded: 99.9 % are not all.
  const done = share === undefined ? short(rowsSent) : `~${Math.floor(share * 100)} % ${short(rowsSent)}`;
  if (status !== 'running') return `${status} ${done}`;
  return etaSeconds === undefined ? done : `${done} eta ~${roughly(etaSeconds)}`;
}

/** Passed or waived, of all: what is waived is seen by its mark. */
export function gatesText({ gates }: TableReport): string {
  if (gates.length === 0) return '-';
  const met = gates.filter(({ result, waiver }) => result === 'pass' || waiver !== undefined).length;
  const isWaived = gates.some(({ result, waiver }) => waiver !== undefined && result !== 'pass');
  return `${met}/${gates.length}${isWaived ? '*' : ''}`;
}

export function parityText({ gates }: TableReport): string {
  const parity = gates.find(({ code }) => code === 'PARITY');
  return parity?.value ?? '-';
}

/** `12.4 / 87.6 %`: the legacy system's share and the new system's; `~`: not the whole window was counted. */
export function writesText({ writes }: TableReport): string {
  const { legacyShare, covered } = writes;
  if (covered === 'none') return 'not counted';
  const mark = covered === 'whole' ? '' : '~';
  if (legacyShare === undefined) return `${mark}none`;
  const legacy = percent(legacyShare);
  return `${mark}${legacy.replace(/ %$/, '')} / ${percent(1 - legacyShare)}`;
}

export function openText({ open }: TableReport): string {
  const { deadLetters, waiting, conflicts, held } = open;
  const number = deadLetters + waiting + conflicts;
  return held === undefined ? short(number) : `${number === 0 ? '' : `${short(number)} `}held`;
}
