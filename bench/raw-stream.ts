import type { Client } from 'pg';
import plr from 'pg-logical-replication';
import { measure, runInChild, serveJob, type Usage } from './child.ts';

export interface RawStreamJob {
  readonly url: string;
  readonly slot: string;
  readonly publication: string;
  /** How many rows are to come; the measurement ends with the last. */
  readonly rows: number;
}

const INSERT = 0x49;
const UPDATE = 0x55;
const DELETE = 0x44;

/**
 * The reference: what pg-logical-replication gives when nobody looks at the bytes. Measured from the first row to the last, so connecting
 * and the server's first reading of the WAL are not in it (nor are they on the other side).
 */
export function rawStream(job: RawStreamJob): Promise<Usage> {
  return runInChild('raw-stream.ts', { job });
}

async function read(job: RawStreamJob): Promise<Usage> {
  let rows = 0;
  let stop: (() => Usage) | undefined;
  let usage: Usage | undefined;
  await using stream = openRawStream(job, (message, done) => {
    const kind = message[0];
    if (kind !== INSERT && kind !== UPDATE && kind !== DELETE) return;
    stop ??= measure();
    rows += 1;
    if (rows < job.rows) return;
    usage = stop();
    done();
  });
  await stream.done;
  if (usage === undefined) throw new Error('the stream ended before its last row');
  return usage;
}

/** Calls `onMessage` with the bytes of every pgoutput message (valid only during the call) until it calls `done`. Confirms nothing. */
export function openRawStream(job: RawStreamJob, onMessage: (message: Buffer, done: () => void) => void) {
  const service = new plr.LogicalReplicationService(
    { connectionString: job.url },
    { acknowledge: { auto: false, timeoutSeconds: 0 } },
  );
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  service.on('data', (_lsn: string, message: Buffer) => onMessage(message, resolve));
  service.on('error', reject);
  service.subscribe(undecodedPlugin(job.publication), job.slot).catch(reject);
  return {
    done: promise,
    [Symbol.asyncDispose]: async () => {
      await service.destroy();
    },
  };
}

/** pgoutput as the worker asks for it, with a `parse` that hands the bytes on. */
function undecodedPlugin(publication: string) {
  return {
    name: 'pgoutput',
    options: {},
    parse: (buffer: Buffer) => buffer,
    start: (client: Client, slot: string, lastLsn: string) =>
      client.query(
        `START_REPLICATION SLOT "${slot}" LOGICAL ${lastLsn} (proto_version '1', publication_names '${publication}', messages 'true')`,
      ),
  };
}

if (import.meta.main) serveJob(read);
