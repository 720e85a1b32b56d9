import { EventBridgeClient, PutEventsCommand, type PutEventsRequestEntry } from '@aws-sdk/client-eventbridge';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { Agent } from 'node:http';
import { measure, runInChild, serveJob, type Usage } from './child.ts';
import type { RecordedEntry } from './eventbridge-stub.ts';
import { WORKER_FLAGS } from './worker-flags.ts';

export interface SdkAloneJob {
  readonly endpoint: string;
  /** Sent over and over. */
  readonly batches: readonly (readonly RecordedEntry[])[];
  readonly entries: number;
  readonly concurrency: number;
}

/**
 * The reference: PutEvents by the SDK with batches that are there already, as many calls in flight as the worker has. The client has the worker's
 * settings, timeouts included (whoever leaves them out hangs with the first lost answer), and the process its memory limits.
 */
export function sdkAlone(job: SdkAloneJob): Promise<Usage> {
  return runInChild('sdk-alone.ts', { job, flags: WORKER_FLAGS });
}

async function send(job: SdkAloneJob): Promise<Usage> {
  const client = new EventBridgeClient({
    endpoint: job.endpoint,
    region: 'eu-west-1',
    credentials: { accessKeyId: 'bench', secretAccessKey: 'bench' },
    maxAttempts: 1,
    requestHandler: new NodeHttpHandler({
      connectionTimeout: 3_000,
      requestTimeout: 10_000,
      throwOnRequestTimeout: true,
      httpAgent: new Agent({ keepAlive: true, maxSockets: job.concurrency }),
    }),
  });
  const batches = job.batches.map((batch) => batch.map(entryOf));
  let next = 0;
  let sent = 0;
  const lane = async () => {
    while (sent < job.entries) {
      const batch = batches[next++ % batches.length];
      if (batch === undefined) throw new Error('no batches to send');
      sent += batch.length;
      await client.send(new PutEventsCommand({ Entries: batch }));
    }
  };
  const stop = measure();
  await Promise.all(Array.from({ length: job.concurrency }, lane));
  const usage = stop();
  client.destroy();
  return usage;
}

function entryOf({ Time, Resources, ...entry }: RecordedEntry): PutEventsRequestEntry {
  return {
    ...entry,
    ...(Resources === undefined ? {} : { Resources: [...Resources] }),
    ...(Time === undefined ? {} : { Time: new Date(Time * 1_000) }),
  };
}

if (import.meta.main) serveJob(send);
