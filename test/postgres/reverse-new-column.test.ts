import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { makeReverseWorkerBed, ORDERS, type ReverseWorkerBed } from '../support/reverse-worker-bed.ts';

/** Tables that get another shape while the worker runs. */

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server?.stop());

const { setup, capture, entry, order } = ORDERS;

async function apply(bed: ReverseWorkerBed, ...bodies: string[]): Promise<void> {
  await bed.queue.send(...bodies);
  await bed.queue.empty();
  await bed.confirmed();
}

function compiledAgain(bed: ReverseWorkerBed): number {
  return bed.logged.filter((line) => line.includes('tables have another shape now')).length;
}

/** `origin causedBy: data`, by the order of the stream. */
function published(bed: ReverseWorkerBed): unknown[] {
  return bed.events
    .toSorted((a, b) => (a.metadata.sequence < b.metadata.sequence ? -1 : 1))
    .map(({ metadata, data }) => {
      const { origin, causedBy } = metadata as { origin?: string; causedBy?: string };
      return [origin, causedBy, data];
    });
}

describe('a column that is added while the worker runs', () => {
  test('is a correction from the first event on where its default is none that the event meant', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'new_column', setup });
    await bed.startRunning({ capture, reverse: { apply: [entry] } });
    await apply(bed, order(1));
    await bed.sql(`alter table orders add column region text default 'eu'`);
    await apply(bed, order(2));
    expect(published(bed)).toEqual([['correction', 'order-2-1', { id: 2, status: 'good', region: 'eu' }]]);

    await eventually(() => compiledAgain(bed) === 1);
    await apply(bed, order(3), order(1, 'better', 2));
    // Of a row that is there already, the default changes nothing.
    expect(published(bed).slice(1)).toEqual([['correction', 'order-3-1', { id: 3, status: 'good', region: 'eu' }]]);
    expect(await bed.sql('select id, status from orders order by id')).toEqual([
      { id: 1, status: 'better' },
      { id: 2, status: 'good' },
      { id: 3, status: 'good' },
    ]);
    expect(compiledAgain(bed)).toBe(1);
  });

  test('has what a trigger puts into it told as a correction, and what the legacy system writes makes nothing compile again', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'new_column_trigger', setup });
    await bed.startRunning({ capture, reverse: { apply: [entry] } });
    await apply(bed, order(1));
    await bed.sql(`alter table orders add column region text;
      create function place() returns trigger language plpgsql as $$ begin new.region := new.status || ' here'; return new; end $$;
      create trigger place before update on orders for each row execute function place()`);
    await apply(bed, order(1, 'better', 2));
    expect(published(bed)).toEqual([['correction', 'order-1-2', { id: 1, status: 'better', region: 'better here' }]]);
    await eventually(() => compiledAgain(bed) === 1);
    await bed.sql(`insert into orders values (7, 'legacy')`);
    // The server describes the table once more.
    await bed.sql('analyze orders; alter table orders set (fillfactor = 90)');
    await bed.sql(`insert into orders values (8, 'legacy')`);
    await bed.accepted(3);
    expect(compiledAgain(bed)).toBe(1);
  });

  test.for([
    ['the column list leaves it out', { exclude: ['secret'], columnList: true }, 'region text'],
    ['it is generated', {}, 'region text generated always as (upper(status)) stored'],
  ] as const)(
    'is no correction for good where the stream does not show it: %s',
    async ([, options, column], { task }) => {
      const name = `new_hidden_${task.id.replaceAll(/\W/g, '_')}`;
      const wide = setup.replace('status', 'secret text, status');
      await using bed = await makeReverseWorkerBed(server, { name, setup: wide });
      await bed.startRunning({ capture: [{ ...capture[0], ...options }], reverse: { apply: [entry] } });
      await apply(bed, order(1));
      await bed.sql(`alter table orders add column ${column}`);
      await apply(bed, order(2));
      await eventually(() => compiledAgain(bed) === 1);
      const before = bed.events.length;
      await apply(bed, order(1, 'better', 2), order(3));
      expect(bed.events.slice(before)).toEqual([]);
    },
  );

  test('lets events go on that come while the table is altered', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'new_column_busy', setup });
    const worker = await bed.startRunning({ capture, reverse: { apply: [entry] } });
    const ids = Array.from({ length: 100 }, (_, index) => index + 1);
    await bed.queue.send(...ids.slice(0, 50).map((id) => order(id)));
    await bed.sql(`alter table orders add column region text`);
    await bed.queue.empty();
    await bed.sql(`alter table orders add column place text default 'here'`);
    await bed.queue.send(...ids.slice(50).map((id) => order(id)));
    await bed.queue.empty();
    await bed.confirmed();
    expect(await bed.sql('select count(*)::int as n from orders')).toEqual([{ n: 100 }]);
    expect(worker.status().reverse).toMatchObject({ state: 'running', heldTables: [], parked: 0 });
    // Every row that was made with the default has been told of, whatever its statement knew.
    const told = bed.events.filter(({ data }) => data['place'] === 'here').map(({ data }) => Number(data['id']));
    expect(told.toSorted((a, b) => a - b)).toEqual(ids.slice(50));
  });
});
