import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { bodyOf, makeReverseWorkerBed, type ReverseWorkerBed } from '../support/reverse-worker-bed.ts';

/** Events that find their rows by a unique column which the WAL's old rows do not carry. */

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server?.stop());

/** Before anything that happens. */
const NOTHING_SEEN = '0001-00000001-0000000000000001-0000000000-00';
const SETUP = 'create table items (id int primary key, code text not null unique, name text)';
const FULL = /^alter table "public"\."items" replica identity full;/;
const CAPTURE = [{ table: 'public.items' }];
const CHANGED = {
  match: { source: ['shop.items'], 'detail-type': ['ItemChanged'] },
  table: 'public.items',
  operation: 'upsert',
  key: { code: 'detail.code' },
  set: { id: 'detail.id', name: 'detail.name' },
  version: 'detail.version',
};
const REMOVED = {
  match: { source: ['shop.items'], 'detail-type': ['ItemRemoved'] },
  table: 'public.items',
  operation: 'delete',
  key: { code: 'detail.code' },
  version: 'detail.version',
};

interface Item {
  readonly code: string;
  readonly version: number;
  readonly id?: number;
  readonly name?: string;
  readonly basedOn?: string;
}

function changed({ id = 1, name = 'new', ...item }: Item): string {
  const detail = { id, name, ...item };
  return bodyOf({
    id: `${item.code}-${item.version}`,
    type: 'ItemChanged',
    source: 'shop.items',
    detail,
  });
}

function removed(item: Item): string {
  return bodyOf({ id: `${item.code}-${item.version}`, type: 'ItemRemoved', source: 'shop.items', detail: item });
}

async function apply(bed: ReverseWorkerBed, body: string): Promise<void> {
  await bed.queue.send(body);
  await bed.queue.empty();
}

const items = (bed: ReverseWorkerBed) => bed.sql('select id, code, name from items order by id');

describe('a key outside the replica identity', () => {
  test('does not keep our own updates and deletes from being known as echoes', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'identity_echo', setup: SETUP });
    const worker = await bed.startRunning({ capture: CAPTURE, reverse: { apply: [CHANGED, REMOVED] } });
    await apply(bed, changed({ code: 'a', version: 1 }));
    await apply(bed, changed({ code: 'a', version: 2, name: 'newer' }));
    // The identity's own column.
    await apply(bed, changed({ code: 'a', version: 3, id: 2 }));
    expect(await items(bed)).toEqual([{ id: 2, code: 'a', name: 'new' }]);
    await apply(bed, removed({ code: 'a', version: 4 }));
    expect(await items(bed)).toEqual([]);
    await bed.sql(`insert into items values (9, 'legacy', 'legacy')`);
    await bed.accepted(1);
    expect(bed.events.map(({ metadata }) => metadata.key)).toEqual([{ id: 9 }]);
    expect(worker.table('public.items').origins).toMatchObject({ echo: 4, correction: 0, trigger: 0, legacy: 1 });
  });

  test('tells what a trigger made of the key itself as a correction', async () => {
    const trigger = `
      create function recode() returns trigger language plpgsql as $$ begin new.code := upper(new.code); return new; end $$;
      create trigger recode before update on items for each row execute function recode()`;
    await using bed = await makeReverseWorkerBed(server, { name: 'identity_trigger', setup: `${SETUP}; ${trigger}` });
    await bed.startRunning({ capture: CAPTURE, reverse: { apply: [CHANGED] } });
    await apply(bed, changed({ code: 'a', version: 1 }));
    await apply(bed, changed({ code: 'a', version: 2, name: 'newer' }));
    await bed.accepted(1);
    expect(bed.events).toMatchObject([
      { metadata: { origin: 'correction', causedBy: 'a-2' }, data: { code: 'A', name: 'newer' } },
    ]);
  });

  test('is refused where basedOn needs every legacy change of it, until the table sends the key', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'identity_based', setup: SETUP });
    const entry = { ...CHANGED, basedOn: 'detail.basedOn' };
    const config = { capture: CAPTURE, reverse: { apply: [entry] } };
    await expect(bed.start(config)).rejects.toThrow(
      expect.objectContaining({ remedy: expect.stringMatching(FULL) as string }) as Error,
    );
    await bed.sql('alter table items replica identity full');
    await bed.startRunning(config);
    await bed.sql('alter table items replica identity default');
    // The worker looks at the catalog again when it begins anew.
    await bed.sql(`select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '${bed.slot}'`);
    await eventually(() => bed.logged.filter((line) => line.includes('reverse sync runs')).length === 2);
    await apply(bed, changed({ code: 'a', version: 1, basedOn: NOTHING_SEEN }));
    expect(await items(bed)).toEqual([]);
    expect(await bed.sql(`select kind from banyan.dead_letter where direction = 'reverse'`)).toMatchObject([
      { kind: 'schema-drift' },
    ]);
    expect(bed.logged.map((line) => (JSON.parse(line) as { remedy?: string }).remedy)).toContainEqual(
      expect.stringMatching(FULL),
    );

    await bed.sql('alter table items replica identity full');
    await bed.ask('redrive', { table: 'public.items', direction: 'reverse' });
    expect(await items(bed)).toEqual([{ id: 1, code: 'a', name: 'new' }]);
    // What legacy deleted stays deleted for an event that did not know of it.
    await bed.sql(`delete from items where code = 'a'`);
    await bed.accepted(1);
    await apply(bed, changed({ code: 'a', version: 2, basedOn: NOTHING_SEEN }));
    expect(await items(bed)).toEqual([]);
    expect(await bed.sql('select kind from banyan.conflict')).toEqual([{ kind: 'update_deleted' }]);
  });
});
