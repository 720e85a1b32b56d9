import { runWorker } from '../worker.ts';
import { type CommandContext, type ExitCode, loadFor } from './context.ts';
import { createLogger } from './log.ts';
import { shutdownOnSignal } from './signals.ts';

/** The worker. Its log is the output; the exit code is what the worker says. */
export async function run(options: { exitOnHalt: boolean }, context: CommandContext): Promise<ExitCode> {
  const loaded = await loadFor(context);
  const log = createLogger({ level: loaded.config.log.level });
  using shutdown = shutdownOnSignal();
  return await runWorker({ loaded, log, signal: shutdown.signal, exitOnHalt: options.exitOnHalt });
}
