import type { Server } from 'node:http';
import { Delivery } from './delivery.ts';
import type { DeliveryCounters } from './delivery.ts';
import { Faults } from './faults.ts';
import { operations } from './operations.ts';
import { putEvents } from './put-events.ts';
import type { AcceptedEvent, PutEventsEntry } from './put-events.ts';
import { listenError, startQueues } from './queues.ts';
import type { Queues } from './queues.ts';
import { RecentEvents } from './recent.ts';
import { Registry } from './registry.ts';
import { createBusServer } from './server.ts';
import { ServiceError } from './wire.ts';
import type { Caller, Input } from './wire.ts';

export interface LocalBusOptions {
  /** Default 127.0.0.1: nothing here checks a signature, so nobody else should reach it. */
  readonly host?: string;
  /** Default 0: any free one. */
  readonly port?: number;
  /** Port of the SQS endpoint; default: the one after `port`, or any free one. */
  readonly queuesPort?: number;
  /** Default 000000000000. */
  readonly account?: string;
  /** Region of callers who sign for none, and of `invoke`. Default us-east-1. */
  readonly region?: string;
  /** Aborting closes the bus. */
  readonly signal?: AbortSignal;
  /** false: no SQS endpoint, and no targets. Default true. */
  readonly queues?: boolean;
  /** Bytes of all entries of a request, counted as AWS does. Default 1,000,000. */
  readonly maxRequestBytes?: number;
  readonly log?: (line: string) => void;
}

export interface LocalBusCounters extends DeliveryCounters {
  /** Requests of the AWS protocol, whatever became of them (but for those that met the fault `down`). */
  requests: number;
  /** Entries of PutEvents that got an event id. */
  accepted: number;
  /** Entries that got an error code of their own. */
  rejected: number;
  /** Accepted for a bus that does not exist, and gone. */
  dropped: number;
}

export type AcceptedListener = (event: AcceptedEvent, entry: PutEventsEntry) => void;

/** A running EventBridge for one machine. */
export interface LocalBus {
  /** The endpoint for EventBridge clients. */
  readonly url: string;
  /** The endpoint for SQS clients; undefined where the bus was started without queues. */
  readonly queuesUrl: string | undefined;
  readonly account: string;
  readonly region: string;
  readonly faults: Faults;
  readonly counters: Readonly<LocalBusCounters>;
  /** Calls `listener` for every accepted event, in order, before the caller has the answer. Returns how to stop. */
  onAccepted(listener: AcceptedListener): () => void;
  /** The last accepted events, oldest first; at most 1,000 are kept. */
  recent(limit?: number): readonly AcceptedEvent[];
  /** One operation of EventBridge in this process, past the faults. Throws ServiceError. */
  invoke(operation: string, input: Input): unknown;
  /** One operation of SQS in this process. Throws ServiceError. */
  invokeQueues(action: string, input: Input): Promise<Input>;
  /** Resolves when every event accepted so far is in its queues, or counted as not delivered. */
  drained(): Promise<void>;
  /** Stops taking requests, delivers what was accepted, and closes. */
  close(): Promise<void>;
}

/** Starts the embedded bus, with queues beside it. Throws BanyanError where a port can not be had. */
export async function startLocalBus(options: LocalBusOptions = {}): Promise<LocalBus> {
  const { host = '127.0.0.1', port = 0, account = '000000000000', region = 'us-east-1', signal } = options;
  const { queues: withQueues = true, maxRequestBytes = 1_000_000, log = () => undefined } = options;
  signal?.throwIfAborted();
  const queuesPort = options.queuesPort ?? (port === 0 ? 0 : port + 1);
  const queues = withQueues ? await tryQueues({ host, port: queuesPort, region }) : undefined;
  const caller: Caller = { account, region };
  const state = createState(queues, log);
  const { registry, faults, counters, recent } = state;

  const server = createBusServer({
    faults,
    caller,
    log,
    // JSON escapes can make a body several times as long as what it holds.
    maxBodyBytes: 8 * maxRequestBytes,
    health: () => ({ account, region, buses: registry.size, queuesUrl: queues?.url, counters, held: faults.held }),
    recent: (limit) => recent.last(limit),
    onRequest: () => counters.requests++,
    invoke: (operation, input, from) => invoke(state, { operation, input, caller: from, maxRequestBytes }),
  });
  try {
    await listen(server, { host, port });
  } catch (error) {
    await queues?.close();
    throw listenError(`the embedded bus on ${host}:${port}`, error);
  }

  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => (closing ??= closeAll(server, state));
  const closeOnAbort = (): void => {
    close().catch((error: unknown) => log(`closing the bus failed: ${String(error)}`));
  };
  signal?.addEventListener('abort', closeOnAbort, { once: true });

  return {
    url: urlOf(server, host),
    queuesUrl: queues?.url,
    account,
    region,
    faults,
    counters,
    onAccepted(listener) {
      state.listeners.add(listener);
      return () => void state.listeners.delete(listener);
    },
    recent: (limit = 100) => recent.last(limit),
    invoke: (operation, input) => {
      const unfaulted = { ...state, faults: undefined };
      return invoke(unfaulted, { operation, input, caller, maxRequestBytes });
    },
    async invokeQueues(action, input) {
      if (queues === undefined) throw new ServiceError('InvalidAction', 'This bus was started without queues.');
      return await queues.call(action, input, region);
    },
    async drained() {
      await state.delivery?.drained();
    },
    async close() {
      signal?.removeEventListener('abort', closeOnAbort);
      await close();
    },
  };
}

interface State {
  readonly registry: Registry;
  readonly faults: Faults;
  readonly counters: LocalBusCounters;
  readonly recent: RecentEvents;
  readonly listeners: Set<AcceptedListener>;
  readonly queues: Queues | undefined;
  readonly delivery: Delivery | undefined;
}

function createState(queues: Queues | undefined, log: (line: string) => void): State {
  const counters = {
    requests: 0,
    accepted: 0,
    rejected: 0,
    dropped: 0,
    delivered: 0,
    denied: 0,
    failed: 0,
    deadLettered: 0,
  };
  return {
    registry: new Registry(),
    faults: new Faults(),
    counters,
    recent: new RecentEvents(),
    listeners: new Set(),
    queues,
    delivery: queues === undefined ? undefined : new Delivery(queues, { counters, log }),
  };
}

interface Invocation {
  readonly operation: string;
  readonly input: Input;
  readonly caller: Caller;
  readonly maxRequestBytes: number;
}

type InvokeState = Omit<State, 'faults'> & { readonly faults: Faults | undefined };

function invoke(state: InvokeState, { operation, input, caller, maxRequestBytes }: Invocation): unknown {
  const { registry, delivery, counters } = state;
  if (operation !== 'PutEvents') {
    const run = operations.get(operation);
    if (run === undefined) {
      throw new ServiceError('UnknownOperationException', `The embedded bus does not know the operation ${operation}.`);
    }
    return run(input, { registry, caller, hasQueues: delivery !== undefined });
  }
  const failEntry = (): ReturnType<Faults['entryFailure']> => state.faults?.entryFailure();
  const { results, routed } = putEvents(input, { registry, caller, maxRequestBytes, failEntry });
  counters.accepted += routed.length;
  counters.rejected += results.length - routed.length;
  for (const one of routed) {
    if (one.event.dropped) counters.dropped++;
    state.recent.add(one.event);
    for (const listener of state.listeners) listener(one.event, one.entry);
    delivery?.route(one);
  }
  return { FailedEntryCount: results.length - routed.length, Entries: results };
}

async function tryQueues(options: { host: string; port: number; region: string }): Promise<Queues> {
  try {
    return await startQueues(options);
  } catch (error) {
    throw listenError(`the queues of the embedded bus on ${options.host}:${options.port}`, error);
  }
}

async function listen(server: Server, address: { readonly host: string; readonly port: number }): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen(address.port, address.host, resolve);
  try {
    await promise;
  } finally {
    server.removeListener('error', reject);
  }
}

/** In this order: no new requests, nobody held, everything accepted delivered, connections cut. */
async function closeAll(server: Server, { faults, delivery, queues }: State): Promise<void> {
  const closed = Promise.withResolvers<void>();
  server.close(() => closed.resolve());
  faults.clear();
  server.closeIdleConnections();
  await delivery?.drained();
  server.closeAllConnections();
  await closed.promise;
  await queues?.close();
}

function urlOf(server: Server, host: string): string {
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}
