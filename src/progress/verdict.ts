import type { Gate, TargetStage, Verdict, VerdictResult } from '../core/progress.ts';
import { BanyanError } from '../core/errors.ts';
import { measure } from './gates.ts';
import { gatesOf } from './stages.ts';
import type { Facts, TableFacts } from './table-facts.ts';

/** Whether a table may move now, by the facts as they are and as old as they are. */
export function judge(facts: Facts, name: string, to: TargetStage, now: Date): Verdict {
  const table = facts.tables.get(name);
  if (table === undefined) {
    throw new BanyanError('usage', `there is no table ${name} that the configuration captures or writes`, {
      remedy: '`banyan status` lists them',
    });
  }
  const from = table.stage;
  const gates = gatesOf(from, to, waysOf(table)).map((code) => measure(code, { facts, table, from, to, now }));
  return { table: name, from, to, result: combine(gates), at: now.toISOString(), gates };
}

/** What the configuration does with the table, and what was done with it by command. */
export function waysOf(table: TableFacts): { captured: boolean; reversed: boolean; backfill: boolean } {
  const { captured, reversed, backfillWanted, backfill } = table;
  return { captured, reversed, backfill: backfillWanted || backfill.whole !== undefined };
}

/** Ready by evidence, or by what a person put instead of it in the open. What is not known never counts as good. */
export function combine(gates: readonly Gate[]): VerdictResult {
  const asked = gates.filter(({ waiver }) => waiver === undefined);
  if (asked.some(({ result }) => result === 'fail')) return 'not-ready';
  return asked.every(({ result }) => result === 'pass') ? 'ready' : 'unknown';
}
