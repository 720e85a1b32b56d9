import type { LoadedConfig } from '../config/load.ts';
import type { Environment } from '../config/environment.ts';
import type { Output } from './output.ts';

/** The process around a command line. */
export interface Io {
  readonly env: Environment;
  readonly stdout: NodeJS.WritableStream;
  readonly stderr: NodeJS.WritableStream;
}

/** What every command is given beside its own options. */
export interface CommandContext {
  /** `--config`; undefined: see `loadConfig`. */
  readonly configFile: string | undefined;
  readonly env: Environment;
  readonly output: Output;
}

/** Exit codes that scripts and orchestrators rely on. */
export const ExitCode = {
  ok: 0,
  unexpected: 1,
  /** Usage or configuration. */
  usage: 2,
  /** Not now: another worker is there, or none; the database is away. */
  notReady: 3,
  unknownVerdict: 4,
  /** What a person must mend first. */
  preflight: 5,
  /** Only with `--exit-on-halt`. */
  halted: 6,
} as const;
export type ExitCode = number;

/** How a person calls us here: `banyan`, or `npm run banyan --` in a checkout. */
export function invocation(env: Environment): string {
  return env['npm_lifecycle_event'] === 'banyan' ? 'npm run banyan --' : 'banyan';
}

export async function loadFor(context: CommandContext): Promise<LoadedConfig> {
  const { loadConfig } = await import('../config/load.ts');
  return loadConfig({ file: context.configFile, env: context.env });
}
