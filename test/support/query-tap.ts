import type { Tap } from './tcp-proxy.ts';

export interface QueryTap {
  readonly tap: Tap;
  /** What was asked of the server since the last call: simple queries and executions, by their text where it is known. */
  take(): string[];
}

/** Reads the frontend's half of PostgreSQL's protocol: what a worker asks, over all of its connections. Without TLS only. */
export function tapQueries(): QueryTap {
  let queries: string[] = [];
  const tap: Tap = () => {
    let rest: Buffer = Buffer.alloc(0);
    // The first message has no type.
    let isStarted = false;
    let parsed = '';
    return (sent) => {
      rest = Buffer.concat([rest, sent]);
      for (;;) {
        const head = isStarted ? 1 : 0;
        if (rest.length < head + 4) return;
        const end = head + rest.readInt32BE(head);
        if (rest.length < end) return;
        const body = rest.subarray(head + 4, end);
        const type = isStarted ? String.fromCharCode(rest[0] ?? 0) : '';
        if (type === 'Q') queries.push(textOf(body));
        // Name of the statement, then its text.
        if (type === 'P') parsed = textOf(body.subarray(body.indexOf(0) + 1));
        if (type === 'E') queries.push(parsed);
        isStarted = true;
        rest = rest.subarray(end);
      }
    };
  };
  return {
    tap,
    take() {
      const taken = queries;
      queries = [];
      return taken;
    },
  };
}

function textOf(bytes: Buffer): string {
  return bytes.toString('utf8', 0, bytes.indexOf(0)).replaceAll(/\s+/g, ' ').trim();
}
