import { readFileSync } from 'node:fs';
import { Socket } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import pg from 'pg';
import type { Logger } from 'pino';
import { BanyanError } from '../core/errors.ts';
import { toDatabaseError } from './sqlstate.ts';

export type TlsMode = 'disable' | 'require' | 'verify-ca' | 'verify-full';

export interface ConnectionSettings {
  /** `postgresql://…`; what it says of TLS holds where `tls` is absent. */
  readonly url: string;
  readonly tls?: { readonly mode: TlsMode; readonly ca?: string | undefined } | undefined;
  /** The connector's name; the session shows as `banyan NAME` in `pg_stat_activity`. */
  readonly name: string;
  /** Default 5,000; 0 = no limit. */
  readonly lockTimeoutMs?: number;
  /** Default 30,000; 0 = no limit. */
  readonly statementTimeoutMs?: number;
  /** Default 10,000. */
  readonly connectTimeoutMs?: number;
}

/**
 * Pinned on every session, walsenders too, since they decide the text form of values: a role's or database's own settings would
 * make the same row leave differently. Sent as start-up options, so that no session is ever without them.
 */
const PINNED: Readonly<Record<string, string>> = {
  DateStyle: 'ISO',
  IntervalStyle: 'postgres',
  TimeZone: 'UTC',
  bytea_output: 'hex',
  extra_float_digits: '1',
  lc_monetary: 'C',
};

/** How much later than the server's own limit an answer may arrive. */
const ANSWER_GRACE_MS = 5_000;

/** Reads every value as PostgreSQL's text, for `pg.QueryConfig.types` where values become events. */
export const textTypes: pg.CustomTypesConfig = { getTypeParser: () => (value: unknown) => value };

export function applicationName(name: string): string {
  return `banyan ${name}`;
}

/** What pg needs for one client or pool of ours. */
export function clientConfig(settings: ConnectionSettings): pg.ClientConfig {
  const [base, query = ''] = splitOnce(settings.url, '?');
  if (!/^postgres(ql)?:\/\//.test(base)) {
    throw new BanyanError('config', 'the database URL does not begin with postgresql://', {
      remedy: 'write postgresql://user:password@host:5432/database (percent-encode special characters of the password)',
    });
  }
  const parameters = new URLSearchParams(query);
  const ssl = settings.tls === undefined ? tlsFromUrl(parameters) : tlsOptions(settings.tls, 'legacy.tls');
  const ownOptions = parameters.get('options');
  for (const name of OWN_PARAMETERS) parameters.delete(name);
  const rest = parameters.toString();
  return {
    connectionString: rest === '' ? base : `${base}?${rest}`,
    ssl,
    application_name: applicationName(settings.name),
    options: [ownOptions ?? '', startupOptions(settings)].join(' ').trim(),
    connectionTimeoutMillis: settings.connectTimeoutMs ?? 10_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: 30_000,
  };
}

/** A pool whose clients can not end the process: a lost idle or checked-out connection is logged, the next query gets another one. */
export function createPool(
  settings: ConnectionSettings,
  options: { readonly max?: number; readonly log: Logger },
): pg.Pool {
  const config = clientConfig(settings);
  // A pool reads its URL with the first query; a client does at once, and so tells now what is wrong with it.
  guarded(() => new pg.Client(config));
  const pool = new pg.Pool({
    ...config,
    max: options.max ?? 4,
    idleTimeoutMillis: 30_000,
    ...answerLimit(settings),
  });
  const lost = (error: unknown) => {
    const { kind, message, code } = toDatabaseError(error, 'a pooled connection was lost');
    options.log.info({ kind, code }, message);
  };
  pool.on('error', lost);
  pool.on('connect', (client) => client.on('error', lost));
  return pool;
}

/**
 * Ends a query that the server would have ended itself by then: there is no server behind the connection any more. Without it, a half-open
 * connection keeps whoever asked until TCP gives up, a quarter of an hour later.
 */
export function answerLimit({ statementTimeoutMs = 30_000 }: ConnectionSettings): { readonly query_timeout?: number } {
  return statementTimeoutMs > 0 ? { query_timeout: statementTimeoutMs + ANSWER_GRACE_MS } : {};
}

/** One connected client, with an error listener; errors surface in its queries. The caller ends it. */
export async function connectClient(settings: ConnectionSettings, signal?: AbortSignal): Promise<pg.Client> {
  signal?.throwIfAborted();
  const socket = new Socket();
  const client = guarded(() => new pg.Client({ ...clientConfig(settings), stream: () => socket }));
  // A lost connection also fails the query that runs, or the next one; without a listener it would end the process.
  client.on('error', () => undefined);
  const abort = () => socket.destroy();
  signal?.addEventListener('abort', abort, { once: true });
  try {
    await client.connect();
    signal?.throwIfAborted();
    return client;
  } catch (error) {
    socket.destroy();
    signal?.throwIfAborted();
    throw toDatabaseError(error, 'connecting to PostgreSQL');
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

/** Runs `use` with a client of its own, which is ended whatever happens. */
export async function withClient<T>(
  settings: ConnectionSettings,
  use: (client: pg.Client) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const client = await connectClient(settings, signal);
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

/** A connection that also understands replication commands (`TIMELINE_HISTORY`, `CREATE_REPLICATION_SLOT`); SQL only without parameters. */
export function replicationClientConfig(settings: ConnectionSettings): pg.ClientConfig & { replication: 'database' } {
  return { ...clientConfig({ ...settings, statementTimeoutMs: 0 }), replication: 'database' };
}

const OWN_PARAMETERS = [
  'ssl',
  'sslmode',
  'sslrootcert',
  'sslcert',
  'sslkey',
  'uselibpqcompat',
  'options',
  'application_name',
  'replication',
];

function startupOptions(settings: ConnectionSettings): string {
  const values = {
    ...PINNED,
    lock_timeout: `${settings.lockTimeoutMs ?? 5_000}`,
    statement_timeout: `${settings.statementTimeoutMs ?? 30_000}`,
    idle_in_transaction_session_timeout: '60000',
  };
  return Object.entries(values)
    .map(([name, value]) => `-c ${name}=${value}`)
    .join(' ');
}

/** The meaning that libpq gives `sslmode`; pg itself reads `require` as `verify-full` and warns about it. */
function tlsFromUrl(parameters: URLSearchParams): boolean | ConnectionOptions {
  const mode = parameters.get('sslmode') ?? (isTrue(parameters.get('ssl')) ? 'verify-full' : 'disable');
  const root = parameters.get('sslrootcert');
  const ca = root === null || root === 'system' ? undefined : root;
  const identity = {
    ...pemOption('cert', parameters.get('sslcert')),
    ...pemOption('key', parameters.get('sslkey')),
  };
  switch (mode) {
    case 'disable':
    case 'allow':
      return false;
    case 'prefer':
    case 'require':
    case 'no-verify':
      return withIdentity(
        tlsOptions({ mode: 'require', ca: mode === 'require' ? ca : undefined }, 'sslmode'),
        identity,
      );
    case 'verify-ca':
    case 'verify-full':
      return withIdentity(tlsOptions({ mode, ca }, 'sslmode'), identity);
    default:
      throw new BanyanError('config', 'the database URL has an unknown sslmode', {
        remedy: 'use disable, require, verify-ca or verify-full',
      });
  }
}

function tlsOptions(
  tls: { readonly mode: TlsMode; readonly ca?: string | undefined },
  path: string,
): boolean | ConnectionOptions {
  const ca = tls.ca === undefined ? {} : { ca: readPem(tls.ca, `${path}: the CA`) };
  // The name in the certificate is not compared, as libpq does in these modes.
  const anyName = { checkServerIdentity: () => undefined };
  if (tls.mode === 'disable') return false;
  if (tls.mode === 'verify-full') return { ...ca };
  if (tls.ca !== undefined) return { ...ca, ...anyName };
  if (tls.mode === 'require') return { rejectUnauthorized: false };
  throw new BanyanError('config', `${path}: verify-ca needs the certificate authority that it is to verify`, {
    remedy: 'name its PEM file (legacy.tls.ca, or sslrootcert in the URL), or use verify-full with a public one',
  });
}

function withIdentity(ssl: boolean | ConnectionOptions, identity: ConnectionOptions): boolean | ConnectionOptions {
  return typeof ssl === 'boolean' ? ssl : { ...ssl, ...identity };
}

function pemOption(name: 'cert' | 'key', file: string | null): ConnectionOptions {
  return file === null ? {} : { [name]: readPem(file, `the URL's ssl${name}`) };
}

function readPem(file: string, what: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new BanyanError('config', `${what} can not be read from ${file}`, {
      cause,
      remedy: 'mount the PEM file there, readable by the user that the worker runs as',
    });
  }
}

function isTrue(text: string | null): boolean {
  return text === 'true' || text === '1';
}

function splitOnce(text: string, separator: string): [string, string?] {
  const at = text.indexOf(separator);
  return at === -1 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

/** pg's own errors about a URL are of no use to whoever wrote it, and may quote it. */
function guarded<T>(make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (error instanceof BanyanError) throw error;
    throw new BanyanError('config', 'the database URL can not be read', {
      remedy: 'write postgresql://user:password@host:5432/database (percent-encode special characters of the password)',
    });
  }
}
