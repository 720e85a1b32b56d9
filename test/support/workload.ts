import pg from 'pg';

/**
 * Random writers on `shop.items` whose committed changes can be told afterwards from the database itself: each change also writes a row of
 * `shop.journal` (not captured) in the same transaction, so that truth does not depend on what the writer saw of its COMMIT.
 */
export const WORKLOAD_SCHEMA = `
  create schema shop;
  create table shop.items (id int primary key, version int not null, payload text, price numeric(12,2), tags text[]);
  alter table shop.items replica identity full;
  create table shop.journal (key int not null, version int not null, op text not null, primary key (key, version));
`;

export interface Workload {
  /** Ends the writers after their current transaction. */
  stop(): Promise<void>;
  /** Transactions that were seen to commit; a lower bound. */
  readonly committed: number;
}

export interface WorkloadOptions {
  /** Connections, each on keys of its own, so that versions of a key grow in commit order. */
  readonly writers: number;
  /** Between two transactions of a writer. */
  readonly pauseMs: number;
  /** Default 50. */
  readonly keysPerWriter?: number;
  /** Most changes of one transaction. Default 6. */
  readonly changes?: number;
}

/** Writes until it is stopped; a lost connection is opened again. */
export function startWorkload(url: string, options: WorkloadOptions): Workload {
  const { keysPerWriter: keys = 50, changes = 6 } = options;
  const stopping = new AbortController();
  let committed = 0;
  const runs = Array.from({ length: options.writers }, (_, writer) => write(writer));

  async function write(writer: number): Promise<void> {
    const versions = new Map<number, number>();
    const alive = new Set<number>();
    let client: pg.Client | undefined;
    while (!stopping.signal.aborted) {
      try {
        if (client === undefined) {
          client = new pg.Client({ connectionString: url });
          client.on('error', () => {});
          await client.connect();
          await restore(client, { writer, keys, changes, versions, alive });
        }
        await transaction(client, { writer, keys, changes, versions, alive });
        committed += 1;
        if (options.pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, options.pauseMs));
      } catch {
        // The server went away in the middle: what is true is read back from the journal on the next connection.
        await client?.end().catch(() => {});
        client = undefined;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
    await client?.end().catch(() => {});
  }

  return {
    get committed() {
      return committed;
    },
    async stop() {
      stopping.abort();
      await Promise.all(runs);
    },
  };
}

interface Writer {
  readonly writer: number;
  readonly keys: number;
  readonly changes: number;
  readonly versions: Map<number, number>;
  readonly alive: Set<number>;
}

async function restore(client: pg.Client, state: Writer): Promise<void> {
  const from = state.writer * state.keys;
  const journal = await client.query(
    'select key, max(version) as version from shop.journal where key >= $1 and key < $2 group by key',
    [from, from + state.keys],
  );
  const items = await client.query('select id from shop.items where id >= $1 and id < $2', [from, from + state.keys]);
  state.versions.clear();
  state.alive.clear();
  for (const row of journal.rows) state.versions.set(row.key, row.version);
  for (const row of items.rows) state.alive.add(row.id);
}

async function transaction(client: pg.Client, state: Writer): Promise<void> {
  const after = { versions: new Map(state.versions), alive: new Set(state.alive) };
  await client.query('begin');
  const changes = 1 + Math.floor(Math.random() * state.changes);
  for (let change = 0; change < changes; change += 1) {
    const key = state.writer * state.keys + Math.floor(Math.random() * state.keys);
    const version = (after.versions.get(key) ?? 0) + 1;
    after.versions.set(key, version);
    const op = !after.alive.has(key) ? 'insert' : Math.random() < 0.2 ? 'delete' : 'update';
    await apply(client, { key, version, op });
    if (op === 'insert') after.alive.add(key);
    if (op === 'delete') after.alive.delete(key);
  }
  if (Math.random() < 0.1) {
    await client.query('rollback');
    return;
  }
  await client.query('commit');
  for (const [key, version] of after.versions) state.versions.set(key, version);
  state.alive.clear();
  for (const key of after.alive) state.alive.add(key);
}

async function apply(client: pg.Client, change: { key: number; version: number; op: string }): Promise<void> {
  const { key, version, op } = change;
  const payload = 'x'.repeat(Math.floor(Math.random() * 200));
  if (op === 'insert') {
    await client.query('insert into shop.items values ($1, $2, $3, $4, $5)', [
      key,
      version,
      payload,
      version / 4,
      [`v${version}`],
    ]);
  } else {
    // A deletion carries the version that it ends, so that it can be told from others of its key.
    await client.query('update shop.items set version = $2, payload = $3 where id = $1', [key, version, payload]);
    if (op === 'delete') await client.query('delete from shop.items where id = $1', [key]);
  }
  await client.query('insert into shop.journal values ($1, $2, $3)', [key, version, op]);
}
