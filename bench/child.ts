import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** What is measured runs in a process of its own: its CPU and memory are then nobody else's. */
export interface Usage {
  /** Wall time of the measured part, seconds. */
  readonly seconds: number;
  /** User and system CPU time of the measured part, seconds. */
  readonly cpuSeconds: number;
  /** Largest resident set of the whole process, MB of 1,000,000 bytes. */
  readonly peakRssMb: number;
}

/** Starts now; call what it returns when the measured part is over. */
export function measure(): () => Usage {
  const started = process.hrtime.bigint();
  const cpu = process.cpuUsage();
  return () => {
    const used = process.cpuUsage(cpu);
    return {
      seconds: Number(process.hrtime.bigint() - started) / 1e9,
      cpuSeconds: (used.user + used.system) / 1e6,
      peakRssMb: Math.round((process.resourceUsage().maxRSS * 1_024) / 1e6),
    };
  };
}

/** Runs a file of this folder that calls `serveJob` where it is the main one; resolves with what it answers. */
export async function runInChild<Result>(
  file: string,
  { job, flags }: { job: object; flags?: readonly string[] },
): Promise<Result> {
  const child = startChild(file, flags);
  try {
    child.send(job);
    const [answer] = (await Promise.race([
      once(child, 'message'),
      once(child, 'exit').then(([code]) => {
        throw new Error(`${file} ended with code ${String(code)} before it answered`);
      }),
    ])) as [{ result: Result } | { failed: string }];
    if ('failed' in answer) throw new Error(`${file}: ${answer.failed}`);
    return answer.result;
  } finally {
    await endChild(child);
  }
}

/** Starts a file of this folder, which knows by `import.meta.main` that it is to serve. */
export function startChild(file: string, flags: readonly string[] = []): ChildProcess {
  return fork(fileURLToPath(new URL(file, import.meta.url)), {
    execArgv: [...flags],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
}

export async function endChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

/** The other side of `runInChild`. The process ends with its parent. */
export function serveJob(work: (job: never) => Promise<unknown>): void {
  process.once('disconnect', () => process.exit());
  process.once('message', (job) => {
    work(job as never).then(
      (result) => process.send?.({ result }),
      (error: unknown) =>
        process.send?.({ failed: error instanceof Error ? (error.stack ?? error.message) : 'unknown' }),
    );
  });
}
