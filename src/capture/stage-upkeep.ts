import type { Logger } from 'pino';
import { isTableCapture } from '../config/schema.ts';
import { BanyanError, toBanyanError } from '../core/errors.ts';
import { type Lsn, ZERO_LSN } from '../core/lsn.ts';
import type { Stage } from '../core/progress.ts';
import { type AutomaticFacts, automaticStage, BY_ITSELF, FIRST_STAGE } from '../core/stages.ts';
import type { BackfillStatus } from '../state/backfills.ts';
import { seldom } from './seldom.ts';
import type { LiveSession } from './upkeep.ts';

/** Between two looks for changes that a command could not announce, where the state is in another database. */
const ANNOUNCE_MS = 60_000;
const OPEN: ReadonlySet<BackfillStatus> = new Set(['waiting', 'running', 'paused']);

type Session = Pick<LiveSession, 'config' | 'pool' | 'state' | 'factory' | 'progress' | 'backfills'>;

/** Moves captured tables as far as they go by themselves. Whoever only looks at memory asks the database nothing: it is asked when something changed. */
export class StageUpkeep {
  readonly #session: Session;
  readonly #log: Logger;
  /** undefined: to be read anew. */
  #stages: Map<string, Stage> | undefined;
  #since: ReadonlyMap<string, Lsn> | undefined;
  /** What the database was asked about last. */
  #seen = '';
  #announceAtMs = 0;
  readonly #complain: (facts: object) => void;

  constructor(session: Session, log: Logger) {
    this.#complain = seldom((facts) => log.error(facts, 'tables do not go to their next stage by themselves'));
    this.#session = session;
    this.#log = log;
  }

  /** Never rejects but for what passes by itself: whatever a table's stage needs, its changes must go on. */
  async look(): Promise<void> {
    try {
      await this.#moveAll();
    } catch (error) {
      const failure = toBanyanError(error, 'moving tables to their next stage');
      if (failure.reaction === 'retry') throw failure;
      const { kind, code, message, remedy } = failure;
      this.#complain({ kind, code, remedy, reason: message });
      this.#stages = undefined;
    }
  }

  async #moveAll(): Promise<void> {
    const { state, factory, pool } = this.#session;
    if (pool !== state.scope.pool && performance.now() >= this.#announceAtMs) {
      await state.stageChanges.announce(pool);
      this.#announceAtMs = performance.now() + ANNOUNCE_MS;
    }
    const stages = (this.#stages ??= new Map((await state.stages.list()).map(({ table, stage }) => [table, stage])));
    this.#since ??= new Map(
      (await state.tables.list()).map(({ table, publishedSinceLsn }) => [table, publishedSinceLsn]),
    );
    const open = factory.captured
      .map(({ table, entries }) => ({ table: `${table.schema}.${table.name}`, entries }))
      .filter(({ table }) => isAutomatic(stages.get(table)) && this.#isCovered(table));
    if (open.length === 0) return;
    const runs = this.#session.backfills.map(({ table, run, status }) => `${table} ${run} ${status}`);
    const seen = JSON.stringify([open.map(({ table }) => table), runs]);
    if (seen === this.#seen) return;
    const latest = new Map((await state.backfills.latest()).map((run) => [run.table, run.status]));
    for (const { table, entries } of open) {
      const isAsked = entries.some(({ entry }) => isTableCapture(entry) && entry.backfill);
      const backfill = await this.#backfillOf(table, { isAsked, status: latest.get(table) });
      if (!(await this.#move(table, backfill))) return;
    }
    this.#seen = seen;
  }

  /** What was written before the table was published is in nobody's stream. */
  #isCovered(table: string): boolean {
    const { receivedLsn } = this.#session.progress;
    return (receivedLsn ?? ZERO_LSN) >= (this.#since?.get(table) ?? ZERO_LSN);
  }

  async #backfillOf(
    table: string,
    { isAsked, status }: { readonly isAsked: boolean; readonly status: BackfillStatus | undefined },
  ): Promise<AutomaticFacts['backfill']> {
    if (status !== undefined && OPEN.has(status)) return 'open';
    if (status !== undefined && (await this.#session.state.backfills.coverage(table)) !== undefined) return 'done';
    return isAsked || status === 'failed' ? 'open' : 'not-asked';
  }

  /** False: somebody else moved it meanwhile, so that nothing that is known here counts any more. */
  async #move(table: string, backfill: AutomaticFacts['backfill']): Promise<boolean> {
    const { state, pool } = this.#session;
    for (;;) {
      const from = this.#stages?.get(table) ?? FIRST_STAGE;
      const to = automaticStage({ stage: from, isCovered: true, backfill });
      if (to === undefined) return true;
      try {
        await state.stageChanges.move({ table, from, to, actor: BY_ITSELF, verdict: undefined }, pool);
      } catch (error) {
        if (!(error instanceof BanyanError) || error.kind !== 'usage') throw error;
        this.#stages = undefined;
        return false;
      }
      this.#stages?.set(table, to);
      this.#announceAtMs = 0;
      this.#log.info({ table, from, to }, `stage of ${table}: ${to}`);
    }
  }
}

function isAutomatic(stage: Stage = FIRST_STAGE): boolean {
  return automaticStage({ stage, isCovered: true, backfill: 'done' }) !== undefined;
}
