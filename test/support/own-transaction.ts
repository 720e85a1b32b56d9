import pg from 'pg';
import {
  applyPrefix,
  type ApplyMessage,
  formatMessage,
  type MessageKey,
  shortXid,
  type TagMessage,
} from '../../src/postgres/apply-tag.ts';
import type { WorkerBed } from './worker-harness.ts';

/** One write as the statement of an apply makes it: its tag, then the write with its verdict in one statement. */
export interface OwnWrite {
  /** Event id. */
  readonly event: string;
  readonly hops?: number;
  readonly table: string;
  readonly op: TagMessage['op'];
  /** Default: `{ id: … }` in the order of the table's columns. */
  readonly key: Readonly<Record<string, string>>;
  /** `update orders set …`, without RETURNING. */
  readonly sql: string;
  /** SQL: whether the row is as it was meant; its columns can be named. Default: it is. */
  readonly asMeant?: string;
}

export interface OwnTransaction {
  readonly key: MessageKey;
  write(write: OwnWrite): Promise<void>;
  refuse(refusal: {
    event: string;
    hops?: number;
    table: string;
    key: Readonly<Record<string, string>>;
    /** SQL that selects the row; undefined: there is none. */
    row?: Readonly<Record<string, string | null>>;
  }): Promise<void>;
  emit(message: ApplyMessage): Promise<void>;
  /** Any content under our prefix. */
  emitText(content: string): Promise<void>;
  sql(text: string): Promise<void>;
}

export const PRODUCER = 'orders.new';

/** A transaction as reverse sync writes it, keyed with the connector's own secret. The worker must have run once. */
export async function ownTransaction(
  bed: WorkerBed,
  connector: string,
  work: (transaction: OwnTransaction) => Promise<void>,
): Promise<void> {
  const secret = await (await bed.state()).reverseSecret.get();
  const client = new pg.Client({ connectionString: bed.url });
  await client.connect();
  try {
    await client.query('begin');
    const { rows } = await client.query<{ xid: string }>('select pg_current_xact_id()::text as xid');
    const key = { secret, xid: shortXid(rows[0]?.xid ?? '') };
    await work(transactionOn(client, { key, prefix: applyPrefix(connector) }));
    await client.query('commit');
  } finally {
    await client.end();
  }
}

function transactionOn(client: pg.Client, { key, prefix }: { key: MessageKey; prefix: string }): OwnTransaction {
  const emitText = async (content: string) => {
    await client.query('select pg_logical_emit_message(true, $1, $2::text)', [prefix, content]);
  };
  const emit = (message: ApplyMessage) => emitText(formatMessage(message, key));
  const oidOf = async (table: string): Promise<number> => {
    const { rows } = await client.query<{ oid: string }>('select $1::regclass::oid::text as oid', [table]);
    return Number(rows[0]?.oid);
  };
  return {
    key,
    emit,
    emitText,
    async write({ event, hops = 0, table, op, key: rowKey, sql, asMeant = 'true' }) {
      await emit({
        kind: 'tag',
        event,
        producer: PRODUCER,
        hops,
        table: await oidOf(table),
        columns: Object.keys(rowKey),
        key: Object.values(rowKey),
        op,
      });
      const [echo, correction] = (['echo', 'correction'] as const).map((kind) => formatMessage({ kind, event }, key));
      await client.query(
        `with written as (${sql} returning *)
         select pg_logical_emit_message(true, $1, case when ${asMeant} then $2::text else $3::text end) from written`,
        [prefix, echo, correction],
      );
    },
    async refuse({ event, hops = 0, table, key: rowKey, row }) {
      await emit({
        kind: 'refusal',
        event,
        producer: PRODUCER,
        hops,
        table: await oidOf(table),
        columns: Object.keys(rowKey),
        key: Object.values(rowKey),
        op: row === undefined ? 'delete' : 'update',
        row: row ?? null,
      });
    },
    async sql(text) {
      await client.query(text);
    },
  };
}
