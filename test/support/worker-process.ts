import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { WorkerStatus } from '../../src/core/status.ts';
import { eventually } from './eventually.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

export interface WorkerExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A worker as an operator runs it: `banyan run` in a process of its own. Disposing of it kills it. */
export interface WorkerProcess extends AsyncDisposable {
  readonly pid: number;
  /** `http://host:port` of its health and status. */
  readonly url: string;
  readonly exited: Promise<WorkerExit>;
  /** What it logged so far, one JSON object a line. */
  log(): string;
  signal(name: NodeJS.Signals): void;
  /** SIGKILL, and waits for the end. */
  kill(): Promise<void>;
  /** SIGTERM, and waits for the end. */
  stop(): Promise<WorkerExit>;
  /** undefined while it does not answer. */
  status(): Promise<WorkerStatus | undefined>;
  /** Waits until its status is as wanted; fails at once where the process ended. */
  until(holds: (status: WorkerStatus) => boolean): Promise<WorkerStatus>;
  /** The answer of /readyz. */
  ready(): Promise<{ readonly status: number; readonly body: string }>;
  /** The most memory that it ever had resident, bytes; undefined where the system does not say (not Linux). */
  peakMemory(): Promise<number | undefined>;
}

/** Starts a worker with this configuration, on an HTTP port of its own. */
export async function spawnWorker(
  config: object,
  options: { readonly nodeArgs?: string[] } = {},
): Promise<WorkerProcess> {
  const directory = await mkdtemp(join(tmpdir(), 'banyan-worker-'));
  const file = join(directory, 'banyan.yaml');
  const port = await freePort();
  // JSON is YAML.
  await writeFile(file, JSON.stringify({ ...config, http: { port } }));
  const child = spawn(process.execPath, [...(options.nodeArgs ?? []), MAIN, 'run', '--config', file], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_ENV: 'production', VITEST: undefined },
  });
  let output = '';
  const keep = (chunk: Buffer) => (output = (output + chunk.toString()).slice(-200_000));
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  await once(child, 'spawn');
  const { pid } = child;
  if (pid === undefined) throw new Error('the worker has no process id');

  const exited = once(child, 'exit').then(async ([code, signal]) => {
    await rm(directory, { recursive: true, force: true });
    return { code, signal };
  });
  const url = `http://127.0.0.1:${port}`;
  const running = () => child.exitCode === null && child.signalCode === null;
  const signal = (name: NodeJS.Signals) => void child.kill(name);
  const status = () => fetchStatus(url);
  const kill = async () => {
    if (running()) signal('SIGKILL');
    await exited;
  };
  return {
    pid,
    url,
    exited,
    log: () => output,
    signal,
    kill,
    status,
    async stop() {
      signal('SIGTERM');
      return await exited;
    },
    async until(holds) {
      const found = await eventually(
        async () => {
          if (!running()) throw new Error(`the worker ended:\n${output.slice(-4_000)}`);
          const now = await status();
          return now !== undefined && holds(now) ? now : undefined;
        },
        () => `the worker never was as wanted; it logged:\n${output.slice(-4_000)}`,
      );
      return found;
    },
    async ready() {
      const response = await fetch(`${url}/readyz`);
      return { status: response.status, body: await response.text() };
    },
    peakMemory: () => peakMemoryOf(pid),
    [Symbol.asyncDispose]: kill,
  };
}

export const isStreaming = ({ state }: WorkerStatus): boolean => state === 'streaming' || state === 'catching-up';

async function fetchStatus(url: string): Promise<WorkerStatus | undefined> {
  try {
    const response = await fetch(`${url}/v1/status`, { signal: AbortSignal.timeout(2_000) });
    return (await response.json()) as WorkerStatus;
  } catch {
    // Not listening yet, or killed this moment: whoever waits looks at the process, too.
    return undefined;
  }
}

async function peakMemoryOf(pid: number): Promise<number | undefined> {
  if (process.platform !== 'linux') return undefined;
  const text = await readFile(`/proc/${pid}/status`, 'utf8');
  const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(text)?.[1];
  return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
}
