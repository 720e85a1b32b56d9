import type pg from 'pg';
import { pino } from 'pino';
import type { ApplyEntry } from '../../src/config/reverse-schema.ts';
import { configSchema } from '../../src/config/schema.ts';
import type { Relation, Tuple } from '../../src/core/change.ts';
import type { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { applyPrefix, parseMessage } from '../../src/postgres/apply-tag.ts';
import { createPool } from '../../src/postgres/connection.ts';
import { createDecoder } from '../../src/postgres/pgoutput/decode.ts';
import { applyTogether } from '../../src/reverse/apply.ts';
import type { ApplyContext } from '../../src/reverse/apply-one.ts';
import { compileReverse } from '../../src/reverse/compile.ts';
import type { ApplyOutcome, Intent, Target } from '../../src/reverse/intent.ts';
import { openState, type State } from '../../src/state/state.ts';
import { type WorkerRole, workerRole } from './worker-role.ts';

const CONNECTOR = 'shop';
/** No table: what capture may read is no right of the way back. */
const CAPTURE = [{ messages: 'outbox' }];
const BUS = { type: 'local' };

/** What an event asks, in as few words as a test needs. */
export interface Asked {
  readonly key?: readonly string[];
  readonly values?: readonly (string | null)[];
  readonly version?: number;
  readonly event?: string;
  readonly basedOn?: string;
  readonly expected?: readonly (string | null)[];
  readonly hops?: number;
  readonly time?: string;
  readonly isReplay?: boolean;
}

/** Of `reverse.apply`, where `key`, `set` and `expect` are lists of columns. */
type Entry = Partial<Record<keyof ApplyEntry, unknown>>;

export interface ParkedIntent {
  readonly event: string;
  readonly kind: string;
  readonly code: string | undefined;
  readonly conflict: unknown;
}

/**
 * A database of its own, with tables, targets for them, and a slot that shows what applying writes into the WAL. Events are applied by the role that `init --role`
 * makes, with the rights that it gives for the targets so far.
 */
export class ApplyBed implements AsyncDisposable {
  /** A superuser's: the legacy application and the DBA. */
  readonly pool: pg.Pool;
  readonly state: State;
  readonly database: string;
  /** What was parked in transactions that committed, oldest first. */
  readonly parked: ParkedIntent[] = [];
  caughtUp = 0;
  #parkedNow: ParkedIntent[] = [];
  #event = 0;
  #hasSlot = false;
  readonly #secret: Buffer;
  readonly #worker: pg.Pool;
  readonly #grant: WorkerRole['grant'];

  private constructor(made: {
    pool: pg.Pool;
    worker: pg.Pool;
    grant: WorkerRole['grant'];
    state: State;
    database: string;
    secret: Buffer;
  }) {
    this.pool = made.pool;
    this.#worker = made.worker;
    this.#grant = made.grant;
    this.state = made.state;
    this.database = made.database;
    this.#secret = made.secret;
  }

  static async open(server: EmbeddedPostgres, database: string, tables: string): Promise<ApplyBed> {
    const url = await server.createDatabase(database);
    await server.query(tables, database);
    const log = pino({ level: 'silent' });
    const pool = createPool({ url, name: 'legacy' }, { max: 6, log });
    const role = workerRole(url);
    const grant: WorkerRole['grant'] = (config) => role.grant({ ...config, legacy: { url } });
    await grant({ name: CONNECTOR, bus: BUS, capture: CAPTURE });
    const worker = createPool({ url: role.url, name: CONNECTOR, lockTimeoutMs: 2_000 }, { max: 6, log });
    const state = await openState({ pool: worker, connector: CONNECTOR, schema: 'banyan' });
    return new ApplyBed({ pool, worker, grant, state, database, secret: await state.reverseSecret.get() });
  }

  async target(entry: Entry): Promise<Target> {
    const [target] = await this.targets([entry]);
    return target as Target;
  }

  /** Of one configuration, with the rights that they need together. */
  async targets(entries: readonly Entry[]): Promise<readonly Target[]> {
    const config = {
      name: CONNECTOR,
      legacy: { url: 'unused' },
      bus: BUS,
      capture: CAPTURE,
      reverse: {
        queue: 'http://127.0.0.1:1/000000000000/unused',
        apply: entries.map((entry) => ({
          match: { source: ['new'] },
          operation: 'upsert',
          version: 'detail.version',
          ...entry,
          key: paths(entry.key ?? ['id']),
          ...(entry.set === undefined ? {} : { set: paths(entry.set) }),
          ...(entry.expect === undefined ? {} : { expect: paths(entry.expect) }),
        })),
      },
    };
    await this.#grant(config);
    const { reverse } = configSchema.parse(config);
    const { targets, findings } = await compileReverse(this.#worker, reverse?.apply ?? [], { stateSchema: 'banyan' });
    if (targets.length < entries.length) throw new Error(JSON.stringify(findings));
    for (const table of new Set(targets.map((target) => `${target.table.schema}.${target.table.name}`))) {
      const moved = (await this.state.stages.list()).some((stage) => stage.table === table);
      if (!moved) await this.state.stages.set(table, 'dual', 'a test');
    }
    return targets;
  }

  intent(target: Target, asked: Asked): Intent {
    const key = asked.key ?? ['1'];
    return {
      target,
      producer: 'new',
      eventId: asked.event ?? `event-${++this.#event}`,
      hops: asked.hops ?? 0,
      eventTime: asked.time ?? new Date().toISOString(),
      isReplay: asked.isReplay ?? false,
      key,
      values: asked.values ?? [],
      version: asked.version?.toString(),
      basedOn: asked.basedOn,
      expected: asked.expected,
      lane: `${target.table.schema}.${target.table.name}:${key.map(encodeURIComponent).join(',')}`,
      body: '{}',
    };
  }

  async apply(intents: readonly Intent[], changed: Partial<ApplyContext> = {}): Promise<readonly ApplyOutcome[]> {
    this.#parkedNow = [];
    const { inbox, appliedVersions: versions, conflicts, legacyChanges } = this.state;
    const outcomes = await applyTogether(intents, {
      pool: this.#worker,
      connector: CONNECTOR,
      stateSchema: 'banyan',
      secret: this.#secret,
      inbox,
      versions,
      conflicts,
      legacyChanges,
      show: (_, row) => row,
      // In the transaction that failed, as dead letters are: what is rolled back with it is not parked.
      park: async (client, intent, error) => {
        await client.query('select pg_current_xact_id()');
        const { conflict } = error.context;
        this.#parkedNow.push({ event: intent.eventId, kind: error.kind, code: error.code, conflict });
      },
      caughtUp: async () => {
        this.caughtUp += 1;
      },
      horizonMs: 14 * 86_400_000,
      byOperator: false,
      ...changed,
    });
    this.parked.push(...this.#parkedNow);
    return outcomes;
  }

  /** One event, in short: `applied echo`, `refused update_origin_differs`, `failed row-missing`. */
  async one(target: Target, asked: Asked, changed: Partial<ApplyContext> = {}): Promise<string> {
    const [outcome] = await this.apply([this.intent(target, asked)], changed);
    return brief(outcome);
  }

  async rows(sql: string): Promise<unknown[]> {
    return (await this.pool.query(sql)).rows;
  }

  /** From now on `stream` shows what is committed. */
  async follow(): Promise<void> {
    if (this.#hasSlot) {
      await this.stream();
      return;
    }
    await this.pool.query('create publication everything for all tables');
    await this.pool.query(`select pg_create_logical_replication_slot($1, 'pgoutput')`, [this.database]);
    this.#hasSlot = true;
  }

  /**
   * What was committed since, as capture sees it, a list for each transaction: rows of tables as `update orders 1`, our messages as `tag update 1`, `echo`,
   * `correction`, `refusal update 1`; `forged` for a message that its own secret and transaction do not sign. State tables are left out.
   */
  async stream(): Promise<string[][]> {
    const decode = createDecoder();
    const relations = new Map<number, Relation>();
    const transactions: string[][] = [];
    let xid = 0;
    const { rows } = await this.pool.query<{ data: Buffer }>(
      `select data from pg_logical_slot_get_binary_changes($1, null, null,
         'proto_version', '1', 'publication_names', 'everything', 'messages', 'true')`,
      [this.database],
    );
    const row = (oid: number, tuple: Tuple | undefined, doing: string) => {
      const relation = relations.get(oid);
      if (relation === undefined || tuple === undefined || relation.schema === 'banyan') return;
      const key = tuple.filter((_, index) => relation.columns[index]?.inIdentity === true);
      transactions.at(-1)?.push(`${doing} ${relation.name} ${key.join(',')}`);
    };
    for (const { data } of rows) {
      const message = decode(data);
      switch (message.kind) {
        case 'begin':
          xid = message.xid;
          transactions.push([]);
          break;
        case 'relation':
          relations.set(message.relation.oid, message.relation);
          break;
        case 'insert':
        case 'update':
          row(message.relationOid, message.new, message.kind);
          break;
        case 'delete':
          row(message.relationOid, message.old, message.kind);
          break;
        case 'message':
          if (message.prefix === applyPrefix(CONNECTOR)) transactions.at(-1)?.push(this.#said(message.content, xid));
          break;
        default:
      }
    }
    return transactions.filter((each) => each.length > 0);
  }

  #said(content: string | undefined, xid: number): string {
    const message = parseMessage(content ?? '', { secret: this.#secret, xid });
    if (message === undefined) return 'forged';
    if (message.kind === 'tag' || message.kind === 'refusal')
      return `${message.kind} ${message.op} ${message.key.join(',')}`;
    return message.kind;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#hasSlot) await this.pool.query('select pg_drop_replication_slot($1)', [this.database]);
    await Promise.all([this.pool.end(), this.#worker.end()]);
  }
}

/** Column names to the fields of the event that they come from. */
function paths(columns: unknown): unknown {
  if (!Array.isArray(columns)) return columns;
  return Object.fromEntries(columns.map((name) => [name, `detail[${JSON.stringify(name)}]`]));
}

export function brief(outcome: ApplyOutcome | undefined): string {
  if (outcome === undefined) return 'nothing';
  switch (outcome.status) {
    case 'applied':
      return ['applied', outcome.verdict, outcome.conflict].filter((part) => part !== undefined).join(' ');
    case 'refused':
      return `refused ${outcome.conflict}`;
    case 'failed':
      return `failed ${outcome.error.kind}`;
    default:
      return outcome.status;
  }
}
