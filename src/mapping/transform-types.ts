/** A JSON value; bigint and numeric columns are texts unless `numbers: json`. */
export type JsonValue = string | number | boolean | null | readonly JsonValue[] | { readonly [key: string]: JsonValue };

/** Columns by name, as the default `data` would have them: masks applied, excluded columns and values that were not sent left out. */
export type RowData = Readonly<Record<string, JsonValue>>;

/** What a transform module is given: one change of one row (or a truncate, whose `row` is empty). */
export interface RowChangeView<Row extends RowData = RowData> {
  readonly operation: 'insert' | 'update' | 'delete' | 'truncate' | 'read';
  /** `schema.name` */
  readonly table: string;
  readonly key: RowData;
  /** The row after the change; of a delete, the row that went (without REPLICA IDENTITY FULL only its key). */
  readonly row: Partial<Row>;
  /** The row before an update, known with REPLICA IDENTITY FULL only. */
  readonly old: Partial<Row> | undefined;
  readonly transaction: {
    readonly id: number;
    /** `0/1A2B3C8` */
    readonly lsn: string;
    /** ISO 8601 with microseconds, UTC. */
    readonly committedAt: string;
  };
}

/** One event to be sent. What is left out is as it is without a transform. */
export interface EventDraft {
  readonly detailType: string;
  readonly data: JsonValue;
  readonly source?: string;
  readonly resources?: readonly string[];
  readonly bus?: string;
}

/**
 * The default export of a transform module. Synchronous and free of side effects: a change that is sent again must become the
 * same events, in the same order.
 */
export type Transform<Row extends RowData = RowData> = (
  change: RowChangeView<Row>,
) => EventDraft | readonly EventDraft[] | undefined;
