import { runInChild, serveJob } from './child.ts';
import { openRawStream, type RawStreamJob } from './raw-stream.ts';

const COMMIT = 0x43;
/** Commit times count from 2000-01-01 UTC. */
const POSTGRES_EPOCH_MS = 946_684_800_000;

/** The reference of `latency`: milliseconds from a transaction's commit time to the arrival of its Commit message, undecoded; one per transaction. */
export function rawLatency(job: RawStreamJob): Promise<readonly number[]> {
  return runInChild('raw-latency.ts', { job });
}

async function measureArrivals(job: RawStreamJob): Promise<readonly number[]> {
  const latenciesMs: number[] = [];
  await using stream = openRawStream(job, (message, done) => {
    if (message[0] !== COMMIT) return;
    // 'C', flags, commit LSN, end LSN, then the commit time in microseconds.
    const committedAtMs = POSTGRES_EPOCH_MS + Number(message.readBigInt64BE(18)) / 1_000;
    latenciesMs.push(performance.timeOrigin + performance.now() - committedAtMs);
    if (latenciesMs.length === job.rows) done();
  });
  await stream.done;
  return latenciesMs;
}

if (import.meta.main) serveJob(measureArrivals);
