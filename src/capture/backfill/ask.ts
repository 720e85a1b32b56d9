import { z } from 'zod';
import { BanyanError } from '../../core/errors.ts';
import { nearest } from '../../core/nearest.ts';
import type { BackfillRun } from '../../state/backfills.ts';
import type { WorkerRequest } from '../../state/requests.ts';
import type { LiveSession } from '../upkeep.ts';

const askedSchema = z.strictObject({
  action: z.enum(['start', 'pause', 'resume', 'restart']),
  table: z.string(),
  where: z.string().optional(),
});

/** What a person asks of a table's backfill; answers the run as it is now. */
export async function askBackfill(request: WorkerRequest, session: LiveSession): Promise<BackfillRun> {
  const parsed = askedSchema.safeParse(request.arguments);
  if (!parsed.success) throw new BanyanError('usage', 'the request backfill does not say what is to be done');
  const { action, table, where } = parsed.data;
  // A pause must work also while the mapping does not.
  if (action !== 'pause') refuseUnknown(table, session);
  const { backfills } = session.state;
  const [last] = await backfills.latest(table);
  switch (action) {
    case 'restart':
      if (last !== undefined) await backfills.move(last.id, 'replaced', ['waiting', 'running', 'paused'], 'restarted');
      return created(
        await backfills.create({ table, where: where ?? last?.where, requestedBy: request.requestedBy }),
        last,
      );
    case 'start':
      return created(await backfills.create({ table, where, requestedBy: request.requestedBy }), last);
    case 'pause':
      return moved(last, { session, table, to: 'paused', from: ['waiting', 'running'] });
    default:
      return moved(last, {
        session,
        table,
        to: last?.startedAt === undefined ? 'waiting' : 'running',
        // A run that failed was not watched since: going on where it was would leave out what moved meanwhile.
        from: ['paused'],
      });
  }
}

function refuseUnknown(table: string, { factory }: LiveSession): void {
  const captured = factory.captured.map((each) => `${each.table.schema}.${each.table.name}`);
  if (!captured.includes(table)) {
    const near = nearest(table, captured);
    throw new BanyanError(
      'usage',
      `${table} is not captured${near === undefined ? '' : `; the nearest that is: ${near}`}`,
    );
  }
  const reads = factory.compileNow(table).some(({ takesReads }) => takesReads);
  if (!reads) {
    throw new BanyanError('usage', `the rows of ${table} would become no event: no rule of its emit takes \`read\``, {
      remedy: 'add { on: read, detailType: … } to its emit and restart',
    });
  }
}

function created(run: BackfillRun | undefined, last: BackfillRun | undefined): BackfillRun {
  if (run !== undefined) return run;
  throw new BanyanError(
    'usage',
    `${last?.table ?? 'the table'} has a backfill already: run ${last?.id} is ${last?.status}`,
    {
      remedy: 'wait for it, or give it up and begin anew with --restart',
    },
  );
}

async function moved(
  run: BackfillRun | undefined,
  step: {
    session: LiveSession;
    table: string;
    to: BackfillRun['status'];
    from: readonly BackfillRun['status'][];
  },
): Promise<BackfillRun> {
  const { backfills } = step.session.state;
  if (run === undefined) throw new BanyanError('usage', `${step.table} has no backfill`);
  if (!(await backfills.move(run.id, step.to, step.from))) {
    throw new BanyanError(
      'usage',
      `run ${run.id} of ${step.table} is ${run.status}, and can not be ${step.to === 'paused' ? 'paused' : 'resumed'}`,
      { remedy: run.status === 'failed' ? 'begin anew with --restart' : '`banyan backfill` lists the runs' },
    );
  }
  return { ...run, status: step.to };
}
