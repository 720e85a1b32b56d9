import { Socket } from 'node:net';
import pg from 'pg';
import { BanyanError } from '../core/errors.ts';
import type { Finding } from '../core/finding.ts';
import { type Lsn, parseLsn } from '../core/lsn.ts';
import { answerLimit, type ConnectionSettings, replicationClientConfig, textTypes } from './connection.ts';
import { poolerError, toDatabaseError } from './sqlstate.ts';
import { parseTimelineHistory, type Timelines } from './timeline.ts';

/** Logical messages (`pg_logical_emit_message` through pgoutput) came with 14. */
export const OLDEST_VERSION = 140_000;

/** What any session can say of its server. */
export interface ServerFacts {
  /** `server_version_num`: 180001. */
  readonly versionNumber: number;
  readonly encoding: string;
  readonly walLevel: string;
  readonly inRecovery: boolean;
  readonly database: string;
  readonly role: string;
  /** 0: switched off. */
  readonly walSenderTimeoutMs: number;
  /** The backend is not the one that answered the start-up: something in between hands out backends. */
  readonly pooled: boolean;
  /** The start-up options of ours are in force. */
  readonly pinned: boolean;
}

/** The server as the stream needs to know it. */
export interface Server extends ServerFacts {
  readonly systemId: string;
  /** The timeline that is written now. */
  readonly timeline: number;
  readonly timelines: Timelines;
  /** The end of the WAL when it was asked. */
  readonly walEnd: Lsn;
}

/**
 * Asks the server who it is, over a replication connection of its own: only there the current timeline is known right after a promotion
 * (`pg_control_checkpoint` learns it with the next checkpoint). Throws where the server can not be used: `preflight` for what a
 * person must change, `database-unavailable` for a standby, which may yet be promoted.
 */
export async function identifyServer(settings: ConnectionSettings, signal?: AbortSignal): Promise<Server> {
  return withReplicationClient(settings, async (client) => readServer(client), signal);
}

/** Runs `use` with a replication connection of its own (simple protocol: no parameters), which is ended whatever happens. */
export async function withReplicationClient<T>(
  settings: ConnectionSettings,
  use: (client: pg.Client) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  signal?.throwIfAborted();
  const socket = new Socket();
  const client = new pg.Client({
    ...replicationClientConfig(settings),
    ...answerLimit(settings),
    stream: () => socket,
  });
  // What is lost also fails the query that runs; without a listener it would end the process.
  client.on('error', () => undefined);
  const abort = () => socket.destroy();
  signal?.addEventListener('abort', abort, { once: true });
  try {
    await client.connect();
    const result = await use(client);
    await client.end();
    return result;
  } catch (error) {
    signal?.throwIfAborted();
    throw toDatabaseError(error, 'asking PostgreSQL over a replication connection');
  } finally {
    signal?.removeEventListener('abort', abort);
    socket.destroy();
  }
}

/** One round trip, on any kind of connection. */
export async function readServerFacts(client: pg.ClientBase): Promise<ServerFacts> {
  const { rows } = await queryFacts(client);
  const row = rows[0] ?? {};
  const text = (name: string) => row[name] ?? '';
  return {
    versionNumber: Number(text('version')),
    encoding: text('encoding'),
    walLevel: text('wal_level'),
    inRecovery: text('in_recovery') === 'true',
    database: text('database'),
    role: text('role'),
    walSenderTimeoutMs: Number(text('wal_sender_timeout')),
    pooled: Number(text('pid')) !== processIdOf(client),
    pinned: text('pinned') === 'true',
  };
}

async function queryFacts(client: pg.ClientBase): Promise<pg.QueryResult<Record<string, string | null>>> {
  try {
    return await client.query<Record<string, string | null>>({
      text: `
      select current_setting('server_version_num') as version,
             current_setting('server_encoding') as encoding,
             current_setting('wal_level') as wal_level,
             pg_is_in_recovery()::text as in_recovery,
             current_database()::text as database,
             current_user::text as role,
             (select setting from pg_settings where name = 'wal_sender_timeout') as wal_sender_timeout,
             pg_backend_pid()::text as pid,
             (current_setting('TimeZone') = 'UTC' and current_setting('bytea_output') = 'hex'
               and current_setting('IntervalStyle') = 'postgres' and current_setting('DateStyle') like 'ISO%')::text as pinned`,
      types: textTypes,
    });
  } catch (error) {
    throw toDatabaseError(error, 'asking the server for its settings');
  }
}

/** What of the server itself is in the way, with what mends it. */
export function serverFindings(facts: ServerFacts): Finding[] {
  const findings: Finding[] = [];
  const add = (code: string, message: string, remedy: string, severity: Finding['severity'] = 'error') =>
    findings.push({ code, severity, subject: 'server', message, remedy });
  if (facts.versionNumber < OLDEST_VERSION) {
    add(
      'SERVER_TOO_OLD',
      `PostgreSQL ${Math.floor(facts.versionNumber / 10_000)} does not deliver logical messages through pgoutput; 14 is the oldest version that does`,
      'upgrade the server to PostgreSQL 14 or later',
    );
  }
  if (facts.encoding === 'SQL_ASCII') {
    add(
      'SERVER_ENCODING_UNKNOWN',
      'the database is encoded as SQL_ASCII: nobody knows which characters its bytes are',
      'move the data to a database with a real encoding, such as UTF8',
    );
  }
  if (facts.walLevel !== 'logical') {
    add(
      'WAL_LEVEL',
      `wal_level is ${facts.walLevel}; logical decoding needs logical`,
      'alter system set wal_level = logical;  -- then restart PostgreSQL (managed services: rds.logical_replication = 1, cloudsql.logical_decoding = on)',
    );
  }
  if (!facts.pinned) {
    add(
      'POOLER_DROPS_OPTIONS',
      'the start-up options of the session did not arrive: a connection pooler is in between and ignores them',
      'give LEGACY_DATABASE_URL the host and port of PostgreSQL itself, not of the pooler',
    );
  } else if (facts.pooled) {
    add(
      'POOLER_SUSPECTED',
      'the session is not with the backend that answered its start-up: a connection pooler or proxy is in between',
      'give LEGACY_DATABASE_URL the host and port of PostgreSQL itself, not of the pooler',
      'warning',
    );
  }
  return findings;
}

async function readServer(client: pg.Client): Promise<Server> {
  const facts = await readServerFacts(client);
  if (facts.inRecovery) {
    throw new BanyanError(
      'database-unavailable',
      'the server is a standby: it can not be written to until it is promoted',
    );
  }
  const worst = serverFindings(facts).find((finding) => finding.severity === 'error');
  if (worst !== undefined) {
    throw new BanyanError('preflight', worst.message, {
      ...(worst.remedy === undefined ? {} : { remedy: worst.remedy }),
      context: { code: worst.code },
    });
  }
  const identity = await client.query<{ systemid: string; timeline: string; xlogpos: string }>({
    text: 'IDENTIFY_SYSTEM',
    types: textTypes,
  });
  const row = identity.rows[0];
  if (row === undefined) throw poolerError('IDENTIFY_SYSTEM was not answered', undefined);
  const timeline = Number(row.timeline);
  return {
    ...facts,
    systemId: row.systemid,
    timeline,
    walEnd: parseLsn(row.xlogpos),
    timelines: await readTimelines(client, timeline),
  };
}

/** The history that leads to `current`, from the server's history file; the first timeline has none. */
async function readTimelines(client: pg.Client, current: number): Promise<Timelines> {
  if (current === 1) return parseTimelineHistory('', current);
  const { rows } = await client.query<{ content: string }>({ text: `TIMELINE_HISTORY ${current}`, types: textTypes });
  return parseTimelineHistory(rows[0]?.content ?? '', current);
}

/** The process id that came with the start-up (BackendKeyData); pg keeps it, its types do not say so. */
function processIdOf(client: pg.ClientBase): number | null | undefined {
  return (client as pg.ClientBase & { readonly processID?: number | null }).processID;
}
