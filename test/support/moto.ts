import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, constants } from 'node:fs/promises';
import { createServer } from 'node:net';
import { delimiter, join } from 'node:path';
import type { TestContext } from 'vitest';
import { eventually } from './eventually.ts';

/** An EventBridge, an SQS and a CloudFormation by someone else: a second opinion on what the SDK and we understand of them. */
export interface Moto extends AsyncDisposable {
  readonly endpoint: string;
}

/** Where it is not installed, or does not come up: why. */
export async function startMoto(): Promise<Moto | { readonly absent: string }> {
  if (!(await onPath('moto_server'))) return { absent: 'no moto_server is on PATH' };
  const port = await freePort();
  const endpoint = `http://127.0.0.1:${port}`;
  const server = spawn('moto_server', ['-H', '127.0.0.1', '-p', `${port}`], { stdio: 'ignore' });
  const failed = once(server, 'error').then(([error]) => error as Error);
  try {
    const answer = eventually(
      async () => ended(server) || (await answers(endpoint)),
      () => 'moto_server did not answer within 45 s',
    );
    const outcome = await Promise.race([answer, failed]);
    if (outcome instanceof Error) return { absent: `moto_server can not be run: ${outcome.message}` };
    if (ended(server)) return { absent: `moto_server ended at once, with exit code ${server.exitCode}` };
  } catch (error) {
    await stop(server);
    return { absent: error instanceof Error ? error.message : String(error) };
  }
  return { endpoint, [Symbol.asyncDispose]: () => stop(server) };
}

/** Skips the test where there is none, and says why. */
export function endpointOr(moto: Awaited<ReturnType<typeof startMoto>>, context: TestContext): string {
  if ('endpoint' in moto) return moto.endpoint;
  console.info(`not run against moto: ${moto.absent}`);
  return context.skip(moto.absent);
}

async function onPath(command: string): Promise<boolean> {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const there = await access(join(folder, command), constants.X_OK).then(
      () => true,
      () => false,
    );
    if (there) return true;
  }
  return false;
}

async function answers(endpoint: string): Promise<boolean> {
  try {
    const response = await fetch(`${endpoint}/moto-api/data.json`, { signal: AbortSignal.timeout(2_000) });
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false;
  }
}

function ended(server: ChildProcess): boolean {
  return server.exitCode !== null || server.signalCode !== null;
}

async function stop(server: ChildProcess): Promise<void> {
  if (ended(server)) return;
  const exit = once(server, 'exit');
  server.kill('SIGKILL');
  await exit;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}
