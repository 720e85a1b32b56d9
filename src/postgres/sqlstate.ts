import pg from 'pg';
import { BanyanError, type ErrorKind } from '../core/errors.ts';

/** SQLSTATE classes and codes to kinds, the most exact one first. https://www.postgresql.org/docs/current/errcodes-appendix.html */
const KINDS: Readonly<Record<string, ErrorKind>> = {
  '08': 'database-unavailable', // connection exceptions
  '25006': 'database-unavailable', // read-only transaction: a standby, or a server in the middle of a promotion
  '28': 'database-privilege', // wrong password, role may not log in
  '40001': 'database-unavailable', // serialization failure: the same again
  '40P01': 'database-unavailable', // deadlock: the same again
  '42501': 'database-privilege',
  '53': 'database-unavailable', // too many connections, disk full, out of memory
  '55006': 'slot-in-use',
  '55P03': 'database-unavailable', // lock_timeout: somebody holds the table; try later
  '57014': 'database-unavailable', // statement timeout or a cancelled query
  '57P01': 'database-unavailable', // admin shutdown
  '57P02': 'database-unavailable', // crash shutdown
  '57P03': 'database-unavailable', // starting up or shutting down
  '57P05': 'database-unavailable', // idle session timeout
  '58': 'database-unavailable', // system errors outside PostgreSQL (input/output)
};

/** Codes of Node.js' sockets and name resolution that end by themselves. */
const NETWORK_CODES: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EHOSTDOWN',
  'EHOSTUNREACH',
  'ENETDOWN',
  'ENETUNREACH',
  'ENETRESET',
  'ETIMEDOUT',
  'EPIPE',
  'EAI_AGAIN',
  'ENOTFOUND',
  'ENOENT', // a Unix socket that is not there yet
]);

/** The words in which pg and pg-pool report a lost connection, for which they have no code. */
const LOST_CONNECTION = [
  'Connection terminated',
  'timeout expired',
  'timeout exceeded when trying to connect',
  'Client has encountered a connection error',
  'Query read timeout',
  'Client was closed',
];

/**
 * Classes whose primary message quotes values: data exceptions (22), integrity violations (23) and whatever a
 * function of the user's raises (P0). Their messages are left out of ours.
 */
const VALUE_CLASSES: ReadonlySet<string> = new Set(['22', '23', '44', 'P0', 'XX', 'HV', '38', '39']);

/**
 * Turns what pg throws into a BanyanError, once, at the edge. `doing` says what was being done, in the infinitive's stead:
 * "reading the catalog". The server's detail, hint, context and statement are dropped, as is its message where that may
 * quote a row's values.
 */
export function toDatabaseError(error: unknown, doing: string): BanyanError {
  if (error instanceof BanyanError) return error;
  if (error instanceof AggregateError && error.errors.length > 0) return toDatabaseError(error.errors[0], doing);
  if (error instanceof pg.DatabaseError && error.code !== undefined) return fromServer(error, error.code, doing);
  const message = error instanceof Error ? error.message : `a thrown ${typeof error}`;
  const code = codeOf(error);
  if (code !== undefined && NETWORK_CODES.has(code)) {
    return new BanyanError('database-unavailable', `${doing}: ${message}`, { code });
  }
  if (LOST_CONNECTION.some((words) => message.includes(words))) {
    return new BanyanError('database-unavailable', `${doing}: ${message}`);
  }
  if (isTlsFailure(message, code)) {
    return new BanyanError('preflight', `${doing}: TLS failed: ${message}`, {
      ...(code === undefined ? {} : { code }),
      remedy:
        'set legacy.tls.mode and legacy.tls.ca to what the server offers (verify-full needs its CA; disable turns TLS off)',
    });
  }
  return new BanyanError('unknown', `${doing}: ${message}`, { cause: error });
}

/** SQLSTATE of what pg threw, or of the BanyanError that it became. */
export function sqlStateOf(error: unknown): string | undefined {
  return error instanceof BanyanError || error instanceof pg.DatabaseError ? error.code : undefined;
}

function fromServer(error: pg.DatabaseError, code: string, doing: string): BanyanError {
  if (code === '08P01' && error.message.includes('startup parameter')) return poolerError(doing, code);
  const hidden = VALUE_CLASSES.has(code.slice(0, 2));
  const said = hidden ? `PostgreSQL reports SQLSTATE ${code}` : error.message;
  return new BanyanError(KINDS[code] ?? KINDS[code.slice(0, 2)] ?? 'unknown', `${doing}: ${said}`, {
    code,
    context: {
      sqlstate: code,
      schema: error.schema,
      table: error.table,
      column: error.column,
      constraint: error.constraint,
      dataType: error.dataType,
      routine: error.routine,
    },
  });
}

/** PgBouncer refuses start-up options that it does not track; PostgreSQL itself never says this of ours. */
export function poolerError(doing: string, code: string | undefined): BanyanError {
  return new BanyanError(
    'preflight',
    `${doing}: the URL leads to a connection pooler, which can not carry replication`,
    {
      ...(code === undefined ? {} : { code }),
      remedy: 'give LEGACY_DATABASE_URL the host and port of PostgreSQL itself (usually port 5432), not of the pooler',
    },
  );
}

function isTlsFailure(message: string, code: string | undefined): boolean {
  if (message.includes('SSL connection')) return true;
  return (
    code !== undefined && (/^(ERR_TLS|ERR_SSL|CERT_|UNABLE_TO_|DEPTH_ZERO|SELF_SIGNED)/.test(code) || code === 'EPROTO')
  );
}

function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
