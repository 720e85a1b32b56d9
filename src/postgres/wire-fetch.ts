import type pg from 'pg';
import { BanyanError } from '../core/errors.ts';
import { MAX_ROW_BYTES, type WireRows } from './wire-rows.ts';

/** One byte of kind, and the length of all behind it. */
const HEADER_BYTES = 5;
const DATA_ROW = 0x44;
/** Kinds of what a server answers to a query. */
const KINDS = new Set(Buffer.from('ACDEGHINSTVWZcdnst123'));

export interface FetchOptions {
  /** A cursor of the transaction that is open: for the protocol it is a portal. */
  readonly portal: string;
  readonly rows: number;
  readonly into: WireRows;
  /** Rows are left out from here on. */
  readonly maxBytes: number;
}

type DataListener = (data: Buffer) => void;

/** Resolves with the number of rows that came, those left out too. */
export function fetchInto(client: pg.ClientBase, options: FetchOptions): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  client.query(new WireFetch(options, (error, rows) => (error == null ? resolve(rows) : reject(error))));
  return promise;
}

/**
 * The next rows of a cursor, past pg's parser, which makes an object and a string of everything. While rows come the connection's data is looked
 * through here, message by message, and all that is no row goes on to pg. Against `FETCH` the server saves writing the rows to a store of
 * its own first.
 */
class WireFetch implements pg.Submittable {
  /** pg wraps it to limit the time. */
  callback: (error: Error | null | undefined, rows: number) => void;
  readonly #options: FetchOptions;
  #stream: pg.Connection['stream'] | undefined;
  #parsers: DataListener[] = [];
  #rows = 0;
  /** Within what has arrived: what is left of it then is passed on when that ends. */
  #isReading = false;

  constructor(options: FetchOptions, callback: WireFetch['callback']) {
    this.#options = options;
    this.callback = callback;
  }

  submit(connection: pg.Connection): void {
    const { portal, rows } = this.#options;
    this.#attach(connection.stream);
    connection.stream.cork();
    // pg takes a number, and one parameter.
    connection.execute({ portal, rows: rows as unknown as string }, true);
    // A message of its own each time: the server's limit of time begins anew with it, and the portal stays, since a transaction is open.
    connection.sync();
    connection.stream.uncork();
  }

  handlePortalSuspended(): void {}
  handleCommandComplete(): void {}
  /** Behind a time-out pg has the rows. */
  handleDataRow(): void {}

  handleReadyForQuery(): void {
    this.#detach();
    this.callback(null, this.#rows);
  }

  handleError(error: Error): void {
    this.#detach();
    this.callback(error, this.#rows);
  }

  #attach(stream: pg.Connection['stream']): void {
    this.#stream = stream;
    this.#parsers = stream.listeners('data') as DataListener[];
    stream.on('data', this.#onData);
    for (const parser of this.#parsers) stream.off('data', parser);
  }

  /** What is not a whole message yet is the next reader's. */
  #detach(): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    this.#stream = undefined;
    for (const parser of this.#parsers) stream.on('data', parser);
    stream.off('data', this.#onData);
    if (!this.#isReading) this.#passRest();
  }

  readonly #onData = (data: Buffer): void => {
    const { into, maxBytes } = this.#options;
    into.receive(data);
    const { start, end: received } = into.unread;
    const bytes = into.buffer;
    let place = start;
    this.#isReading = true;
    while (this.#stream !== undefined && place + HEADER_BYTES <= received) {
      const kind = bytes[place] as number;
      const end = place + 1 + bytes.readUInt32BE(place + 1);
      if (!KINDS.has(kind) || end < place + HEADER_BYTES || end - place > MAX_ROW_BYTES) {
        this.#stream.destroy(refusal(kind));
        return;
      }
      if (end > received) break;
      if (kind === DATA_ROW) {
        this.#rows += 1;
        if (into.held < maxBytes) into.keep(place + HEADER_BYTES, end);
      } else {
        // A copy: whoever gets it may keep it, and the buffer is written anew.
        this.#pass(Buffer.from(bytes.subarray(place, end)));
      }
      place = end;
    }
    this.#isReading = false;
    into.settle(place);
    if (this.#stream === undefined) this.#passRest();
  };

  #pass(data: Buffer): void {
    for (const parser of this.#parsers) parser.call(this.#stream, data);
  }

  #passRest(): void {
    const rest = this.#options.into.takeUnread();
    if (rest.length > 0) this.#pass(rest);
  }
}

function refusal(kind: number): BanyanError {
  if (kind !== DATA_ROW) return new BanyanError('unknown', 'the server’s answer is not made of messages');
  return new BanyanError('unknown', `a row has more than ${MAX_ROW_BYTES} bytes: it can not be read`, {
    remedy:
      'leave its large columns out with `exclude` and `columnList: true`, or the row with the backfill’s condition',
  });
}
