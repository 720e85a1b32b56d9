import pg from 'pg';
import { measure, runInChild, serveJob, type Usage } from './child.ts';

export interface CopyOutJob {
  readonly url: string;
  /** `schema.name` */
  readonly table: string;
  readonly columns: readonly string[];
  /** The measurement ends with the last. */
  readonly rows: number;
}

/**
 * The reference of `backfill`: a `COPY` of the table through the same driver, each row split into its fields and nothing else. Measured from the first
 * row to the last, as on the other side.
 */
export function copyOut(job: CopyOutJob): Promise<Usage> {
  return runInChild('copy-out.ts', { job });
}

async function read(job: CopyOutJob): Promise<Usage> {
  let rows = 0;
  let fields = 0;
  let stop: (() => Usage) | undefined;
  const client = new pg.Client({ connectionString: job.url });
  await client.connect();
  try {
    const sql = `copy (select ${job.columns.join(', ')} from ${job.table}) to stdout`;
    await copyRows(client, sql, (row) => {
      stop ??= measure();
      rows += 1;
      fields += row.toString('utf8', 0, row.length - 1).split('\t').length;
    });
    const usage = stop?.();
    if (usage === undefined || rows !== job.rows || fields !== rows * job.columns.length) {
      throw new Error(`${rows} rows with ${fields} fields came instead of ${job.rows} rows`);
    }
    return usage;
  } finally {
    await client.end();
  }
}

/** Calls `onRow` with each CopyData message: one line, with its newline. */
function copyRows(client: pg.Client, sql: string, onRow: (row: Buffer) => void): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const submittable = {
    submit: (connection: pg.Connection) => connection.query(sql),
    handleCopyData: ({ chunk }: { chunk: Buffer }) => onRow(chunk),
    handleCommandComplete: () => undefined,
    handleReadyForQuery: () => resolve(),
    handleError: reject,
  };
  client.query(submittable);
  return promise;
}

if (import.meta.main) serveJob(read);
