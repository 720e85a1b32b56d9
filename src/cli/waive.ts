import { parseDuration } from '../config/units.ts';
import { BanyanError } from '../core/errors.ts';
import type { GateCode } from '../core/progress.ts';
import { UNWAIVABLE } from '../progress/gates.ts';
import { moment } from '../progress/words.ts';
import { type CommandContext, ExitCode, loadFor } from './context.ts';
import { withTable } from './facts-for.ts';
import { requester } from './selection.ts';

export interface WaiveOptions {
  readonly table: string;
  readonly gate: GateCode;
  readonly reason: string | undefined;
  /** A date, or how long from now. */
  readonly until: string | undefined;
  readonly revoke: boolean;
  /** undefined: the user of the operating system. */
  readonly by: string | undefined;
}

const DAY_MS = 86_400_000;
const LONGEST_MS = 90 * DAY_MS;

/** Puts a person's word in the place of evidence, in the open and for a while; or takes it back. */
export async function waive(options: WaiveOptions, context: CommandContext): Promise<ExitCode> {
  const { output } = context;
  const { gate, revoke } = options;
  const by = (options.by ?? requester()).trim();
  if (by === '') throw new BanyanError('usage', 'a waiver needs a name', { remedy: 'say who with --by' });
  const given = revoke ? undefined : waiverOf(options);
  const { config } = await loadFor(context);
  return withTable(config, options.table, async ({ state, table: { table, display } }) => {
    if (given === undefined) {
      if (!(await state.waivers.revoke(table, gate, by))) {
        throw new BanyanError('usage', `${gate} of ${display} is not waived`, {
          remedy: '`banyan verdict` shows what is',
        });
      }
      if (output.json) output.value({ table, gate, revoked: true, by });
      else output.line(`${output.paint('green', '✓')} ${gate} of ${display} is not waived any more`);
      return ExitCode.ok;
    }
    const waiver = await state.waivers.add({ table, gate, by, ...given });
    if (output.json) output.value(waiver);
    else {
      output.line(
        `${output.paint('green', '✓')} ${gate} of ${display} is waived by ${by} until ${moment(waiver.until)}`,
      );
      output.note('it stays visible wherever the gate is shown, and in the record of a move');
    }
    return ExitCode.ok;
  });
}

function waiverOf({ gate, reason = '', until }: WaiveOptions): { reason: string; until: string } {
  if (UNWAIVABLE.has(gate)) {
    throw new BanyanError('usage', `${gate} can not be waived: without its slot a table has no stream`, {
      remedy: 'mend it: `banyan check`, or `banyan recover`',
    });
  }
  if (reason.trim() === '') {
    throw new BanyanError('usage', 'a waiver needs a reason', { remedy: 'say why with --reason TEXT' });
  }
  if (until === undefined) {
    throw new BanyanError('usage', 'a waiver needs an end', {
      remedy: 'say until when with --until: a date such as 2026-05-31, or how long, such as 7d',
    });
  }
  const end = endOf(until);
  const now = Date.now();
  if (end === undefined || end <= now) {
    const what = end === undefined ? 'a text that is neither a date nor a duration' : 'a time that is past';
    throw new BanyanError('usage', `--until is ${what}`, {
      remedy:
        'write a date such as 2026-05-31 (UTC, until its end), a time such as 2026-05-31T18:00Z, or how long, such as 7d',
    });
  }
  if (end > now + LONGEST_MS) {
    throw new BanyanError('usage', '--until is more than 90 days away', {
      remedy: 'waive it for at most 90d, and again then where it must be',
    });
  }
  return { reason: reason.trim(), until: new Date(end).toISOString() };
}

/** A day lasts until its end, and a time without a zone is UTC, whatever this machine's is. */
function endOf(text: string): number | undefined {
  const ms = parseDuration(text);
  if (ms !== undefined) return Date.now() + ms;
  const [, day, time, zone] =
    /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?)(Z|[+-]\d{2}:\d{2})?)?$/.exec(text) ?? [];
  if (day === undefined) return undefined;
  const at = Date.parse(time === undefined ? `${day}T00:00:00Z` : `${day}T${time}${zone ?? 'Z'}`);
  if (Number.isNaN(at)) return undefined;
  return time === undefined ? at + DAY_MS : at;
}
