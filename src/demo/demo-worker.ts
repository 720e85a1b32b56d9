import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { loadConfig } from '../config/load.ts';
import type { LocalBus } from '../local-bus/local-bus.ts';
import { startWorker } from '../worker.ts';
import type { Screen } from './screen.ts';

const CONFIG_FILE = fileURLToPath(new URL('../../config/demo.yaml', import.meta.url));

export interface DemoWorkerOptions {
  readonly url: string;
  readonly bus: LocalBus;
  /** Where the new service's events wait for the way back. */
  readonly reverseQueueUrl: string;
  readonly screen: Screen;
}

/** The worker as `banyan run` starts it, with config/demo.yaml; what it logs from `warn` on appears on the screen. Disposing stops it. */
export async function startDemoWorker({ url, bus, reverseQueueUrl, screen }: DemoWorkerOptions) {
  const env = {
    ...process.env,
    LEGACY_DATABASE_URL: url,
    EVENTBRIDGE_ENDPOINT: bus.url,
    REVERSE_QUEUE_URL: reverseQueueUrl,
  };
  const loaded = await loadConfig({ file: CONFIG_FILE, env });
  const log = pino({ level: 'warn' }, { write: (line: string) => screen.say(line.trimEnd()) });
  const worker = await startWorker({ loaded, log });
  const halted = worker.halted.then((error) => {
    throw error;
  });
  try {
    // What is committed before the slot is there is in nobody's stream: the shop opens after it.
    while (worker.status().state !== 'streaming') await Promise.race([sleep(20), halted]);
  } catch (error) {
    await worker.stop();
    throw error;
  }
  return {
    /** `http://host:port` of its page. */
    url: worker.url,
    /** For commands that look for the worker where the configuration says. */
    env: { ...env, BANYAN_CONFIG: CONFIG_FILE, BANYAN_HTTP_PORT: new URL(worker.url).port },
    /** Rejects when the worker halts, which in a demo nobody is going to mend. */
    halted,
    backfills: () => worker.status().backfills,
    /** In a word, and why it waits or is halted. */
    state: () => {
      const { state, problem } = worker.status();
      return problem === undefined ? state : `${state}: ${problem.message}`;
    },
    [Symbol.asyncDispose]: () => worker.stop(),
  };
}
