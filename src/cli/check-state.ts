import type { Config } from '../config/schema.ts';
import { BanyanError, policies } from '../core/errors.ts';
import type { Finding } from '../core/finding.ts';
import { requireMigrated } from '../state/migrate.ts';
import { readState } from '../state/state.ts';
import { count } from './output.ts';
import { withStatePool } from './with-state.ts';

/** What an earlier run left for a person to decide. Nothing where no worker ever ran. */
export async function checkState(config: Config): Promise<Finding[]> {
  return withStatePool(config, async (pool) => {
    const options = { pool, connector: config.name, schema: config.state.schema };
    try {
      await requireMigrated(options);
    } catch (error) {
      // Not there yet, or older: `run` makes it. What a role may not do there, preflight has said.
      if (error instanceof BanyanError && (error.kind === 'preflight' || error.kind === 'database-privilege'))
        return [];
      throw error;
    }
    const state = await readState(options);
    const findings = (await state.gaps.open()).map((gap): Finding => ({
      code: 'GAP_OPEN',
      severity: 'error',
      subject: gap.subject,
      message: `a gap is open since ${gap.detectedAt}: ${textOf(gap.report['message']) ?? gap.kind}`,
      remedy: policies.gap.remedy,
    }));
    const { parked, groups } = await state.deadLetters.counts();
    if (parked > 0) {
      findings.push({
        code: 'DEAD_LETTERS_PARKED',
        severity: 'warning',
        subject: 'dead letters',
        message: `${count(parked, 'change')} of ${count(groups, 'key')} wait in dead_letter`,
        remedy: 'banyan dead-letters list',
      });
    }
    const back = await state.reverseLetters.counts();
    if (back.parked > 0) {
      findings.push({
        code: 'EVENTS_PARKED',
        severity: 'warning',
        subject: 'dead letters',
        message: `${count(back.parked, 'event')} of ${count(back.groups, 'key')} wait in dead_letter for a person`,
        remedy: 'banyan dead-letters list --direction reverse',
      });
    }
    const conflicts = await state.conflicts.countOpen();
    if (conflicts > 0) {
      findings.push({
        code: 'CONFLICTS_OPEN',
        severity: 'warning',
        subject: 'conflicts',
        message: `${count(conflicts, 'conflict waits', 'conflicts wait')} for a person to decide`,
        remedy: 'banyan conflicts list --open',
      });
    }
    return findings;
  });
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
