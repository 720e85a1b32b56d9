import type pg from 'pg';
import type { TextQuery } from '../postgres/together.ts';
import { qualify, queryState, queryStateIn, type StateScope } from './scope.ts';

export type InboxOutcome = 'applied' | 'stale' | 'refused' | 'skipped';
export type InboxVerdict = 'echo' | 'correction' | 'unchanged';

/** One event for one target. */
export interface InboxKey {
  /** `source` of the envelope. */
  readonly producer: string;
  readonly eventId: string;
  /** Id of the target. */
  readonly target: string;
}

export interface InboxRecord extends InboxKey {
  readonly outcome: InboxOutcome;
  readonly verdict: InboxVerdict | undefined;
  /** ISO 8601 */
  readonly receivedAt: string;
  readonly eventTime: string | undefined;
  readonly observedAt: string | undefined;
}

export type InboxEnd = Readonly<{ outcome: InboxOutcome; verdict: InboxVerdict | undefined }>;

/** What the stream showed of an event's write. One event may have written through several targets: all of them are marked. */
export interface Observation {
  readonly producer: string;
  readonly eventId: string;
  readonly verdict: InboxVerdict;
}

/** Which events were taken in. The row itself is made by the statement that claims the event (`reverse/statements.ts`). */
export interface InboxStore {
  /** Takes the event in without claiming its key; false: it is known already. */
  add(
    client: pg.ClientBase,
    key: InboxKey,
    record: { outcome: InboxOutcome; eventTime: string | undefined },
  ): Promise<boolean>;
  /** Where it ended otherwise than `applied`, as a claimed event begins. */
  settle(client: pg.ClientBase, key: InboxKey, end: InboxEnd): Promise<void>;
  /** The same, for whoever sends it with others. */
  settling(key: InboxKey, end: InboxEnd): TextQuery;
  /** The stream has shown the writes of these events. One statement, whatever their number. */
  observe(observations: readonly Observation[]): Promise<void>;
  get(key: InboxKey): Promise<InboxRecord | undefined>;
  /** Events for a table (`schema.name`) that were not applied because its stage took none, as far as they are remembered. */
  countSkipped(table: string): Promise<number>;
  /** Forgets up to `limit` events that were received more than so many seconds ago; returns how many. */
  purge(olderThanSeconds: number, limit: number): Promise<number>;
}

const KEY = 'connector = $1 and producer = $2 and event_id = $3 and target = $4';

export function inboxStore(scope: StateScope): InboxStore {
  const { connector } = scope;
  const settle = qualify(`update {inbox} set outcome = $5, verdict = $6 where ${KEY}`, scope.schema);
  const settling = (key: InboxKey, { outcome, verdict }: InboxEnd) => ({
    name: 'banyan_settle_event',
    text: settle,
    values: [connector, key.producer, key.eventId, key.target, outcome, verdict ?? null],
  });
  return {
    settling,

    async add(client, key, { outcome, eventTime }) {
      const rows = await queryStateIn(client, scope, {
        sql: `insert into {inbox} (connector, producer, event_id, target, outcome, event_time)
              values ($1, $2, $3, $4, $5, $6) on conflict do nothing returning outcome`,
        values: [connector, key.producer, key.eventId, key.target, outcome, eventTime ?? null],
      });
      return rows.length > 0;
    },

    async settle(client, key, end) {
      const { text, ...query } = settling(key, end);
      await queryStateIn(client, scope, { sql: text, ...query });
    },

    async observe(observations) {
      if (observations.length === 0) return;
      // Locked in one order: two workers of a handover may write the same rows.
      await queryState(
        scope,
        `with seen as (
           select distinct on (producer, event_id) * from unnest($2::text[], $3::text[], $4::text[])
             with ordinality as seen(producer, event_id, verdict, number)
           order by producer, event_id, number desc
         ), locked as (
           select inbox.connector, inbox.producer, inbox.event_id, inbox.target, seen.verdict
           from {inbox} inbox join seen using (producer, event_id)
           where inbox.connector = $1 and inbox.outcome = 'applied'
           order by inbox.producer, inbox.event_id, inbox.target for update of inbox
         )
         update {inbox} as inbox set observed_at = now(), verdict = coalesce(inbox.verdict, locked.verdict)
         from locked where inbox.connector = locked.connector and inbox.producer = locked.producer
           and inbox.event_id = locked.event_id and inbox.target = locked.target`,
        [
          connector,
          observations.map((each) => each.producer),
          observations.map((each) => each.eventId),
          observations.map((each) => each.verdict),
        ],
      );
    },

    async get(key) {
      const [row] = await queryState<{
        outcome: InboxOutcome;
        verdict: InboxVerdict | null;
        received_at: Date;
        event_time: Date | null;
        observed_at: Date | null;
      }>(scope, `select outcome, verdict, received_at, event_time, observed_at from {inbox} where ${KEY}`, [
        connector,
        key.producer,
        key.eventId,
        key.target,
      ]);
      return (
        row && {
          producer: key.producer,
          eventId: key.eventId,
          target: key.target,
          outcome: row.outcome,
          verdict: row.verdict ?? undefined,
          receivedAt: row.received_at.toISOString(),
          eventTime: row.event_time?.toISOString(),
          observedAt: row.observed_at?.toISOString(),
        }
      );
    },

    async countSkipped(table) {
      const [row] = await queryState<{ skipped: string }>(
        scope,
        // The id of a target begins with its table.
        `select count(*) as skipped from {inbox}
         where connector = $1 and outcome = 'skipped' and starts_with(target, $2 || '#')`,
        [connector, table],
      );
      return Number(row?.skipped);
    },

    async purge(olderThanSeconds, limit) {
      const [row] = await queryState<{ purged: string }>(
        scope,
        `with old as (
           select ctid from {inbox} where connector = $1 and received_at < now() - make_interval(secs => $2)
           order by received_at limit $3 for update skip locked
         ), purged as (delete from {inbox} where ctid = any(array(select ctid from old)) returning 1)
         select count(*) as purged from purged`,
        [connector, olderThanSeconds, limit],
      );
      return Number(row?.purged);
    },
  };
}
