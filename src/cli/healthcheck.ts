import { isLoopback } from '../config/rules.ts';
import { type CommandContext, ExitCode, loadFor } from './context.ts';

/** An orchestrator gives a health check a few seconds. */
const TIMEOUT_MS = 3_000;

/** Asks the worker of this container whether it is alive. */
export async function healthcheck(context: CommandContext): Promise<ExitCode> {
  const { http } = (await loadFor(context)).config;
  const url = `http://${reachable(http.host)}:${http.port}/healthz`;
  const alive = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) }).then(
    (response) => response.ok,
    () => false,
  );
  if (context.output.json) context.output.value({ alive, url });
  else context.output.line(alive ? 'alive' : `no answer from ${url}`);
  return alive ? ExitCode.ok : ExitCode.unexpected;
}

/** From inside, a server that listens on every address is asked on loopback. */
export function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  if (host === '::' || host === '[::]') return '[::1]';
  return host.includes(':') && !host.startsWith('[') && !isLoopback(`[${host}]`)
    ? `[${host}]`
    : host === '::1'
      ? '[::1]'
      : host;
}
