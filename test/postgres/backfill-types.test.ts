import { expect, test } from 'vitest';
import { EmbeddedPostgres, type PostgresMajor } from '../../src/demo/embedded-postgres.ts';
import { isMissing } from '../support/majors.ts';
import { eventually } from '../support/eventually.ts';
import { ScriptedPublisher } from '../support/scripted-publisher.ts';
import { type TypeCase, typeCasesOf, typeCasesSetup } from '../support/type-cases.ts';
import { makeBed, seen, type SeenEvent, type WorkerBed } from '../support/worker-harness.ts';

const majors: readonly PostgresMajor[] = [14, 18];

/** Between the key of a row that was there before and that of its like that comes by the stream. */
const LATER = 10_000;

/** A database whose sessions would write values in another way than the stream does, if they were left to. */
const contrary = `do $$ declare setting text; begin
    foreach setting in array array['datestyle = ''German, DMY''', 'intervalstyle = ''iso_8601''', 'bytea_output = ''escape''',
      'extra_float_digits = -3', 'timezone = ''Asia/Kathmandu''', 'xmlbinary = ''hex''', 'quote_all_identifiers = on'] loop
      execute format('alter database %I set %s', current_database(), setting);
    end loop;
  end $$;`;

for (const major of majors) {
  const missing = isMissing(major);
  test.skipIf(missing)(
    `every type and value of PostgreSQL ${major} is written the same by a backfill as by the stream`,
    async () => {
      await using server = await EmbeddedPostgres.start({ major });
      const cases = typeCasesOf(major);
      await using bed = await makeBed(server, { name: 'backfill_types', setup: typeCasesSetup + contrary });
      const events = await eventsOf(bed, cases);
      const rows = cases.reduce((sum, { values }) => sum + values.length, 0);
      expect(await bed.sql('select message from banyan.dead_letter')).toEqual([]);
      for (const source of ['as.json', 'as.text']) {
        const own = events.filter((event) => event.source === source);
        const read = dataOf(own, 'read');
        const inserted = dataOf(own, 'insert');
        expect([read.size, inserted.size]).toEqual([rows, rows]);
        expect(differing(read, inserted)).toEqual([]);
      }
    },
  );
}

/** Every value in a row that was there before, and in one that is inserted after the backfill; `numbers` json and text. */
async function eventsOf(bed: WorkerBed, cases: readonly TypeCase[]): Promise<readonly SeenEvent[]> {
  // One column a type and one value a row: a table for each type would only wait for its turn.
  const columns = cases.map((one) => `${columnOf(one)} ${one.type}`);
  await bed.sql(`create table samples (id integer primary key, ${columns.join(', ')})`);
  await bed.sql(fill(cases, 0));
  // A real bus refuses integers beyond int64, which json documents may hold: this one takes everything.
  const publisher = new ScriptedPublisher();
  const table = 'public.samples';
  await bed.start(
    {
      capture: [
        { table, numbers: 'json', source: 'as.json', backfill: true },
        { table, source: 'as.text', backfill: true },
      ],
    },
    { publisher },
  );
  const { backfills } = await bed.state();
  await eventually(
    async () => (await backfills.latest(table))[0]?.status === 'completed',
    () => 'the backfill never ended',
    { timeoutMs: 20_000 },
  );
  await bed.sql(fill(cases, LATER));
  await bed.confirmed();
  return publisher.accepted.map(seen);
}

function fill(cases: readonly TypeCase[], offset: number): string {
  const values = cases.flatMap((one) => one.values.map((value) => ({ column: columnOf(one), value })));
  return values
    .map(({ column, value }, id) => `insert into samples (id, ${column}) values (${offset + id}, ${value})`)
    .join(';');
}

/** Text of `data` without the key, by the number that both rows of a value have. */
function dataOf(events: readonly SeenEvent[], operation: string): ReadonlyMap<number, string> {
  const found = new Map<number, string>();
  for (const { metadata, data, detail } of events) {
    if (metadata.operation !== operation) continue;
    const id = Number(data['id']);
    const begin = `"data":{"id":${id},`;
    const at = detail.indexOf(begin);
    expect(at).toBeGreaterThan(0);
    found.set(id % LATER, detail.slice(at + begin.length));
  }
  return found;
}

/** What is not the same, from shortly before the first difference. */
function differing(read: ReadonlyMap<number, string>, inserted: ReadonlyMap<number, string>): readonly object[] {
  return [...read].flatMap(([row, ours]) => {
    const theirs = inserted.get(row) ?? '';
    if (ours === theirs) return [];
    let same = 0;
    while (same < ours.length && ours[same] === theirs[same]) same += 1;
    const from = Math.max(0, same - 60);
    return [{ row, read: ours.slice(from, from + 200), inserted: theirs.slice(from, from + 200) }];
  });
}

function columnOf(one: TypeCase): string {
  return `case_${one.name}`;
}
