import { type BedOptions, type DatabaseServer, makeBed, type RunningWorker, type WorkerBed } from './worker-harness.ts';

export interface ReverseWorkerBed extends WorkerBed {
  readonly queue: NonNullable<WorkerBed['queue']>;
  /** Waits until reverse sync runs. */
  startRunning(config: Parameters<WorkerBed['start']>[0]): Promise<RunningWorker>;
}

/** A bed with a queue for the way back. */
export async function makeReverseWorkerBed(server: DatabaseServer, options: BedOptions): Promise<ReverseWorkerBed> {
  const bed = await makeBed(server, { ...options, queues: true });
  const { queue } = bed;
  if (queue === undefined) throw new TypeError('a bed with queues has no queue');
  return Object.assign(bed, {
    queue,
    async startRunning(config: Parameters<WorkerBed['start']>[0]) {
      const worker = await bed.start(config);
      await worker.until('reverse sync runs', ({ reverse }) => reverse?.state === 'running');
      return worker;
    },
  });
}

export interface EventFields {
  readonly id: string;
  readonly type: string;
  readonly detail: object;
  readonly source?: string;
  readonly time?: string;
  readonly replayName?: string;
}

let envelopes = 0;

/** The body of a message, as EventBridge makes it. The envelope's own id is another one each time. */
export function bodyOf({ id, type, detail, source = 'shop.orders', time, replayName }: EventFields): string {
  envelopes += 1;
  return JSON.stringify({
    version: '0',
    id: `00000000-0000-4000-8000-${String(envelopes).padStart(12, '0')}`,
    'detail-type': type,
    source,
    account: '000000000000',
    time: time ?? new Date().toISOString().replace(/\.\d+/, ''),
    region: 'us-east-1',
    resources: [],
    ...(replayName === undefined ? {} : { 'replay-name': replayName }),
    detail: { metadata: { id }, ...detail },
  });
}

/** A table whose events can be applied, or can not: a row of status `bad` is refused for its own fault. */
export const ORDERS = {
  setup: 'create table orders (id integer primary key, status text check (status <> $$bad$$))',
  capture: [{ table: 'public.orders' }],
  entry: {
    match: { source: ['shop.orders'] },
    table: 'public.orders',
    operation: 'upsert',
    key: { id: 'detail.id' },
    set: { status: 'detail.status' },
    version: 'detail.version',
    conflict: 'new-wins',
  },
  order: (id: number, status = 'good', version = 1): string =>
    bodyOf({ id: `order-${id}-${version}`, type: 'Order', detail: { id, version, status } }),
};
