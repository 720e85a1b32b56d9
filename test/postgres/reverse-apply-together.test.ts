import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import type { Target } from '../../src/reverse/intent.ts';
import { ApplyBed, brief } from '../support/apply-bed.ts';

const TABLES = `
  create table orders (id int primary key, status text);
  create table linked (id int primary key, next int, status text);
  create function follow() returns trigger language plpgsql as $$ begin
    update linked set status = 'by trigger' where id = new.next;
    return null;
  end $$;
  create trigger follow after update on linked for each row when (pg_trigger_depth() = 0) execute function follow();`;

let server: EmbeddedPostgres;
let bed: ApplyBed;
let orders: Target;
let linked: Target;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
  bed = await ApplyBed.open(server, 'together', TABLES);
  orders = await bed.target({ table: 'public.orders', set: ['status'] });
  linked = { ...(await bed.target({ table: 'public.linked', set: ['next', 'status'] })), conflict: 'legacy-wins' };
  await bed.follow();
});
afterAll(async () => {
  await bed?.[Symbol.asyncDispose]();
  await server?.stop();
});

const applied = async (intents: Parameters<ApplyBed['apply']>[0]) => (await bed.apply(intents)).map(brief);

describe('events of one transaction', () => {
  test('that nothing is in the way of need no savepoint, and each has its tag and verdict', async () => {
    await bed.one(orders, { key: ['2'], values: ['new'], version: 1 });
    await bed.one(orders, { key: ['3'], values: ['new'], version: 5 });
    await bed.one(orders, { key: ['4'], values: ['new'], version: 1, event: 'of 4' });
    await bed.follow();
    const outcomes = await applied([
      bed.intent(orders, { key: ['1'], values: ['new'], version: 1 }),
      bed.intent(orders, { key: ['2'], values: ['paid'], version: 2 }),
      bed.intent(orders, { key: ['3'], values: ['late'], version: 4, event: 'of 3' }),
      bed.intent(orders, { key: ['4'], values: ['new'], version: 1, event: 'of 4' }),
    ]);
    expect(outcomes).toEqual(['applied echo', 'applied echo', 'stale', 'duplicate']);
    expect(await bed.stream()).toEqual([
      ['tag insert 1', 'insert orders 1', 'echo', 'tag update 2', 'update orders 2', 'echo'],
    ]);
    // A savepoint would have made each row that of a transaction of its own.
    expect(await bed.rows('select count(distinct xmin::text)::int as writers from orders where id in (1, 2)')).toEqual([
      { writers: 1 },
    ]);
    const { target } = bed.intent(orders, {});
    const late = { producer: 'new', eventId: 'of 3', target: target.id };
    expect(await bed.state.inbox.get(late)).toMatchObject({ outcome: 'stale' });
    expect(await bed.state.appliedVersions.get('public.orders', ['2'])).toMatchObject({ created: 2n, last: 2n });
  });

  test('see what triggers of the ones before them did to their rows', async () => {
    await bed.one(linked, { key: ['1'], values: ['2', 'new'], version: 1 });
    await bed.one(linked, { key: ['2'], values: [null, 'new'], version: 1 });
    const outcomes = await applied([
      bed.intent(linked, { key: ['1'], values: ['2', 'paid'], version: 2 }),
      bed.intent(linked, { key: ['2'], values: [null, 'paid'], version: 2 }),
    ]);
    expect(outcomes).toEqual(['applied echo', 'refused update_origin_differs']);
    expect(await bed.rows('select id, status from linked where id < 3 order by id')).toEqual([
      { id: 1, status: 'paid' },
      { id: 2, status: 'by trigger' },
    ]);
  });

  test('do not delete a row that a trigger of the ones before them changed', async () => {
    const remove = {
      ...(await bed.target({ table: 'public.linked', operation: 'delete' })),
      conflict: linked.conflict,
    };
    await bed.one(linked, { key: ['3'], values: ['4', 'new'], version: 1 });
    await bed.one(linked, { key: ['4'], values: [null, 'new'], version: 1 });
    const outcomes = await applied([
      bed.intent(linked, { key: ['3'], values: ['4', 'paid'], version: 2 }),
      bed.intent(remove, { key: ['4'], version: 2 }),
    ]);
    expect(outcomes).toEqual(['applied echo', 'refused delete_origin_differs']);
    expect(await bed.rows('select status from linked where id = 4')).toEqual([{ status: 'by trigger' }]);
  });

  test('for two spellings of one key are done one after the other', async () => {
    const outcomes = await applied([
      bed.intent(orders, { key: ['09'], values: ['second'], version: 2 }),
      bed.intent(orders, { key: ['9'], values: ['first'], version: 1 }),
    ]);
    expect(outcomes).toEqual(['applied echo', 'stale']);
    expect(await bed.state.appliedVersions.get('public.orders', ['9'])).toMatchObject({ created: 2n, last: 2n });
    expect(await bed.rows('select status from orders where id = 9')).toEqual([{ status: 'second' }]);
  });

  test('of a table whose reverse is off wait for no lock of its rows', async () => {
    await bed.one(orders, { key: ['10'], values: ['new'], version: 1 });
    await bed.state.stages.set('public.orders', 'shadow', 'a test');
    expect(await bed.one(orders, { key: ['11'], values: ['new'], version: 1 })).toBe('skipped');
    const legacy = await bed.pool.connect();
    try {
      await legacy.query('begin; select from orders where id = 10 for update');
      expect(await bed.one(orders, { key: ['10'], values: ['paid'], version: 2 })).toBe('skipped');
    } finally {
      await legacy.query('rollback');
      legacy.release();
    }
    await bed.state.stages.set('public.orders', 'dual', 'a test');
    expect(await bed.one(orders, { key: ['10'], values: ['paid'], version: 2 })).toBe('applied echo');
  });
});
