import {
  DescribeEventBusCommand,
  EventBridgeClient,
  type EventBridgeClientConfig,
  PutEventsCommand,
  type PutEventsRequestEntry,
  type PutEventsResultEntry,
} from '@aws-sdk/client-eventbridge';
import type { Logger } from 'pino';
import { BanyanError } from '../core/errors.ts';
import type { Event } from '../core/event.ts';
import { abortReason } from '../flow/supervise.ts';
import { toEntry } from './entry.ts';
import { entryError, requestFailure } from './eventbridge-errors.ts';
import { httpHandler, makeLean } from './lean-client.ts';
import { ACCEPTED, type Outcome, type Publisher } from './publisher.ts';
import { Sha256 } from './sha256.ts';

export interface EventBridgeOptions {
  readonly region: string;
  /** Another endpoint than the region's, such as the embedded bus. */
  readonly endpoint?: string | undefined;
  /** Name or ARN of the bus for events that name none. */
  readonly busName: string;
  /** Calls that may be in flight: as many sockets are kept. */
  readonly concurrency: number;
  /** After this long a call without an answer is ended. */
  readonly requestTimeoutMs: number;
  /** Default: the SDK's chain (environment, shared files, container, instance). */
  readonly credentials?: NonNullable<EventBridgeClientConfig['credentials']> | undefined;
  readonly log: Logger;
}

/**
 * Amazon EventBridge by the AWS SDK. It retries nothing: the caller does, since only it knows the order of keys.
 *
 * Events for a bus that does not exist are taken and dropped without a word by PutEvents, so each bus is described once before
 * the first event goes to it.
 */
export function createEventBridgePublisher(options: EventBridgeOptions): Publisher {
  const { busName, log } = options;
  const client = createClient(options);
  const putEntries = entriesSender(client);
  const verified = new Set<string>();
  let mayDescribe = true;

  async function describe(bus: string, signal: AbortSignal): Promise<void> {
    try {
      await client.send(new DescribeEventBusCommand({ Name: bus }), { abortSignal: signal });
    } catch (thrown) {
      if (signal.aborted) throw abortReason(signal);
      // Also where it was there before: a bus that is deleted under us must not swallow events.
      verified.delete(bus);
      const { error, fault } = requestFailure(thrown, 'describing the event bus');
      // A name that it refuses is as good as a bus that is not there; nothing of an event is in this request.
      if (fault !== undefined) throw new BanyanError('bus-missing', error.message, { cause: error });
      if (error.kind !== 'bus-unauthorized') throw error;
      // A role with least privilege may put events and describe nothing: whether it may put is for PutEvents to say.
      if (mayDescribe) {
        log.warn(
          { code: error.code },
          'not allowed to describe the event bus: a missing one would lose events unnoticed',
        );
      }
      mayDescribe = false;
    }
    verified.add(bus);
  }

  async function put(events: readonly Event[], signal: AbortSignal): Promise<readonly Outcome[]> {
    let results: readonly PutEventsResultEntry[];
    try {
      const entries = events.map((event) => toEntry(event, busName));
      results = await putEntries(entries, signal);
    } catch (thrown) {
      if (signal.aborted) throw abortReason(signal);
      const { error, fault } = requestFailure(thrown, 'putting events');
      if (fault === undefined || events.length === 1) return failed(events, error);
      return putParts(events, { parts: fault === 'too-large' ? 2 : events.length, signal });
    }
    if (results.length !== events.length) {
      const message = `EventBridge answered ${results.length} results for ${events.length} entries`;
      return failed(events, new BanyanError('unknown', message));
    }
    return results.map(outcomeOf);
  }

  /** The request as a whole was refused because of what is in it: smaller ones show which entry it is, and the others pass. */
  async function putParts(
    events: readonly Event[],
    { parts, signal }: { parts: number; signal: AbortSignal },
  ): Promise<readonly Outcome[]> {
    const size = Math.ceil(events.length / parts);
    const outcomes: Outcome[] = [];
    for (let at = 0; at < events.length; at += size) {
      outcomes.push(...(await put(events.slice(at, at + size), signal)));
    }
    return outcomes;
  }

  return {
    async publish(events, signal) {
      const bus = events[0]?.bus ?? busName;
      if (!verified.has(bus)) {
        try {
          await describe(bus, signal);
        } catch (error) {
          if (error instanceof BanyanError) return failed(events, error);
          throw error;
        }
      }
      return put(events, signal);
    },
    probe: (signal) => describe(busName, signal),
    close: async () => client.destroy(),
  };
}

/**
 * PutEvents through the client's middleware, resolved once for each signal instead of once a call. The client has `cacheMiddleware` for that,
 * but leaves out calls with options, and ours have a signal; all calls of a session have the same one.
 */
function entriesSender(client: EventBridgeClient) {
  const handlers = new WeakMap<AbortSignal, ReturnType<PutEventsCommand['resolveMiddleware']>>();
  return async (entries: PutEventsRequestEntry[], signal: AbortSignal): Promise<readonly PutEventsResultEntry[]> => {
    const command = new PutEventsCommand({ Entries: entries });
    let handler = handlers.get(signal);
    if (handler === undefined) {
      handler = command.resolveMiddleware(client.middlewareStack, client.config, { abortSignal: signal });
      handlers.set(signal, handler);
    }
    return (await handler(command)).output.Entries ?? [];
  };
}

function createClient(options: EventBridgeOptions): EventBridgeClient {
  const { region, endpoint, credentials, concurrency, requestTimeoutMs, log } = options;
  const client = new EventBridgeClient({
    region,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(credentials === undefined ? {} : { credentials }),
    sha256: Sha256,
    requestHandler: httpHandler({ maxSockets: concurrency, requestTimeoutMs, warn: warnOf(log) }),
  });
  makeLean(client);
  return client;
}

function warnOf(log: Logger) {
  return (text: unknown): void => {
    if (typeof text === 'string') log.warn(text);
  };
}

function outcomeOf({ EventId, ErrorCode }: PutEventsResultEntry): Outcome {
  if (ErrorCode !== undefined) return { status: 'rejected', error: entryError(ErrorCode) };
  if (EventId !== undefined) return ACCEPTED;
  return {
    status: 'rejected',
    error: new BanyanError('unknown', 'EventBridge answered an entry with neither id nor error'),
  };
}

function failed(events: readonly Event[], error: BanyanError): readonly Outcome[] {
  return events.map(() => ({ status: 'rejected', error }));
}
