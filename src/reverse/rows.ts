import type pg from 'pg';
import type { Stage } from '../core/progress.ts';
import { FIRST_STAGE } from '../core/stages.ts';
import { applyPrefix, formatMessage, shortXid, type TagMessage } from '../postgres/apply-tag.ts';
import { queryTogether, type TextQuery, type TextRow } from '../postgres/together.ts';
import { type AppliedVersion, appliedVersionOf } from '../state/applied-versions.ts';
import type { Decision } from './decide.ts';
import type { Intent } from './intent.ts';
import { type Texts, valuesToInsert } from './marks.ts';
import { statementsOf, type TargetStatements } from './statements.ts';

/** Whose transaction it is. */
export interface RowOwner {
  /** `config.name` */
  readonly connector: string;
  /** As configured, not quoted. */
  readonly stateSchema: string;
  /** Of `reverse_secret`. */
  readonly secret: Uint8Array;
}

/** What the claiming statement found. */
export interface Claim {
  /** As `applied_version` has it. */
  readonly versionKey: string;
  readonly known: AppliedVersion;
  readonly stage: Stage;
  readonly xid: number;
  /** Key columns in the order of the table's. */
  readonly keyNames: readonly string[];
  /** As a row of the table would print it, in the order of the table's columns. */
  readonly key: readonly string[];
}

/** The row as it stands. */
export interface Before {
  /** Columns that hold already what the event sets. */
  readonly same: ReadonlySet<string>;
  /** Whether the row is as the event expects it; undefined: it expects nothing. */
  readonly expected: boolean | undefined;
  readonly texts: Texts;
  /** Which version of the row it is: `tableoid` and `ctid`. */
  readonly place: readonly [table: string | null, tuple: string | null];
}

export type WriteDecision = Extract<Decision, { do: 'insert' | 'update' | 'delete' }>;

export interface Write {
  readonly decision: WriteDecision;
  readonly before: Before | undefined;
}

/** What was written. */
export interface After {
  /** The row is not as the event means it. */
  readonly corrected: boolean;
  /** Of the columns that were written, and of those that changed with them. Of an insert: of all. */
  readonly texts: Texts;
}

/**
 * The statements of one event: what it finds, and what it writes, with the messages that capture knows its writes by. Each alone, or its query and what its row
 * says apart, for whoever asks for several events at a time.
 */
export class EventRows {
  readonly #client: pg.ClientBase;
  readonly #intent: Intent;
  readonly #owner: RowOwner;
  readonly #statements: TargetStatements;
  /** Of the event, in the order of the statements. */
  readonly #keyValues: readonly string[];

  constructor(client: pg.ClientBase, intent: Intent, owner: RowOwner) {
    this.#client = client;
    this.#intent = intent;
    this.#owner = owner;
    this.#statements = statementsOf(intent.target, owner.stateSchema);
    this.#keyValues = this.#statements.keyOrder.map((index) => intent.key[index] ?? '');
  }

  /** Key columns in the order of the table's. */
  get keyNames(): readonly string[] {
    return this.#statements.keyNames;
  }

  /** What the row's versions stand under. */
  get versionsOf(): string {
    return this.#statements.versionsOf;
  }

  /** Takes the event in and locks its key. undefined: the event is known. */
  async claim(): Promise<Claim | undefined> {
    return this.claimed(await this.#row(this.claiming()));
  }

  claiming(): TextQuery {
    const { target, producer, eventId, eventTime } = this.#intent;
    const { claim, versionsOf } = this.#statements;
    const table = `${target.table.schema}.${target.table.name}`;
    const { connector } = this.#owner;
    const event = [connector, producer, eventId, target.id, eventTime ?? null];
    return { ...claim, values: [...event, versionsOf, table, ...this.#keyValues] };
  }

  claimed(row: TextRow | undefined): Claim | undefined {
    if (row === undefined) return undefined;
    const [versionKey, created, deleted, last, columns, told, stage, xid, ...key] = row;
    return {
      versionKey: versionKey ?? '',
      known: appliedVersionOf({
        created_version: created ?? null,
        delete_version: deleted ?? null,
        last_version: last ?? null,
        columns: columns ?? '{}',
        told: told ?? 'f',
      }),
      // Only moves of tables write it.
      stage: (stage as Stage | null | undefined) ?? FIRST_STAGE,
      xid: shortXid(xid ?? '0'),
      keyNames: this.keyNames,
      key: key.map((text) => text ?? ''),
    };
  }

  /** Locks the row. undefined: there is none. */
  async before(): Promise<Before | undefined> {
    return this.found(await this.#row(this.finding()));
  }

  finding(): TextQuery {
    const { target, values, expected } = this.#intent;
    const expects = target.expect.map((_, index) => expected?.[index] ?? null);
    return { ...this.#statements.before, values: [...this.#keyValues, ...values, ...expects] };
  }

  found(row: TextRow | undefined): Before | undefined {
    const { target, expected } = this.#intent;
    const { beforeColumns } = this.#statements;
    if (row === undefined) return undefined;
    const [table, tuple, same, isExpected, ...cells] = row;
    const flags = (same ?? '{}').slice(1, -1).split(',');
    return {
      same: new Set(target.set.flatMap(({ name }, index) => (flags[index] === 't' ? [name] : []))),
      expected: expected === undefined || target.expect.length === 0 ? undefined : isExpected === 't',
      texts: textsOf(beforeColumns, cells),
      place: [table ?? null, tuple ?? null],
    };
  }

  /** Tag, write and verdict. undefined: no row was written. */
  async write(claim: Claim, what: Write): Promise<After | undefined> {
    return this.written(what, await this.#row(this.writing(claim, what)));
  }

  writing({ known, xid, key }: Claim, { decision, before }: Write): TextQuery {
    const { target, eventId, producer, hops, version } = this.#intent;
    const { connector, secret } = this.#owner;
    const signed = { secret, xid };
    const { oid } = target.table;
    const tag = formatMessage(
      { kind: 'tag', event: eventId, producer, hops, table: oid, ...this.#announced(key, before), op: decision.do },
      signed,
    );
    const correction = formatMessage({ kind: 'correction', event: eventId }, signed);
    const echo = decision.announce ? correction : formatMessage({ kind: 'echo', event: eventId }, signed);
    const head = [applyPrefix(connector), tag, echo];
    const place = before?.place ?? [];
    if (decision.do === 'delete') {
      return { ...this.#statements.delete, values: [...head, ...this.#keyValues, ...place] };
    }
    const own = textsOf(
      target.set.map(({ name }) => name),
      this.#intent.values,
    );
    const names = this.#written(decision);
    const whole = [...head, correction, ...this.#keyValues];
    if (decision.do === 'insert') {
      const values = valuesToInsert(names, {
        own,
        known: known.columns,
        version: version === undefined ? undefined : BigInt(version),
      });
      return { ...this.#statements.insert(names), values: [...whole, ...values] };
    }
    if (decision.reset !== undefined) return { ...this.#statements.reset(names), values: [...whole, ...place] };
    const values = names.map((name) => own[name] ?? null);
    return { ...this.#statements.update(names), values: [...whole, ...values, ...place] };
  }

  written({ decision, before }: Write, row: TextRow | undefined): After | undefined {
    if (row === undefined) return undefined;
    if (decision.do === 'delete') return { corrected: false, texts: before?.texts ?? {} };
    const [corrected, others, ...cells] = row;
    return {
      corrected: corrected === 't',
      texts: {
        ...(decision.do === 'insert' ? this.#nothing : {}),
        ...textsOf([...this.#statements.keyNames, ...this.#written(decision)], cells),
        ...Object.fromEntries(
          (JSON.parse(others ?? '[]') as ([string, string | null] | null)[]).filter((each) => each !== null),
        ),
      },
    };
  }

  /** Tells the producer how the row stands, of which nothing was written. Returns the row. */
  async tell({ xid, key: claimed }: Claim): Promise<Texts | undefined> {
    const { target, eventId, producer, hops } = this.#intent;
    const { connector, secret } = this.#owner;
    const names = target.table.columns.map(({ name }) => name);
    const cells = await this.#row({ ...this.#statements.whole, values: this.#keyValues });
    const row = cells && textsOf(names, cells);
    const columns = this.#statements.keyNames;
    const message = formatMessage(
      {
        kind: 'refusal',
        event: eventId,
        producer,
        hops,
        table: target.table.oid,
        columns,
        key: row === undefined ? claimed : columns.map((name) => row[name] ?? ''),
        op: row === undefined ? 'delete' : 'update',
        row: row ?? null,
      },
      { secret, xid },
    );
    await this.#client.query(`select pg_logical_emit_message(true, $1::text, $2::text)`, [
      applyPrefix(connector),
      message,
    ]);
    return row;
  }

  /** As the stream shows it: of the row that is there, its own text, since another spelling may have found it. */
  keyOf(claim: Claim, before: Before | undefined): readonly string[] {
    return before === undefined ? claim.key : this.keyNames.map((name) => before.texts[name] ?? '');
  }

  /** How the stream shows which row it is: a new one by its key, one that is there by what its old row carries. */
  #announced(key: readonly string[], before: Before | undefined): Pick<TagMessage, 'columns' | 'key'> {
    const { tagNames } = this.#statements;
    if (before === undefined) return { columns: this.keyNames, key };
    return { columns: tagNames, key: tagNames.map((name) => before.texts[name] ?? '') };
  }

  /** What an insert does not return holds nothing. */
  get #nothing(): Texts {
    const own = this.#intent.target.table.columns.filter(({ generated }) => generated === undefined);
    return Object.fromEntries(own.map(({ name }) => [name, null]));
  }

  /** Columns besides the key, in the order of the statement. */
  #written({ columns, restored = [], reset = [] }: WriteDecision): readonly string[] {
    return this.#statements.order([...columns, ...restored, ...reset]);
  }

  async #row(query: TextQuery): Promise<TextRow | undefined> {
    const [rows] = await queryTogether(this.#client, [query]);
    return rows?.[0];
  }
}

function textsOf(names: readonly string[], cells: readonly (string | null)[]): Texts {
  return Object.fromEntries(names.map((name, index) => [name, cells[index] ?? null]));
}
