import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

export interface TcpProxy extends AsyncDisposable {
  readonly port: number;
  /** The same URL through the proxy. */
  through(url: string): string;
  /** Half-open: the sockets stay, nothing passes any more, nothing says so. New connections are taken and starve, too. */
  freeze(): void;
  /** Lets new connections through. The frozen ones are reset: what they lost can not be made up. */
  thaw(): void;
  /** Resets every connection. */
  cut(): void;
  /** New connections go to another server. */
  retarget(port: number): void;
  close(): Promise<void>;
}

/** Sees what one connection sends to the server, chunk by chunk. */
export type Tap = () => (sent: Buffer) => void;

/** A TCP relay on 127.0.0.1 in front of a server, to take its network away. */
export async function startTcpProxy(targetPort: number, tap?: Tap): Promise<TcpProxy> {
  let target = targetPort;
  let frozen = false;
  const pairs = new Set<{ near: Socket; far: Socket }>();
  const server = createServer((near) => {
    const far = connect(target, '127.0.0.1');
    const pair = { near, far };
    pairs.add(pair);
    const sees = tap?.();
    if (sees !== undefined) near.on('data', sees);
    const end = () => {
      pairs.delete(pair);
      near.destroy();
      far.destroy();
    };
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('data', (data: Buffer) => {
        // A black hole, as a firewall that forgot the connection is: not even kept for later.
        if (frozen) return;
        // A slow reader must be felt at the other end.
        if (to.write(data)) return;
        from.pause();
        to.once('drain', () => from.resume());
      });
      from.on('error', () => {
        if (!frozen) end();
      });
      from.on('close', () => {
        if (!frozen) end();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
  const { port } = address;

  const cut = () => {
    for (const { near, far } of pairs) {
      near.resetAndDestroy();
      far.resetAndDestroy();
    }
    pairs.clear();
  };
  const close = async () => {
    cut();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  };
  return {
    port,
    through(url) {
      const proxied = new URL(url);
      proxied.port = `${port}`;
      return proxied.href;
    },
    freeze: () => (frozen = true),
    thaw: () => {
      frozen = false;
      cut();
    },
    cut,
    retarget: (next) => (target = next),
    close,
    [Symbol.asyncDispose]: close,
  };
}
