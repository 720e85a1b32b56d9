import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { crc32 } from 'node:zlib';

/**
 * An EventBridge for millions of events of one transaction: accepts everything, keeps four bytes for each. Events are known by
 * the last part of their id: an ordinal, or the key of a row that was read.
 */
export interface HashingBus extends AsyncDisposable {
  readonly url: string;
  /** Distinct ordinals. */
  readonly events: number;
  /** Events that came again. */
  readonly repeats: number;
  /** Events that came again and were not the same, or whose row does not belong to their ordinal. */
  readonly wrong: readonly string[];
  /** What the ids have before the ordinal; one transaction has one. */
  readonly prefixes: ReadonlySet<string>;
  /** Resolves when `count` more events were accepted, repeats included. */
  accepted(count: number): Promise<void>;
}

interface Entry {
  readonly DetailType: string;
  readonly Detail: string;
}

export interface HashingBusOptions {
  /** Only events of this type count; default: all. */
  readonly detailType?: string;
  /** What comes again may have been read anew, and be another event. */
  readonly repeatsMayDiffer?: boolean;
}

/** `rowOf`: the id of the row that has this ordinal. */
export async function startHashingBus(
  rows: number,
  rowOf: (ordinal: number) => number,
  options: HashingBusOptions = {},
): Promise<HashingBus> {
  const seen = new Uint8Array(rows);
  const hashes = new Uint32Array(rows);
  const prefixes = new Set<string>();
  const wrong: string[] = [];
  let events = 0;
  let repeats = 0;
  let waiting: { readonly count: number; readonly resolve: () => void } | undefined;

  const take = ({ Detail, DetailType }: Entry): void => {
    if (options.detailType !== undefined && DetailType !== options.detailType) return;
    const start = Detail.indexOf('"id":"') + 6;
    const id = Detail.slice(start, Detail.indexOf('"', start));
    const last = Math.max(id.lastIndexOf('-'), id.lastIndexOf(':'));
    prefixes.add(id.slice(0, last));
    const ordinal = Number(id.slice(last + 1));
    const hash = crc32(Detail, crc32(DetailType));
    if (seen[ordinal] === 1) {
      repeats += 1;
      if (options.repeatsMayDiffer !== true && hashes[ordinal] !== hash) wrong.push(id);
      return;
    }
    events += 1;
    seen[ordinal] = 1;
    hashes[ordinal] = hash;
    if (!Detail.includes(`"data":{"id":${rowOf(ordinal)}}`)) wrong.push(id);
  };

  const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { Entries: entries } = JSON.parse(Buffer.concat(chunks).toString()) as { Entries?: readonly Entry[] };
      for (const entry of entries ?? []) take(entry);
      const answer =
        entries === undefined
          ? { Name: 'default' }
          : { FailedEntryCount: 0, Entries: entries.map((_, index) => ({ EventId: `${index}` })) };
      response.writeHead(200, { 'content-type': 'application/x-amz-json-1.1' });
      response.end(JSON.stringify(answer));
      if (waiting !== undefined && events + repeats >= waiting.count) {
        waiting.resolve();
        waiting = undefined;
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get events() {
      return events;
    },
    get repeats() {
      return repeats;
    },
    wrong,
    prefixes,
    accepted: (count) =>
      new Promise((resolve) => {
        waiting = { count: events + repeats + count, resolve };
      }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
