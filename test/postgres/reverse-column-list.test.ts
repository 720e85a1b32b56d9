import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { bodyOf, makeReverseWorkerBed, type ReverseWorkerBed } from '../support/reverse-worker-bed.ts';

/** Events that find their rows by a column which the publication's column list leaves out. */

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server?.stop());

const setup = `create table items (id int primary key, code text not null unique, name text);
  insert into items values (9, 'legacy', 'legacy')`;
const capture = [{ table: 'public.items', exclude: ['code'], columnList: true }];
const entry = {
  match: { source: ['shop.items'], 'detail-type': ['ItemChanged'] },
  table: 'public.items',
  operation: 'upsert',
  key: { code: 'detail.code' },
  set: { id: 'detail.id', name: 'detail.name' },
  version: 'detail.version',
  conflict: 'new-wins',
};

async function apply(bed: ReverseWorkerBed, type: string, detail: { id?: number; code: string; version: number }) {
  const { code, version } = detail;
  const body = { name: 'new', ...detail };
  await bed.queue.send(bodyOf({ id: `${code}-${version}`, type, source: 'shop.items', detail: body }));
  await bed.queue.empty();
  await bed.confirmed();
}

test.for([['upsert'], ['insert'], ['update']])(
  'an entry that may make such a row writes nothing: the stream would not show that it was us (%s)',
  async ([operation]) => {
    await using bed = await makeReverseWorkerBed(server, { name: `hidden_${operation}`, setup });
    await bed.startRunning({ capture, reverse: { apply: [{ ...entry, operation }] } });
    await apply(bed, 'ItemChanged', { id: 1, code: 'a', version: 1 });
    expect(await bed.sql('select code from items')).toEqual([{ code: 'legacy' }]);
    expect(bed.events).toEqual([]);
    expect(await bed.sql('select kind from banyan.dead_letter')).toEqual([{ kind: 'schema-drift' }]);
    expect(bed.logged.join('\n')).toContain('take code out of `exclude`');
  },
);

test('patches and deletes are known by the replica identity, which every column list holds', async () => {
  await using bed = await makeReverseWorkerBed(server, { name: 'hidden_known', setup });
  const patch = { ...entry, operation: 'update', carries: 'patch', set: { name: 'detail.name' } };
  const { set: _, ...rest } = entry;
  const removal = { ...rest, operation: 'delete', match: { source: ['shop.items'], 'detail-type': ['ItemRemoved'] } };
  const worker = await bed.startRunning({ capture, reverse: { apply: [patch, removal] } });
  await apply(bed, 'ItemChanged', { code: 'legacy', version: 1 });
  await apply(bed, 'ItemRemoved', { code: 'legacy', version: 2 });
  expect(await bed.sql('select code from items')).toEqual([]);
  expect(worker.table('public.items').origins).toMatchObject({ trigger: 0, legacy: 0 });
});
