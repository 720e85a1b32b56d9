import { fork } from 'node:child_process';
import { once } from 'node:events';
import { chmod, cp, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test, vi } from 'vitest';
import { binariesOf, isRoot, reachableBinaries } from '../../src/demo/embedded-binaries.ts';

const module = fileURLToPath(new URL('../../src/demo/embedded-postgres.ts', import.meta.url));

/** Starts a server in a process of its own, which then idles until it is killed. */
async function startInChild(folder: string) {
  const script = join(folder, 'owner.ts');
  await writeFile(
    script,
    `import { EmbeddedPostgres } from ${JSON.stringify(module)};
     const server = await EmbeddedPostgres.start();
     process.send?.({ pid: server.pid, dataDirectory: server.dataDirectory });
     setInterval(() => undefined, 1_000);`,
  );
  const owner = fork(script);
  const [message] = (await once(owner, 'message')) as [{ pid: number; dataDirectory: string }];
  return { owner, ...message };
}

function alive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

test('a server and its data go when the process that started it is killed', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'banyan-test-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const { owner, pid, dataDirectory } = await startInChild(folder);
  expect(alive(pid)).toBe(true);

  owner.kill('SIGKILL');

  await vi.waitFor(() => expect(alive(pid)).toBe(false), { timeout: 20_000, interval: 50 });
  await vi.waitFor(
    async () => {
      await expect(stat(dirname(dataDirectory))).rejects.toMatchObject({ code: 'ENOENT' });
    },
    { timeout: 20_000, interval: 50 },
  );
});

test.runIf(isRoot())(
  'binaries that only root may enter are copied once, to where the server can run them',
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'banyan-test-'));
    const version = `0.0.0-test-${process.pid}`;
    const native = join(folder, 'package', 'native');
    onTestFinished(() => rm(folder, { recursive: true, force: true }));
    onTestFinished(() => rm(join(tmpdir(), `banyan-postgres-${version}`), { recursive: true, force: true }));
    const packaged = binariesOf(18);
    if (packaged === undefined) throw new Error('no binaries of PostgreSQL 18');
    await mkdir(join(folder, 'package'));
    await cp(dirname(packaged), native, { recursive: true, verbatimSymlinks: true });
    await writeFile(join(folder, 'package', 'package.json'), JSON.stringify({ version }));
    await chmod(folder, 0o700);

    const first = await reachableBinaries(join(native, 'bin'));
    const copied = await stat(first);
    const second = await reachableBinaries(join(native, 'bin'));

    expect(first).toBe(join(tmpdir(), `banyan-postgres-${version}`, 'bin'));
    expect(second).toBe(first);
    expect((await stat(second)).ino).toBe(copied.ino);
    // The copy is reachable itself, so it is what a start from there would take.
    expect(await reachableBinaries(first)).toBe(first);
  },
);
