import type pg from 'pg';

/** A statement, prepared under its name, with its values as PostgreSQL's text. */
export interface TextQuery {
  readonly name: string;
  readonly text: string;
  readonly values: readonly (string | null)[];
}

/** A row as PostgreSQL's text. */
export type TextRow = readonly (string | null)[];

/** What a connection has prepared by itself; pg keeps names of its own, and does not tell. */
const prepared = new WeakMap<pg.ClientBase, Set<string>>();

/**
 * Several statements on one way to the server and back, and the rows of each. They run one after the other; behind one that fails none runs. A system call for each message, and
 * an answer waited for, cost more than most statements themselves.
 */
export async function queryTogether(
  client: pg.ClientBase,
  queries: readonly TextQuery[],
): Promise<readonly (readonly TextRow[])[]> {
  let known = prepared.get(client);
  if (known === undefined) prepared.set(client, (known = new Set()));
  for (const query of queries) {
    if (known.has(query.name)) continue;
    // By itself: whether it was prepared before another one failed is not told.
    await sent(client, (connection) => connection.parse({ name: nameOf(query), text: query.text, types: [] }, true));
    known.add(query.name);
  }
  return await sent(client, (connection) => {
    for (const query of queries) {
      connection.bind({ statement: nameOf(query), values: [...query.values] }, true);
      connection.execute(null, true);
    }
  });
}

/** pg prepares under the plain name. */
function nameOf({ name }: TextQuery): string {
  return `${name}_t`;
}

async function sent(client: pg.ClientBase, write: (connection: pg.Connection) => void): Promise<TextRow[][]> {
  const { promise, resolve, reject } = Promise.withResolvers<TextRow[][]>();
  client.query(new Exchange(write, (error, answers) => (error === undefined ? resolve(answers) : reject(error))));
  return await promise;
}

/** What pg asks of whoever speaks its protocol alone, as pg-cursor does. The text of the rows is all that is wanted: the server is not asked to describe them. */
class Exchange implements pg.Submittable {
  readonly #write: (connection: pg.Connection) => void;
  readonly #answers: TextRow[][] = [];
  #rows: TextRow[] = [];
  /** pg puts its own around it, for its time limit. */
  callback: (error: Error | undefined, answers: TextRow[][]) => void;

  constructor(write: (connection: pg.Connection) => void, callback: Exchange['callback']) {
    this.#write = write;
    this.callback = callback;
  }

  submit(connection: pg.Connection): void {
    connection.stream.cork();
    this.#write(connection);
    connection.sync();
    connection.stream.uncork();
  }

  handleDataRow({ fields }: { readonly fields: TextRow }): void {
    this.#rows.push(fields);
  }

  handleCommandComplete(): void {
    this.#answers.push(this.#rows);
    this.#rows = [];
  }

  handleReadyForQuery(): void {
    this.callback(undefined, this.#answers);
  }

  handleError(error: Error): void {
    this.callback(error, this.#answers);
  }
}
