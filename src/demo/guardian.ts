import { spawn } from 'node:child_process';

/**
 * Waits for the end of its standard input, which this process holds open: that end comes with the death of this process
 * however it dies, SIGKILL too. Then it ends the postmaster that the data directory records (an immediate shutdown: what it holds is thrown
 * away) and removes the folder, if it is given one. A line on its input instead means that all was put away in order.
 */
const SCRIPT = `
read -r put_away && exit 0
pid=$(head -n 1 "$1/postmaster.pid" 2>/dev/null)
[ -n "$pid" ] && kill -s QUIT "$pid" 2>/dev/null
tries=0
while [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
[ -n "$2" ] && rm -rf -- "$2"
exit 0
`;

export interface Guardian {
  /** All was put away: the guardian ends and touches nothing. */
  dismiss(): void;
}

/**
 * Watches over a server that must not outlive this process. It has a process group of its own, so a Ctrl-C that reaches
 * the whole terminal does not reach it. On Windows there is no `sh`, and no guardian.
 */
export function guard(dataDirectory: string, removeFolder: string | undefined): Guardian {
  if (process.platform === 'win32') return { dismiss: () => undefined };
  const shell = spawn('/bin/sh', ['-c', SCRIPT, 'banyan-guardian', dataDirectory, removeFolder ?? ''], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
    cwd: '/',
  });
  // Neither its life nor its input may keep this process alive.
  shell.unref();
  if ('unref' in shell.stdin && typeof shell.stdin.unref === 'function') shell.stdin.unref();
  // It can only fail where it is already gone, and then there is nobody to tell.
  shell.stdin.on('error', () => undefined);
  shell.on('error', () => undefined);
  return { dismiss: () => shell.stdin.end('put away\n') };
}
