import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { pino } from 'pino';
import { parseConfig } from '../src/config/load.ts';
import type { Config } from '../src/config/schema.ts';
import { openState } from '../src/state/state.ts';
import { startWorker } from '../src/worker.ts';
import { measure, runInChild, serveJob, type Usage } from './child.ts';
import { allDeleted, open } from './queue-stub.ts';
import { PUBLICATION, TABLE } from './bench-server.ts';
import { DETAIL_TYPE, SOURCE } from './reverse-events.ts';
import { WORKER_FLAGS } from './worker-flags.ts';

export interface ReverseRunJob {
  readonly url: string;
  readonly slot: string;
  readonly stateSchema: string;
  readonly queueUrl: string;
  readonly concurrency: number;
}

/** The whole worker, with the table that it writes captured too; measured from the first message to the last deletion. */
export function reverseRun(job: ReverseRunJob): Promise<Usage> {
  return runInChild('reverse-run.ts', { job, flags: WORKER_FLAGS });
}

async function run(job: ReverseRunJob): Promise<Usage> {
  // The SDK looks for credentials, and the stub at none.
  Object.assign(process.env, { AWS_ACCESS_KEY_ID: 'bench', AWS_SECRET_ACCESS_KEY: 'bench' });
  const loaded = await reverseConfig(job);
  await settle(job, loaded.config);
  const worker = await startWorker({ loaded, log: pino({ level: 'warn' }, pino.destination(2)), publisher: NOBODY });
  const halted = worker.halted.then((error) => {
    throw error;
  });
  while (worker.status().reverse?.state !== 'running') await Promise.race([sleep(20), halted]);
  const stop = measure();
  await open(job.queueUrl);
  await Promise.race([allDeleted(job.queueUrl), halted]);
  const usage = stop();
  await worker.stop();
  return usage;
}

/** The table has moved to where events are applied: nothing of the run is an event about a move. */
async function settle({ url }: ReverseRunJob, { name, state: { schema } }: Config): Promise<void> {
  const pool = new pg.Pool({ connectionString: url, max: 1 });
  try {
    const { stages } = await openState({ pool, connector: name, schema });
    await stages.set(TABLE, 'dual', 'bench');
  } finally {
    await pool.end();
  }
}

/** Nothing is to be published: what the worker writes back is an echo, all of it. */
const NOBODY = {
  publish: () => Promise.reject(new Error('the worker published what it wrote itself')),
  probe: () => Promise.resolve(),
  close: () => Promise.resolve(),
};

/** Of the worker, and the same for whoever compiles its statements. JSON is YAML. */
export function reverseConfig(job: ReverseRunJob): ReturnType<typeof parseConfig> {
  const text = JSON.stringify({
    name: 'bench',
    legacy: {
      url: job.url,
      slot: { name: job.slot, manage: false },
      publication: { name: PUBLICATION, manage: false },
    },
    state: { schema: job.stateSchema },
    bus: { type: 'eventbridge', name: 'bench', region: 'eu-west-1', endpoint: 'http://127.0.0.1:9' },
    capture: [{ table: TABLE }],
    reverse: {
      queue: job.queueUrl,
      region: 'eu-west-1',
      concurrency: job.concurrency,
      apply: [
        {
          match: { source: [SOURCE], 'detail-type': [DETAIL_TYPE] },
          table: TABLE,
          operation: 'upsert',
          key: { id: 'detail.orderId' },
          set: {
            customer_id: 'detail.customerId',
            status: 'detail.status',
            quantity: 'detail.quantity',
            unit_price: 'detail.unitPrice',
            paid: 'detail.paid',
            placed_at: 'detail.placedAt',
            note: 'detail.note',
          },
          version: 'detail.version',
        },
      ],
    },
    http: { port: 0 },
    log: { level: 'warn' },
  });
  return parseConfig(text, { file: undefined, env: {} });
}

if (import.meta.main) serveJob(run);
