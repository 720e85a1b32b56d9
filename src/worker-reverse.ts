import type { Logger } from 'pino';
import { createQueue, regionOfQueue } from './bus/queue.ts';
import type { Companion } from './capture/companion.ts';
import type { Config } from './config/schema.ts';
import { unionOf } from './core/pattern-union.ts';
import type { LocalBus } from './local-bus/local-bus.ts';
import { createQueueTarget } from './local-bus/queue-target.ts';
import type { ConnectionSettings } from './postgres/connection.ts';
import { openEngine } from './reverse/engine.ts';
import { ReverseSync } from './reverse/sync.ts';

/** The way back, as the composition root sees it. */
export interface WayBack {
  readonly sync: ReverseSync;
  /** Gives it the session that holds the slot. */
  readonly companion: Companion;
}

export interface WayBackOptions {
  readonly config: Config;
  readonly connection: ConnectionSettings;
  /** The embedded bus, if there is one. */
  readonly bus: LocalBus | undefined;
  readonly log: Logger;
}

/** undefined: not configured. On the embedded bus its queue and rule are made as well. */
export async function openWayBack({ config, connection, bus, log }: WayBackOptions): Promise<WayBack | undefined> {
  const { reverse } = config;
  if (reverse === undefined) return undefined;
  const isOnAws = regionOfQueue(reverse.queue) !== undefined;
  const embedded =
    bus === undefined || isOnAws || reverse.endpoint !== undefined ? undefined : await embeddedQueue(bus, config, log);
  const isLocal = config.bus.type === 'local' && !isOnAws;
  const sync = new ReverseSync({
    config,
    reverse,
    connection,
    openQueue: () =>
      createQueue({
        url: embedded ?? reverse.queue,
        endpoint: reverse.endpoint,
        region: reverse.region ?? bus?.region ?? (isLocal ? 'us-east-1' : undefined),
        // The embedded queues look at no signature, but the SDK wants to make one.
        ...(isLocal ? { credentials: { accessKeyId: 'local', secretAccessKey: 'local' } } : {}),
      }),
    openEngine,
    log,
  });
  return {
    sync,
    companion: {
      run: ({ ownWrites }, signal) =>
        sync.run(
          {
            selfTest: (pool, aborts) => ownWrites.selfTest(pool, aborts),
            caughtUp: (aborts) => ownWrites.caughtUp(aborts),
            onShape: (listener) => ownWrites.onShape(listener),
          },
          signal,
        ),
      answer: (request) => sync.answer(request),
    },
  };
}

/** With the name that the configured URL ends in, and a rule for what `reverse.apply` takes. Returns its URL. */
async function embeddedQueue(bus: LocalBus, { bus: { name }, reverse }: Config, log: Logger): Promise<string> {
  const queueName = reverse?.queue.split('/').at(-1) ?? '';
  const { queueUrl } = await createQueueTarget(bus, {
    busName: name,
    ruleName: `${queueName.replaceAll('.', '-')}-way-back`,
    pattern: unionOf((reverse?.apply ?? []).map(({ match }) => match)),
    queueName,
  });
  log.info({ queueUrl }, 'embedded bus: what reverse.apply takes goes into its queue');
  return queueUrl;
}
