import pg from 'pg';
import { expect, test } from 'vitest';
import { EmbeddedPostgres, type PostgresMajor } from '../../src/demo/embedded-postgres.ts';
import { isMissing } from '../support/majors.ts';
import { ScriptedPublisher } from '../support/scripted-publisher.ts';
import { type TypeCase, typeCasesOf, typeCasesSetup } from '../support/type-cases.ts';
import { makeBed, seen, type SeenEvent, type WorkerBed } from '../support/worker-harness.ts';

const majors: readonly PostgresMajor[] = [14, 15, 16, 17, 18];

/** As `to_jsonb` of the oracle runs. */
const pinned = `set timezone = 'UTC'; set intervalstyle = 'postgres'; set bytea_output = 'hex'; set extra_float_digits = 1;
  set lc_monetary = 'C'; set datestyle = 'ISO'`;

for (const major of majors) {
  const missing = isMissing(major);
  test.skipIf(missing)(
    `every type and value arrives as to_jsonb of PostgreSQL ${major} gives it, on insert and on update`,
    async () => {
      await using server = await EmbeddedPostgres.start({ major });
      const cases = typeCasesOf(major);
      await using bed = await makeBed(server, { name: 'types', setup: typeCasesSetup });
      const events = await eventsOf(bed, cases);
      expect(events).toHaveLength(4 * cases.reduce((sum, { values }) => sum + values.length, 0));
      expect(await bed.sql('select message from banyan.dead_letter')).toEqual([]);
      const client = new pg.Client({ connectionString: bed.url });
      await client.connect();
      try {
        await client.query(pinned);
        expect(await differing(client, { events, cases })).toEqual([]);
      } finally {
        await client.end();
      }
    },
  );
}

/** Every value once inserted, and once again as the new value of a row that has it already, of two entries: `numbers` json and text. */
async function eventsOf(bed: WorkerBed, cases: readonly TypeCase[]): Promise<readonly SeenEvent[]> {
  const create = cases.map((one) => `create table ${tableOf(one)} (id integer primary key, value ${one.type})`);
  await bed.sql(create.join(';'));
  const tables = cases.map((one) => `public.${tableOf(one)}`);
  // A real bus refuses integers beyond int64, which json documents may hold: this one takes everything.
  const publisher = new ScriptedPublisher();
  await bed.start(
    {
      capture: [
        ...tables.map((table) => ({ table, numbers: 'json', source: 'as.json' })),
        ...tables.map((table) => ({ table, source: 'as.text' })),
      ],
    },
    { publisher },
  );
  for (const one of cases) {
    const statements = one.values.map(
      (value, id) => `insert into ${tableOf(one)} values (${id}, ${value});
        update ${tableOf(one)} set value = ${value} where id = ${id}`,
    );
    await bed.sql(statements.join(';'));
  }
  await bed.confirmed();
  return publisher.accepted.map(seen);
}

/** Where the server finds what was sent different from its own. */
async function differing(
  client: pg.Client,
  { events, cases }: { events: readonly SeenEvent[]; cases: readonly TypeCase[] },
): Promise<readonly object[]> {
  const byTable = Map.groupBy(events, ({ metadata, source }) => `${source} ${metadata.table}`);
  const found: object[] = [];
  for (const one of cases) {
    const ask = async (source: string, sql: string): Promise<void> => {
      const sent = byTable.get(`${source} public.${tableOf(one)}`) ?? [];
      const values = [sent.map(({ data }) => data['id']), sent.map(({ detail }) => detail)];
      const { rows } = await client.query<object>(
        `select id, left((sent.detail #> '{data,value}')::text, 200) as ours, left(stored.value::text, 200) as theirs
         from unnest($1::int[], $2::json[]) as sent(id, detail) join ${tableOf(one)} stored using (id) where ${sql}`,
        values,
      );
      for (const row of rows) found.push({ case: one.name, source, ...row });
    };
    if (one.passThrough) {
      // No JSON function of the server takes these: their text must be in the event as it is.
      const { rows } = await client.query<{ id: number; text: string }>(
        `select id, value::text as text from ${tableOf(one)}`,
      );
      for (const { id, text } of rows) {
        const own = (byTable.get(`as.json public.${tableOf(one)}`) ?? []).filter(({ data }) => data['id'] === id);
        for (const { detail } of own) if (!detail.includes(`"value":${text}`)) found.push({ case: one.name, id });
      }
      continue;
    }
    await ask('as.json', `(sent.detail #> '{data,value}')::jsonb is distinct from to_jsonb(stored.value)`);
    if (one.type !== 'bigint' && one.type !== 'numeric') continue;
    await ask(
      'as.text',
      `json_typeof(sent.detail #> '{data,value}') <> 'string'
       or sent.detail #>> '{data,value}' is distinct from stored.value::text`,
    );
  }
  return found;
}

function tableOf(one: TypeCase): string {
  return `case_${one.name}`;
}
