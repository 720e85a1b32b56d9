import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { BanyanError } from '../../src/core/errors.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import type { Target } from '../../src/reverse/intent.ts';
import { ApplyBed, brief } from '../support/apply-bed.ts';
import { eventually } from '../support/eventually.ts';

const TABLES = `
  create table orders (id int primary key, v text, code text unique, checked int check (checked > 0));
  create table parents (id int primary key);
  create table children (id int primary key, parent int references parents);
  create table later (id int primary key, parent int references parents deferrable initially deferred);
  create function raises() returns trigger language plpgsql as $$ begin
    if new.v like 'raise %' then
      raise exception using errcode = split_part(new.v, ' ', 2), message = 'a value: ' || new.v;
    elsif new.v = 'end me' then perform pg_terminate_backend(pg_backend_pid());
    end if;
    return new; end $$;
  create trigger raises after insert or update on orders for each row execute function raises();`;

let server: EmbeddedPostgres;
let bed: ApplyBed;
let orders: Target;
let id = 0;
const others: pg.Client[] = [];

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
  bed = await ApplyBed.open(server, 'failures', TABLES);
  orders = await bed.target({ table: 'public.orders', set: ['v'], conflict: 'new-wins' });
  await bed.follow();
});
afterEach(async () => {
  await Promise.all(others.splice(0).map((client) => client.end()));
});
afterAll(async () => {
  await bed?.[Symbol.asyncDispose]();
  await server?.stop();
});

async function legacy(): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: server.url('failures') });
  await client.connect();
  others.push(client);
  return client;
}

function next(): string {
  return `${++id}`;
}

/** Whether something of our sessions waits for somebody else's. */
async function isWaiting(): Promise<boolean> {
  const rows = await bed.rows(
    `select from pg_stat_activity where application_name = 'banyan shop' and wait_event_type = 'Lock'`,
  );
  return rows.length > 0;
}

/** Nothing of the event is in any table, and no message of it went out. */
async function expectNothingOf(event: string, key: string): Promise<void> {
  expect(await bed.rows(`select from orders where id = ${key}`)).toEqual([]);
  expect(await bed.rows(`select from banyan.inbox where event_id = '${event}'`)).toEqual([]);
  expect(
    await bed.rows(`select from banyan.applied_version where table_name = 'public.orders' and key = array['${key}']`),
  ).toEqual([]);
}

describe('an event that can not be applied', () => {
  test.for([
    ['23514', 'checked', '-1', 'row-refused', 'constraint_violation'],
    ['23505', 'code', 'taken', 'row-refused', 'constraint_violation'],
    ['P0001', 'v', 'raise P0001', 'row-refused', 'constraint_violation'],
    ['U0815', 'v', 'raise U0815', 'row-refused', 'constraint_violation'],
    ['42704', 'v', 'raise 42704', 'schema-drift', 'schema_mismatch'],
  ] as const)(
    'because of %s is set aside, and the others of its transaction are applied',
    async ([code, column, value, kind, conflict]) => {
      await bed.pool.query(`insert into orders (id, code) values (0, 'taken') on conflict do nothing`);
      const target = await bed.target({ table: 'public.orders', set: [column] });
      const [first, bad, last] = [next(), next(), next()];
      const [event, parked] = [`bad ${bad}`, bed.parked.length];
      await bed.follow();
      const outcomes = await bed.apply([
        bed.intent(orders, { key: [last], values: ['last'], version: 1 }),
        bed.intent(target, { key: [bad], values: [value], version: 1, event }),
        bed.intent(orders, { key: [first], values: ['first'], version: 1 }),
      ]);
      expect(outcomes.map(brief)).toEqual(['applied echo', `failed ${kind}`, 'applied echo']);
      expect(bed.parked.slice(parked)).toEqual([{ event, kind, code, conflict }]);
      await expectNothingOf(event, bad);
      const inOrder = [first, last].toSorted();
      expect(await bed.stream()).toEqual([
        inOrder.flatMap((key) => [`tag insert ${key}`, `insert orders ${key}`, 'echo']),
      ]);
      const [, failed] = outcomes;
      expect(failed?.status === 'failed' && failed.error.message).not.toContain(value);
    },
  );

  test('because its parent is missing waits for it', async () => {
    const children = await bed.target({ table: 'public.children', set: ['parent'] });
    const parents = await bed.target({ table: 'public.parents', set: [] });
    const asked = { key: ['1'], values: ['7'], version: 1, event: 'child' };
    expect(await bed.one(children, asked)).toBe('failed parent-missing');
    expect(bed.parked.at(-1)).toEqual({
      event: 'child',
      kind: 'parent-missing',
      code: '23503',
      conflict: 'fk_missing',
    });
    expect(await bed.one(parents, { key: ['7'], version: 1 })).toBe('applied echo');
    expect(await bed.one(children, asked)).toBe('applied echo');
  });

  test('because of a constraint that is checked with the commit is found among the others', async () => {
    const later = await bed.target({ table: 'public.later', set: ['parent'] });
    const parked = bed.parked.length;
    const keys = [next(), next()];
    const intents = () => [
      bed.intent(orders, { key: [keys[0] ?? ''], values: ['a'], version: 1, event: `with ${keys[0]}` }),
      bed.intent(later, { key: ['1'], values: ['99'], version: 1, event: 'deferred' }),
      bed.intent(orders, { key: [keys[1] ?? ''], values: ['b'], version: 1, event: `with ${keys[1]}` }),
    ];
    expect((await bed.apply(intents())).map(brief)).toEqual(['applied echo', 'failed parent-missing', 'applied echo']);
    expect(bed.parked.slice(parked).map(({ event }) => event)).toEqual(['deferred']);
    expect(await bed.rows('select from later')).toEqual([]);
    expect(await bed.rows(`select from banyan.inbox where event_id = 'deferred'`)).toEqual([]);
    expect((await bed.apply(intents())).map(brief)).toEqual(['duplicate', 'failed parent-missing', 'duplicate']);
    await bed.pool.query('insert into parents values (99)');
    expect((await bed.apply(intents())).map(brief)).toEqual(['duplicate', 'applied echo', 'duplicate']);
  });

  test('because the role lacks a right on its table waits, and is not set aside', async () => {
    await bed.pool.query('create table closed (id int primary key, v text)');
    const closed = await bed.target({ table: 'public.closed', set: ['v'] });
    await bed.pool.query('revoke insert on closed from "failures worker"');
    const parked = bed.parked.length;
    const keys = [next(), next()];
    const intents = () => [
      bed.intent(orders, { key: [keys[0] ?? ''], values: ['a'], version: 1, event: `open ${keys[0]}` }),
      bed.intent(closed, { values: ['a'], version: 1, event: 'denied' }),
      bed.intent(orders, { key: [keys[1] ?? ''], values: ['b'], version: 1, event: `open ${keys[1]}` }),
    ];
    expect((await bed.apply(intents())).map(brief)).toEqual([
      'applied echo',
      'failed database-privilege',
      'applied echo',
    ]);
    expect(bed.parked.length).toBe(parked);
    expect(await bed.rows(`select from banyan.inbox where event_id = 'denied'`)).toEqual([]);
    await bed.pool.query('grant insert (id, v) on closed to "failures worker"');
    expect((await bed.apply(intents())).map(brief)).toEqual(['duplicate', 'applied echo', 'duplicate']);
  });

  test('because its column is gone holds its table', async () => {
    await bed.pool.query('create table shrinking (id int primary key, v text)');
    const target = await bed.target({ table: 'public.shrinking', set: ['v'] });
    await bed.pool.query('alter table shrinking drop column v');
    expect(await bed.one(target, { values: ['a'], version: 1 })).toBe('failed schema-drift');
    expect(bed.parked.at(-1)).toMatchObject({ kind: 'schema-drift', code: '42703', conflict: 'schema_mismatch' });
  });
});

test('a table whose updates its publication refuses is held: no event of it could be applied', async () => {
  await bed.pool.query('create table anonymous (id int not null unique, v text)');
  const target = await bed.target({ table: 'public.anonymous', set: ['v'] });
  expect(await bed.one(target, { values: ['a'], version: 1 })).toBe('applied echo');
  expect(await bed.one(target, { values: ['b'], version: 2 })).toBe('failed schema-drift');
  expect(bed.parked.at(-1)).toMatchObject({ kind: 'schema-drift', code: '55000', conflict: 'schema_mismatch' });
});

describe('a transaction that fails as a whole', () => {
  test.for(['40001', '40P01', '53100', '53200', '57014', '55P03'])(
    'because of %s leaves nothing, and is done again',
    async (code) => {
      const [good, bad] = [next(), next()];
      const parked = bed.parked.length;
      await bed.follow();
      const asked = { key: [good], values: ['a'], version: 1, event: `good ${good}` };
      const applying = bed.apply([
        bed.intent(orders, asked),
        bed.intent(orders, { key: [bad], values: [`raise ${code}`], version: 1, event: `bad ${bad}` }),
      ]);
      await expect(applying).rejects.toMatchObject({ kind: 'database-unavailable', reaction: 'retry', code });
      await expectNothingOf(`good ${good}`, good);
      await expectNothingOf(`bad ${bad}`, bad);
      expect(bed.parked.length).toBe(parked);
      expect(await bed.stream()).toEqual([]);
      expect(await bed.one(orders, asked)).toBe('applied echo');
    },
  );

  test('because its connection is lost leaves nothing, and the next one is a new session', async () => {
    const [good, bad] = [next(), next()];
    await bed.follow();
    const asked = { key: [good], values: ['a'], version: 1, event: `good ${good}` };
    const applying = bed.apply([
      bed.intent(orders, asked),
      bed.intent(orders, { key: [bad], values: ['end me'], version: 1, event: `bad ${bad}` }),
    ]);
    await expect(applying).rejects.toMatchObject({ reaction: 'retry' });
    await expectNothingOf(`good ${good}`, good);
    await expectNothingOf(`bad ${bad}`, bad);
    expect(await bed.stream()).toEqual([]);
    expect(await bed.one(orders, asked)).toBe('applied echo');
  });

  test('because of a deadlock with the legacy system leaves nothing half done, and neither side hangs', async () => {
    const [first, second] = [next(), next()].toSorted();
    for (const key of [first, second]) await bed.one(orders, { key: [key ?? ''], values: ['new'], version: 1 });
    const client = await legacy();
    // Theirs looks for a deadlock later than ours: ours is the one that gives way.
    await client.query(`set deadlock_timeout = '20s'; begin; update orders set v = 'legacy' where id = ${second}`);
    const intents = [first, second].map((key) =>
      bed.intent(orders, { key: [key ?? ''], values: ['ours'], version: 2, event: `crossed ${key}` }),
    );
    const applying = bed.apply(intents);
    // It fails while theirs is still being waited for.
    applying.catch(() => undefined);
    await eventually(isWaiting);
    await client.query(`update orders set v = 'legacy' where id = ${first}; commit`);
    await expect(applying).rejects.toMatchObject({ code: '40P01', reaction: 'retry' });
    const values = `select v from orders where id in (${first}, ${second})`;
    expect(await bed.rows(values)).toEqual([{ v: 'legacy' }, { v: 'legacy' }]);
    expect(await bed.rows(`select from banyan.inbox where event_id like 'crossed %'`)).toEqual([]);
    const again = 'applied correction update_origin_differs';
    expect((await bed.apply(intents)).map(brief)).toEqual([again, again]);
    expect(await bed.rows(values)).toEqual([{ v: 'ours' }, { v: 'ours' }]);
  });

  test('because a row stays locked is done again later', async () => {
    const key = next();
    await bed.one(orders, { key: [key], values: ['new'], version: 1 });
    const client = await legacy();
    await client.query(`begin; update orders set v = 'legacy' where id = ${key}`);
    const asked = { key: [key], values: ['ours'], version: 2, event: `locked ${key}` };
    await expect(bed.one(orders, asked)).rejects.toMatchObject({ code: '55P03', reaction: 'retry' });
    await client.query('commit');
    expect(await bed.one(orders, asked)).toBe('applied correction update_origin_differs');
  });

  test('because an event can not be set aside applies none of it', async () => {
    const [good, bad] = [next(), next()];
    const applying = bed.apply(
      [
        bed.intent(orders, { key: [good], values: ['a'], version: 1, event: `good ${good}` }),
        bed.intent(orders, { key: [bad], values: ['raise P0001'], version: 1, event: `bad ${bad}` }),
      ],
      { park: () => Promise.reject(new BanyanError('unknown', 'no room for it')) },
    );
    await expect(applying).rejects.toThrow('no room for it');
    await expectNothingOf(`good ${good}`, good);
    await expectNothingOf(`bad ${bad}`, bad);
  });
});

describe('somebody else who makes the same row at the same time', () => {
  test('is waited for, and the event meets the row', async () => {
    const key = next();
    const client = await legacy();
    await client.query(`begin; insert into orders (id, v) values (${key}, 'legacy')`);
    const applying = bed.one(orders, { key: [key], values: ['ours'], version: 1 });
    await eventually(isWaiting);
    await client.query('commit');
    expect(await applying).toBe('applied correction update_origin_differs');
    expect(await bed.rows(`select v from orders where id = ${key}`)).toEqual([{ v: 'ours' }]);
  });

  test('with another event of the same key, by another session, is met in turn', async () => {
    const key = next();
    const outcomes = await Promise.all(
      [1, 2, 3, 4].map((version) => bed.apply([bed.intent(orders, { key: [key], values: [`v${version}`], version })])),
    );
    expect(
      outcomes
        .flat()
        .map(brief)
        .every((each) => each === 'applied echo' || each === 'stale'),
    ).toBe(true);
    expect(await bed.rows(`select v from orders where id = ${key}`)).toEqual([{ v: 'v4' }]);
  });
});
