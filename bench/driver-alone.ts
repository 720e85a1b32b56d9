import type pg from 'pg';
import { pino } from 'pino';
import { applyPrefix, formatMessage } from '../src/postgres/apply-tag.ts';
import { createPool, textTypes } from '../src/postgres/connection.ts';
import { compileReverse } from '../src/reverse/compile.ts';
import { decodeEnvelope } from '../src/reverse/envelope.ts';
import type { Intent } from '../src/reverse/intent.ts';
import { reverseMapper } from '../src/reverse/mapper.ts';
import { type Statement, statementsOf, type TargetStatements } from '../src/reverse/statements.ts';
import type { AppliedVersion } from '../src/state/applied-versions.ts';
import { openState, type State } from '../src/state/state.ts';
import { TABLE } from './bench-server.ts';
import { measure, runInChild, serveJob, type Usage } from './child.ts';
import { envelopeOf, reverseEvent } from './reverse-events.ts';
import { reverseConfig, type ReverseRunJob } from './reverse-run.ts';
import { WORKER_FLAGS } from './worker-flags.ts';

export interface DriverAloneJob extends ReverseRunJob {
  readonly events: number;
  readonly eventsPerTransaction: number;
}

/**
 * The reference: pg alone, with the worker's statements, parameters and number of connections. Events are mapped beforehand, and what the worker works out for each (tags with
 * their hashes, marks of what was written) is one text of the same length for all.
 */
export function driverAlone(job: DriverAloneJob): Promise<Usage> {
  return runInChild('driver-alone.ts', { job, flags: WORKER_FLAGS });
}

async function run(job: DriverAloneJob): Promise<Usage> {
  const { config } = await reverseConfig(job);
  const log = pino({ level: 'warn' }, pino.destination(2));
  const pool = createPool({ url: job.url, name: config.name }, { max: job.concurrency, log });
  try {
    const place = { pool, connector: config.name, schema: config.state.schema };
    const state = await openState(place);
    await state.stages.set(TABLE, 'dual', 'bench');
    const { entries } = await compileReverse(pool, config.reverse?.apply ?? [], { stateSchema: place.schema });
    const mapper = reverseMapper(entries);
    const intents = Array.from({ length: job.events }, (_, n) =>
      mapper.map(decodeEnvelope(envelopeOf(reverseEvent(n, job.events)))),
    ).flat();
    const writer = new Writer(state, intents);
    // As the worker's are when its first message comes.
    const clients = await Promise.all(Array.from({ length: job.concurrency }, () => pool.connect()));
    let next = 0;
    const connection = async (client: pg.PoolClient) => {
      while (next < intents.length) {
        const events = intents.slice(next, next + job.eventsPerTransaction);
        next += events.length;
        await client.query('begin isolation level read committed');
        for (const intent of events) await writer.write(client, intent);
        await client.query('commit');
      }
    };
    const stop = measure();
    await Promise.all(clients.map(connection));
    const usage = stop();
    for (const client of clients) client.release();
    return usage;
  } finally {
    await pool.end();
  }
}

/** One event's statements, with nothing in between. */
class Writer {
  readonly #state: State;
  readonly #statements: TargetStatements;
  readonly #insert: Statement;
  readonly #update: Statement;
  readonly #head: readonly string[];
  readonly #versions: ReadonlyMap<string, AppliedVersion>;

  constructor(state: State, intents: readonly Intent[]) {
    const [first] = intents;
    if (first === undefined) throw new Error('no event was mapped');
    const { connector, schema } = state.scope;
    const { target, eventId, producer } = first;
    const names = target.set.map(({ name }) => name);
    this.#state = state;
    this.#statements = statementsOf(target, schema);
    this.#insert = this.#statements.insert(names);
    this.#update = this.#statements.update(names);
    const { keyNames: columns } = this.#statements;
    const signed = { secret: Buffer.alloc(32), xid: 1_000_000 };
    const { oid } = target.table;
    const tag = { event: eventId, producer, hops: 0, table: oid, columns, key: ['10000'], op: 'update' } as const;
    this.#head = [
      applyPrefix(connector),
      formatMessage({ kind: 'tag', ...tag }, signed),
      formatMessage({ kind: 'echo', event: eventId }, signed),
      formatMessage({ kind: 'correction', event: eventId }, signed),
    ];
    this.#versions = new Map(
      ['1', '2', '3', '4'].map((text) => {
        const version = BigInt(text);
        const marks = [...columns, ...names].map((name) => [name, { version, hash: 'sixteen-letters-' }] as const);
        return [
          text,
          { created: version, deleted: undefined, last: version, columns: Object.fromEntries(marks), told: false },
        ];
      }),
    );
  }

  async write(client: pg.PoolClient, intent: Intent): Promise<void> {
    const { claim, before, versionsOf } = this.#statements;
    const { target, producer, eventId, eventTime, key, values, version = '' } = intent;
    const { connector } = this.#state.scope;
    const table = `${target.table.schema}.${target.table.name}`;
    const versions = this.#versions.get(version);
    if (versions === undefined) throw new Error(`no version ${version}`);
    const claimed = await query(client, claim, [
      connector,
      producer,
      eventId,
      target.id,
      eventTime ?? null,
      versionsOf,
      table,
      ...key,
    ]);
    const [found] = await query(client, before, [...key, ...values]);
    const statement = found === undefined ? this.#insert : this.#update;
    const written = await query(client, statement, [...this.#head, ...key, ...values, ...(found?.slice(0, 2) ?? [])]);
    if (written.length !== 1) throw new Error(`${eventId} wrote ${written.length} rows`);
    const versionKey = claimed[0]?.[0] ?? '';
    await this.#state.appliedVersions.save(client, { table: versionsOf, key: versionKey }, versions);
  }
}

async function query(
  client: pg.PoolClient,
  statement: Statement,
  values: readonly unknown[],
): Promise<(string | null)[][]> {
  const result = await client.query<(string | null)[]>({
    ...statement,
    values: [...values],
    rowMode: 'array',
    types: textTypes,
  });
  return result.rows;
}

if (import.meta.main) serveJob(run);
