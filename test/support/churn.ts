import pg from 'pg';

/**
 * Tables whose rows change in every way while they are read. `plain` publishes all of it; `picky` only some, so that much happens without an event.
 * `big` is stored out of line and not sent where it did not change.
 */
export const CHURN_SCHEMA = ['plain', 'picky', 'small']
  .map(
    (
      table,
    ) => `create table ${table} (id int primary key, version int not null, note text, price numeric(12,2), big text);
      alter table ${table} alter big set storage external;`,
  )
  .concat(`create table keyless (id int, version int not null, note text, price numeric(12,2), big text);
    alter table keyless replica identity full; alter table keyless alter big set storage external;`)
  .join('\n');

export const CHURN_CAPTURE = [
  { table: 'public.plain', backfill: true },
  {
    table: 'public.picky',
    backfill: true,
    emit: [
      { on: 'read', detailType: 'PickyImported' },
      { on: ['insert', 'delete'], detailType: 'PickyChanged' },
      { on: 'update', when: 'row.version % 3 == 0', detailType: 'PickyChanged' },
    ],
  },
  { table: 'public.small', backfill: true },
  {
    table: 'public.keyless',
    backfill: true,
    emit: [
      { on: 'read', detailType: 'KeylessImported' },
      { on: ['insert', 'delete'], detailType: 'KeylessChanged' },
      { on: 'update', when: 'row.version % 3 != 0', detailType: 'KeylessChanged' },
    ],
  },
];

export async function fillChurn(url: string, rows: number): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  for (const [table, count] of Object.entries({ plain: rows, picky: rows, keyless: rows, small: 200 })) {
    await client.query(`insert into ${table}
      select n, 0, 'row ' || n, n * 1.5, case when n % 3 = 0 then repeat(md5(n::text), 90) end from generate_series(1, ${count}) n`);
  }
  await client.end();
}

export interface Churn {
  stop(): Promise<void>;
  readonly changes: number;
}

/** Changes random rows until it is stopped. */
export function startChurn(url: string, { writers, rows }: { writers: number; rows: number }): Churn {
  const stopping = new AbortController();
  let changes = 0;
  const write = async (): Promise<void> => {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    while (!stopping.signal.aborted) {
      await client.query('begin');
      try {
        const count = 1 + Math.floor(Math.random() * 4);
        for (let n = 0; n < count; n += 1) await client.query(statement(rows));
        await client.query(Math.random() < 0.9 ? 'commit' : 'rollback');
        changes += count;
      } catch {
        // Two writers met: a key that is taken, or a dead-lock.
        await client.query('rollback');
      }
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 6));
    }
    await client.end();
  };
  const running = Array.from({ length: writers }, write);
  return {
    get changes() {
      return changes;
    },
    async stop() {
      stopping.abort();
      await Promise.all(running);
    },
  };
}

function statement(rows: number): string {
  const kind = Math.random();
  if (kind < 0.01) return 'truncate small';
  const table = kind < 0.05 ? 'small' : kind < 0.4 ? 'plain' : kind < 0.7 ? 'picky' : 'keyless';
  const id = 1 + Math.floor(Math.random() * rows);
  const other = 1 + Math.floor(Math.random() * rows * 1.2);
  const text = Math.random().toString(36);
  const choice = Math.random();
  if (choice < 0.4) return `update ${table} set version = version + 1, note = '${text}' where id = ${id}`;
  if (choice < 0.5) return `update ${table} set version = version + 1, big = repeat('${text}', 300) where id = ${id}`;
  if (choice < 0.7) return `update ${table} set version = version + 1, id = ${other} where id = ${id}`;
  if (choice < 0.85) return `delete from ${table} where id = ${id}`;
  return `insert into ${table} values (${other}, 0, '${text}', ${id}.25, repeat('${text}', 300))`;
}
