import { Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import type pg from 'pg';
import plr from 'pg-logical-replication';
import { BanyanError } from '../core/errors.ts';
import { formatLsn, type Lsn, maxLsn, parseLsn, ZERO_LSN } from '../core/lsn.ts';
import { Channel } from '../flow/channel.ts';
import { within } from '../flow/within.ts';
import { replicationClientConfig } from './connection.ts';
import { quoteIdentifier, quoteLiteral } from './identifier.ts';
import { createDecoder, type PgoutputDecoder } from './pgoutput/decode.ts';
import { sessionFacts } from './session-facts.ts';
import { refusesNewSessions, ShutdownWatch } from './shutdown-watch.ts';
import { toDatabaseError } from './sqlstate.ts';
import type { ReplicationStreamOptions, StreamItem } from './stream-options.ts';

/** Every status update that is not the timer's waits this long behind the last one. */
const STATUS_GAP_MS = 100;
/** How long a graceful close waits for the server's answer, twice. */
const CLOSE_WAIT_MS = 1_000;
/** What a decoded message occupies beyond the bytes of its values: objects, arrays, string headers. */
const ITEM_OVERHEAD_BYTES = 200;

/**
 * Opens the slot and resolves when the server streams. Throws `slot-in-use` where another session reads the slot, `gap` where there is no such slot, and
 * `database-unavailable`. Whoever opens it must `close` it.
 */
export async function openReplicationStream(options: ReplicationStreamOptions): Promise<ReplicationStream> {
  options.signal.throwIfAborted();
  const stream = new ReplicationStream(options);
  await stream.open();
  return stream;
}

/** The private parts of pg's client that replication needs: it has no public way to end a COPY BOTH or to pause. */
interface CopyConnection {
  readonly stream: Socket;
  endCopyFrom(): void;
}

/**
 * One session of `START_REPLICATION`, as chunks of messages. Reading slower than the server sends pauses the socket. The
 * confirmed position is only ever what `watermark` says; it never goes back.
 */
export class ReplicationStream implements AsyncIterable<readonly StreamItem[]>, AsyncDisposable {
  readonly #options: ReplicationStreamOptions;
  readonly #service: InstanceType<typeof plr.LogicalReplicationService>;
  readonly #channel: Channel<StreamItem>;
  readonly #socket = new Socket();
  #connection: CopyConnection | undefined;
  #decode: PgoutputDecoder = createDecoder();
  /** START_REPLICATION has been answered. */
  #started = false;
  /** Messages are dropped unread: the iteration is over. */
  #discarding = false;
  #closing: Promise<void> | undefined;
  #running: Promise<unknown> = Promise.resolve();
  #confirmed: Lsn = ZERO_LSN;
  #statusTimer: NodeJS.Timeout | undefined;
  #soonTimer: NodeJS.Timeout | undefined;
  #statusSentAt = 0;
  /** Something arrived since the timer looked last; a flag, since a clock per row would cost more than the row's header. */
  #heard = false;
  #heardAt = 0;
  #replyTimeoutMs = 60_000;
  #pausedAt: number | undefined;
  readonly #shutdown: ShutdownWatch;
  #onKeepalive: (() => void) | undefined;

  constructor(options: ReplicationStreamOptions) {
    this.#options = options;
    const config = { ...replicationClientConfig(options.connection), stream: () => this.#socket };
    // Both off: `auto` would confirm what was received, and so would its timer.
    this.#service = new plr.LogicalReplicationService(config, { acknowledge: { auto: false, timeoutSeconds: 0 } });
    this.#shutdown = new ShutdownWatch(() => refusesNewSessions(options.connection));
    this.#channel = new Channel({
      ...(options.highItems === undefined ? {} : { highItems: options.highItems }),
      ...(options.highBytes === undefined ? {} : { highBytes: options.highBytes }),
      signal: options.signal,
      onPause: () => this.#pause(),
      onResume: () => this.#resume(),
      onDone: () => this.#stopIntake(),
    });
  }

  /** The position that the server was told last; the slot's own one before that. */
  get confirmed(): Lsn {
    return this.#confirmed;
  }

  /** The socket is paused since the consumer is slower than the server. */
  get paused(): boolean {
    return this.#channel.paused;
  }

  async open(): Promise<void> {
    const { signal } = this.#options;
    const started = new Promise<void>((resolve) => this.#service.on('start', () => resolve()));
    this.#service.on('error', (error) => this.#fail(error));
    this.#service.on('heartbeat', (walEnd, _clock, replyRequested) =>
      this.#keepalive(parseLsn(walEnd), replyRequested),
    );
    const abort = () => this.#socket.destroy();
    signal.addEventListener('abort', abort, { once: true });
    try {
      this.#running = this.#service.subscribe(
        {
          name: 'pgoutput',
          options: undefined,
          start: (client, slot) => this.#start(client, slot),
          parse: (bytes) => this.#receive(bytes),
        },
        this.#options.slot,
      );
      await Promise.race([started, this.#running]);
      signal.throwIfAborted();
    } catch (error) {
      await this.#end();
      signal.throwIfAborted();
      throw this.#failureOf(error);
    } finally {
      signal.removeEventListener('abort', abort);
    }
    this.#started = true;
    this.#running.then(
      () => this.#fail(new BanyanError('database-unavailable', 'the server ended the replication stream')),
      (error: unknown) => this.#fail(error),
    );
  }

  /** Tells the server soon that the watermark moved (at most ten times a second); does nothing where it did not. */
  acknowledge(): void {
    if (this.#options.watermark() > this.#confirmed) this.#sendStatusSoon();
  }

  /**
   * Ends the session. With `lastStatus` (the default) the server is told the watermark once more, and the slot is free when this resolves, unless the
   * server does not answer within two seconds.
   */
  close(options: { readonly lastStatus?: boolean } = {}): Promise<void> {
    this.#closing ??= this.#close(options.lastStatus ?? true);
    return this.#closing;
  }

  [Symbol.asyncIterator](): AsyncIterator<readonly StreamItem[]> {
    return this.#channel;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Before START_REPLICATION the walsender takes plain SQL, so the facts of slot and session come from the same connection. */
  async #start(client: pg.Client, slot: string): Promise<unknown> {
    const { publication, statusIntervalMs, replyTimeoutMs } = this.#options;
    const facts = await sessionFacts(client, { slot, publication });
    this.#decode = createDecoder(facts.serverEncoding);
    this.#confirmed = facts.confirmedLsn;
    this.#connection = (client as unknown as { readonly connection: CopyConnection }).connection;
    this.#replyTimeoutMs = replyTimeoutMs ?? (facts.walSenderTimeoutMs > 0 ? facts.walSenderTimeoutMs : 60_000);
    const third = facts.walSenderTimeoutMs > 0 ? facts.walSenderTimeoutMs / 3 : Number.POSITIVE_INFINITY;
    const interval = Math.max(10, Math.min(statusIntervalMs ?? 2_000, third, this.#replyTimeoutMs / 3));
    this.#heardAt = performance.now();
    this.#statusTimer = setInterval(() => this.#tick(), interval);
    const names = quoteLiteral(quoteIdentifier(publication));
    return client.query(
      `START_REPLICATION SLOT ${quoteIdentifier(slot)} LOGICAL 0/0 (proto_version '1', publication_names ${names}, messages 'true')`,
    );
  }

  /** Called by the driver for each message, inside the socket's handler: must not throw, and must not keep `bytes`. */
  #receive(bytes: Buffer): void {
    this.#heard = true;
    if (this.#discarding) return;
    try {
      this.#channel.push(this.#decode(bytes), bytes.length + ITEM_OVERHEAD_BYTES);
    } catch (error) {
      this.#fail(error);
    }
  }

  #keepalive(walEnd: Lsn, replyRequested: boolean): void {
    this.#heard = true;
    this.#onKeepalive?.();
    if (!this.#discarding) this.#channel.push({ kind: 'keepalive', walEnd }, ITEM_OVERHEAD_BYTES);
    // The driver leaves this to us; unanswered, the server ends the session after wal_sender_timeout.
    if (replyRequested) {
      this.#shutdown.asked(performance.now());
      this.#sendStatusSoon();
    }
  }

  #tick(): void {
    if (!this.#started) return;
    const now = performance.now();
    // Nothing can be heard through a paused socket, so that time does not count.
    if (this.#heard || this.#connection?.stream.isPaused() === true) {
      this.#heard = false;
      this.#heardAt = now;
    } else if (now - this.#heardAt > this.#replyTimeoutMs) {
      // After a turn that took long, the reply may have arrived and not been read: the reads come before this.
      setImmediate(() => {
        if (!this.#heard) this.#fail(silence(this.#replyTimeoutMs));
      });
    }
    this.#sendStatus(true);
    void this.#yieldToShutdown(now);
  }

  async #yieldToShutdown(now: number): Promise<void> {
    try {
      if (!(await this.#shutdown.look(now, this.#pausedAt))) return;
      this.#fail(new BanyanError('database-unavailable', 'the server is shutting down and waits for this session'));
    } catch (error) {
      this.#fail(error);
    }
  }

  #sendStatusSoon(): void {
    if (this.#closing !== undefined || this.#soonTimer !== undefined || !this.#started) return;
    const wait = this.#statusSentAt + STATUS_GAP_MS - performance.now();
    if (wait <= 0) {
      this.#sendStatus(false);
      return;
    }
    this.#soonTimer = setTimeout(() => {
      this.#soonTimer = undefined;
      this.#sendStatus(false);
    }, wait);
  }

  /** `ask`: for a keepalive in reply, which proves that the connection still has two ends. */
  #sendStatus(ask: boolean): void {
    if (!this.#started) return;
    // Old minor releases take a lower position as it is and move the slot back.
    this.#confirmed = maxLsn(this.#options.watermark(), this.#confirmed);
    this.#statusSentAt = performance.now();
    // The driver adds one byte to what it is given: told the end of a commit, it would confirm past it, and a transaction that
    // begins exactly there would never be sent again.
    const position = formatLsn((this.#confirmed - 1n) as Lsn);
    this.#service.acknowledge(position, ask).catch((error: unknown) => this.#fail(error));
  }

  #pause(): void {
    this.#pausedAt = performance.now();
    this.#connection?.stream.pause();
  }

  #resume(): void {
    this.#heardAt = performance.now();
    this.#pausedAt = undefined;
    this.#connection?.stream.resume();
  }

  /** Nobody reads any more: what the server still sends stays in the socket. */
  #stopIntake(): void {
    this.#discarding = true;
    if (this.#closing === undefined) this.#pause();
  }

  #fail(error: unknown): void {
    if (this.#closing !== undefined) return;
    const failure = this.#failureOf(error);
    this.#options.log.debug({ kind: failure.kind, code: failure.code }, 'replication stream ended');
    this.#channel.fail(failure);
    this.#closing = this.#end();
  }

  #failureOf(error: unknown): BanyanError {
    const { slot } = this.#options;
    const failure = toDatabaseError(error, `reading from slot ${slot}`);
    // "Undefined object" can only be the slot or the publication here: either way rows are missing from the stream.
    if (failure.code !== '42704') return failure;
    return new BanyanError('gap', failure.message, { code: failure.code, context: { slot } });
  }

  async #close(lastStatus: boolean): Promise<void> {
    this.#discarding = true;
    this.#channel.close();
    if (lastStatus && this.#started) await this.#sayGoodbye();
    await this.#end();
  }

  /** The reply to the last status proves that it was taken; the end of the COPY then frees the slot. */
  async #sayGoodbye(): Promise<void> {
    const replied = new Promise<void>((resolve) => (this.#onKeepalive = resolve));
    const ended = this.#running.catch(() => undefined);
    this.#connection?.stream.resume();
    this.#sendStatus(true);
    await within(CLOSE_WAIT_MS, Promise.race([replied, ended]));
    this.#connection?.endCopyFrom();
    await within(CLOSE_WAIT_MS, ended);
  }

  async #end(): Promise<void> {
    this.#discarding = true;
    this.#started = false;
    clearInterval(this.#statusTimer);
    clearTimeout(this.#soonTimer);
    this.#running.catch(() => undefined);
    // `stop` waits for the other side where no query runs; a dead one would never answer.
    await within(CLOSE_WAIT_MS, this.#service.stop());
    this.#connection?.stream.destroy();
    this.#socket.destroy();
  }
}

function silence(timeoutMs: number): BanyanError {
  return new BanyanError(
    'database-unavailable',
    `the server answered no status update for ${Math.round(timeoutMs / 100) / 10} s: the connection is taken for dead`,
  );
}
