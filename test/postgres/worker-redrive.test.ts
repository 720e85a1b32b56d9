import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { fieldOf, makeBed, type WorkerBed } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;
let folder: string;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
  folder = await mkdtemp(join(tmpdir(), 'banyan-redrive-'));
});

afterAll(async () => {
  await server?.stop();
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
});

const setup = `create table orders (id integer primary key, status text, quantity integer)`;
const HELD_GROUP = 'table:public.orders';

/** Waits for so many parked letters. */
async function parked(bed: WorkerBed, count: number) {
  return eventually(
    async () => {
      const letters = await bed.sql<{ id: string; kind: string; group_key: string; behind: boolean; entry: number }>(
        `select id, kind, group_key, behind, entry from banyan.dead_letter where status = 'parked' order by sequence, entry, id`,
      );
      return letters.length === count && letters;
    },
    () => `never ${count} letters`,
    { timeoutMs: 15_000 },
  );
}

/** A transform module, as a file of its own. */
async function transform(name: string, body: string): Promise<string> {
  const path = join(folder, `${name}.mjs`);
  await writeFile(path, `export default (change) => { ${body} };`);
  return path;
}

const idsOf = (bed: WorkerBed): string[] => bed.events.map(({ metadata }) => metadata.id);

describe('several capture entries of one table', () => {
  test('never give two events one id, whatever a redrive makes of what one of them parked', async () => {
    await using bed = await makeBed(server, { name: 'two_entries', setup });
    const broken = await transform('broken', `throw new Error('poison');`);
    const mended = await transform(
      'mended',
      `return [{ detailType: 'A', data: { part: 1 } }, { detailType: 'A', data: { part: 2 } }];`,
    );
    const second = { table: 'public.orders', emit: [{ on: ['insert'], detailType: 'B' }], order: 'relaxed' };
    const first = await bed.start({ capture: [{ table: 'public.orders', transform: broken }, second] });
    await bed.sql(`insert into orders values (1, 'a', 1)`);
    await parked(bed, 1);
    await bed.accepted(1);
    await first.stop();
    await bed.start({ capture: [{ table: 'public.orders', transform: mended }, second] });
    await bed.ask('redrive', { all: true });
    expect(bed.events.map(({ detailType, data }) => [detailType, data['part']])).toEqual([
      ['B', undefined],
      ['A', 1],
      ['A', 2],
    ]);
    expect(new Set(idsOf(bed)).size).toBe(3);
  });

  test('of a held table send nothing of a change that one of them can not map', async () => {
    await using bed = await makeBed(server, { name: 'half_a_change', setup });
    await bed.start({
      capture: [
        { table: 'public.orders', detail: { all: 'id' } },
        { table: 'public.orders', detail: { state: 'status' }, emit: [{ on: ['insert'], detailType: 'State' }] },
      ],
    });
    await bed.sql(`alter table orders rename column status to state; insert into orders values (1, 'a', 1)`);
    await parked(bed, 2);
    await bed.sql(`alter table orders rename column state to status; insert into orders values (2, 'b', 1)`);
    const [, unmappable] = await parked(bed, 4);
    // What was stored while the column was away has it under another name.
    expect(await bed.ask('redrive', { all: true })).toMatchObject({ sent: 0, stopped: [{ group: HELD_GROUP }] });
    expect(bed.events).toEqual([]);
    await bed.ask('discard', { ids: [Number(unmappable?.id)] });
    expect(await bed.ask('redrive', { all: true })).toMatchObject({ sent: 3, stopped: [] });
    expect(fieldOf(bed.events, { key: 1, field: 'all' })).toEqual([1]);
    expect(new Set(idsOf(bed)).size).toBe(3);
  });
});
