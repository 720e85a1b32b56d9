import { pino } from 'pino';
import type { Publisher } from '../../src/bus/publisher.ts';
import { openPools } from '../../src/capture/pools.ts';
import { noProgress } from '../../src/capture/pipeline.ts';
import { runSession } from '../../src/capture/session.ts';
import { type LiveSession, UPKEEP } from '../../src/capture/upkeep.ts';
import { parseConfig } from '../../src/config/load.ts';
import { noContracts } from '../../src/mapping/contract.ts';
import { connectionOf } from '../../src/worker.ts';
import { settleStages } from './settled-stages.ts';

export interface Streaming extends AsyncDisposable {
  readonly session: LiveSession;
  /** As a worker that stops: drains and confirms. */
  stop(): Promise<void>;
}

/** One capture session by itself, without a worker around it, for what only those see who run beside it. */
export async function streamSession(config: object, publisher: Publisher): Promise<Streaming> {
  const loaded = await parseConfig(JSON.stringify(config), { file: undefined, env: {} });
  const log = pino({ level: process.env['BANYAN_TEST_LOG'] ?? 'silent' });
  const connection = connectionOf(loaded.config);
  await settleStages({ url: connection.url, name: loaded.config.name }, loaded.config.reverse?.apply);
  const pools = openPools(loaded.config, { connection, log });
  const stopping = new AbortController();
  const live = Promise.withResolvers<LiveSession>();
  const options = {
    config: loaded.config,
    connection,
    pool: pools.pool,
    statePool: pools.statePool,
    backfillPool: pools.backfillPool,
    files: { transforms: new Map(), contracts: noContracts },
    publisher,
    progress: noProgress(),
    onStreaming: live.resolve,
    companions: [],
    intervals: { ...UPKEEP, observeMs: 100, requestsMs: 100 },
    signal: stopping.signal,
    log,
  };
  const ended = runSession(options);
  ended.catch(live.reject);
  const stop = async () => {
    stopping.abort();
    await ended;
  };
  try {
    const session = await live.promise;
    return {
      session,
      stop,
      async [Symbol.asyncDispose]() {
        await stop();
        await pools[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await pools[Symbol.asyncDispose]();
    throw error;
  }
}
