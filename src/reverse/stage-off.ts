import { BanyanError } from '../core/errors.ts';
import type { ApplyOutcome } from './intent.ts';

/** The table takes no events now. Thrown in the transaction of the try, so that nothing is left of it: not even the inbox says that the event was skipped. */
export class StageOff extends BanyanError {
  /** `schema.name` */
  readonly table: string;

  constructor(table: string) {
    super('usage', 'the stage of the table takes no events of the new system', {
      remedy: `ask again in another stage: \`banyan status\` shows that of ${table}`,
      context: { table },
    });
    this.table = table;
  }
}

/** For who ends a letter with its event: one that was skipped has not ended. */
export function refuseSkipped({ status }: ApplyOutcome, table: string): void {
  if (status === 'skipped') throw new StageOff(table);
}
