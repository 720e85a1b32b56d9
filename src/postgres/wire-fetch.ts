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
  /** What has arrived of a message that is not complete, and how many bytes it takes to go on. */
  #held: Buffer[] = [];
  #heldBytes = 0;
  #needed = 0;
  #rows = 0;

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
    if (this.#heldBytes > 0) this.#pass(this.#takeHeld());
  }

  readonly #onData = (data: Buffer): void => {
    this.#held.push(data);
    this.#heldBytes += data.length;
    if (this.#heldBytes < this.#needed) return;
    const block = this.#takeHeld();
    let place = 0;
    while (this.#stream !== undefined && place + HEADER_BYTES <= block.length) {
      const kind = block[place] as number;
      const end = place + 1 + block.readUInt32BE(place + 1);
      if (!KINDS.has(kind) || end < place + HEADER_BYTES || end - place > MAX_ROW_BYTES) {
        this.#stream.destroy(refusal(kind));
        return;
      }
      if (end > block.length) {
        this.#needed = end - place;
        break;
      }
      if (kind === DATA_ROW) this.#take(block, place + HEADER_BYTES);
      else this.#pass(block.subarray(place, end));
      place = end;
    }
    if (place === block.length) return;
    const rest = block.subarray(place);
    if (this.#stream === undefined) {
      this.#pass(rest);
    } else {
      this.#held.push(rest);
      this.#heldBytes = rest.length;
    }
  };

  #take(block: Buffer, start: number): void {
    const { into, maxBytes } = this.#options;
    this.#rows += 1;
    if (into.bytes >= maxBytes) return;
    // The length of the message is not needed any more, and might keep the block from being ASCII.
    block.writeUInt32BE(0, start - 4);
    into.add(block, start);
  }

  #pass(data: Buffer): void {
    for (const parser of this.#parsers) parser.call(this.#stream, data);
  }

  #takeHeld(): Buffer {
    const [first] = this.#held;
    const all = this.#held.length === 1 && first !== undefined ? first : Buffer.concat(this.#held);
    this.#held = [];
    this.#heldBytes = 0;
    this.#needed = 0;
    return all;
  }
}

function refusal(kind: number): BanyanError {
  if (kind !== DATA_ROW) return new BanyanError('unknown', 'the server’s answer is not made of messages');
  return new BanyanError('unknown', `a row has more than ${MAX_ROW_BYTES} bytes: it can not be read`, {
    remedy:
      'leave its large columns out with `exclude` and `columnList: true`, or the row with the backfill’s condition',
  });
}
