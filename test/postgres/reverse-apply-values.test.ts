import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres, type PostgresMajor } from '../../src/demo/embedded-postgres.ts';
import { ApplyBed } from '../support/apply-bed.ts';
import { isMissing } from '../support/majors.ts';

const majors: readonly PostgresMajor[] = [14, 18];

const TABLES = `
  create extension citext;
  create type mood as enum ('sad', 'happy');
  create domain amount as numeric(10,2) check (value >= 0);
  create table kinds (id int primary key, exact numeric, money numeric(10,2), paid amount, name varchar(5), padded char(5), pads char(3)[],
    doc json, docb jsonb, at timestamptz, second timestamptz(0), day date, small real, flags bit(3), feeling mood, tags text[], address inet,
    bytes bytea, folded citext, place point, search tsquery, yes bool, doubled numeric generated always as (money * 2) stored);
  create table filled (id int primary key, v text, filled text default 'by default', seen timestamptz, made int);
  create function stamp() returns trigger language plpgsql as $$ begin new.seen := clock_timestamp(); return new; end $$;
  create table stamped (id int primary key, v text, seen timestamptz);
  create trigger stamp before insert or update on stamped for each row execute function stamp();
  create function shout() returns trigger language plpgsql as $$ begin new.v := upper(new.v); return new; end $$;
  create table shouted (id int primary key, v text, w text);
  create trigger shout before insert or update on shouted for each row execute function shout();
  create table log (id int generated always as identity primary key, of int, what text);
  create function note() returns trigger language plpgsql security definer as $$ begin
    insert into log (of, what) values (coalesce(new.id, old.id), tg_op);
    if tg_op = 'UPDATE' and new.v = 'twice' then update logged set v = 'again' where id = new.id; end if;
    return null; end $$;
  create table logged (id int primary key, v text);
  create trigger note after insert or update or delete on logged for each row execute function note();
  create function swallow() returns trigger language plpgsql as $$ begin
    if tg_op = 'DELETE' then return null; end if;
    return case when new.v = 'swallowed' then null else new end; end $$;
  create table swallowing (id int primary key, v text);
  create trigger swallow before insert or update or delete on swallowing for each row execute function swallow();
  create table many (id int primary key, v text, ${Array.from({ length: 250 }, (_, n) => `c${n} text`).join(', ')})`;

for (const major of majors) {
  const missing = isMissing(major);
  describe.skipIf(missing)(`on PostgreSQL ${major}`, () => {
    let server: EmbeddedPostgres;
    let bed: ApplyBed;
    let id = 0;

    beforeAll(async () => {
      server = await EmbeddedPostgres.start({ major });
      bed = await ApplyBed.open(server, 'kinds', TABLES);
      await bed.follow();
    });
    afterAll(async () => {
      await bed?.[Symbol.asyncDispose]();
      await server?.stop();
    });

    describe('a value', () => {
      test.for([
        ['money', '1.5', 'echo', '1.50'],
        ['money', '1.555', 'correction', '1.56'],
        ['money', null, 'echo', null],
        ['exact', '1.500', 'echo', '1.500'],
        ['exact', 'NaN', 'echo', 'NaN'],
        ['paid', '2', 'echo', '2.00'],
        ['paid', '2.005', 'correction', '2.01'],
        ['name', 'abcde', 'echo', 'abcde'],
        // SQL lets spaces go without a word.
        ['name', 'abc      ', 'correction', 'abc  '],
        ['padded', 'ab', 'echo', 'ab   '],
        ['padded', 'ab   ', 'echo', 'ab   '],
        ['pads', '{a,bc}', 'echo', '{"a  ","bc "}'],
        ['doc', '{"b": 1,  "a": [1.0]}', 'echo', '{"b": 1,  "a": [1.0]}'],
        ['docb', '{"b": 1,  "a": [1.0]}', 'echo', '{"a": [1.0], "b": 1}'],
        ['docb', '{"a": 1, "a": 2}', 'echo', '{"a": 2}'],
        ['at', '2026-03-01 12:00:00.123456+05', 'echo', '2026-03-01 07:00:00.123456+00'],
        ['second', '2026-03-01 12:00:00.4+00', 'correction', '2026-03-01 12:00:00+00'],
        ['second', '2026-03-01 12:00:00+00', 'echo', '2026-03-01 12:00:00+00'],
        ['day', 'infinity', 'echo', 'infinity'],
        ['small', '0.1', 'echo', '0.1'],
        ['flags', '101', 'echo', '101'],
        ['feeling', 'happy', 'echo', 'happy'],
        ['tags', '{"a b",NULL,"NULL"}', 'echo', '{"a b",NULL,"NULL"}'],
        ['address', '10.0.0.1/32', 'echo', '10.0.0.1'],
        ['bytes', '\\xABcd', 'echo', '\\xabcd'],
        ['folded', 'Ab', 'echo', 'Ab'],
        ['place', '(1,2)', 'echo', '(1,2)'],
        ['yes', 'true', 'echo', 't'],
      ] as const)('of %s, %j, is stored as an %s', async ([column, value, verdict, stored]) => {
        const target = await bed.target({ table: 'public.kinds', set: [column] });
        const key = [`${++id}`];
        await bed.follow();
        expect(await bed.one(target, { key, values: [value], version: 1 })).toBe(`applied ${verdict}`);
        expect(
          await bed.rows(`select format('%s', ${column}) as v, ${column} is null as n from kinds where id = ${key[0]}`),
        ).toEqual([{ v: stored ?? '', n: stored === null }]);
        expect(await bed.stream()).toEqual([[`tag insert ${key[0]}`, `insert kinds ${key[0]}`, verdict]]);
        // The same as an update; after a correction the row holds what was made of it.
        await bed.pool.query(`update kinds set ${column} = null where id = ${key[0]}`);
        const again = await bed.one({ ...target, conflict: 'new-wins' }, { key, values: [value], version: 2 });
        expect(again.startsWith(value === null ? 'applied unchanged' : 'applied correction')).toBe(true);
      });

      test('that differs in its case alone is a change, where the type would not see it', async () => {
        const target = await bed.target({ table: 'public.kinds', set: ['folded'] });
        const key = [`${++id}`];
        await bed.one(target, { key, values: ['Ab'], version: 1 });
        expect(await bed.one(target, { key, values: ['AB'], version: 2 })).toBe('applied echo');
        expect(await bed.rows(`select folded::text from kinds where id = ${key[0]}`)).toEqual([{ folded: 'AB' }]);
      });

      test.for([
        ['name', 'abcdef', '22001'],
        ['padded', 'abcdef', '22001'],
        ['money', '123456789', '22003'],
        ['paid', '-1', '23514'],
        ['flags', '1011', '22026'],
        ['feeling', 'angry', '22P02'],
        ['day', '2026-02-30', '22008'],
        ['docb', '{"a": "\\u0000"}', '22P05'],
        ['search', 'tea & ', '42601'],
      ] as const)('of %s, %j, is refused and not cut', async ([column, value, code]) => {
        const target = await bed.target({ table: 'public.kinds', set: [column] });
        const key = [`${++id}`];
        await bed.follow();
        expect(await bed.one(target, { key, values: [value], version: 1, event: `bad ${column}` })).toBe(
          'failed row-refused',
        );
        expect(bed.parked.at(-1)).toEqual({
          event: `bad ${column}`,
          kind: 'row-refused',
          code,
          conflict: 'constraint_violation',
        });
        expect(await bed.rows(`select from kinds where id = ${key[0]}`)).toEqual([]);
        expect(await bed.stream()).toEqual([]);
        // Nothing of it counts.
        expect(await bed.state.appliedVersions.get('public.kinds', key)).toBeUndefined();
      });
    });

    test('a default of a column that is not set is a correction, once', async () => {
      const target = await bed.target({ table: 'public.filled', set: ['v'] });
      await bed.follow();
      expect(await bed.one(target, { key: ['1'], values: ['a'], version: 1 })).toBe('applied correction');
      const sets = await bed.target({ table: 'public.filled', set: ['v', 'filled'] });
      expect(await bed.one(sets, { key: ['2'], values: ['a', 'by us'], version: 1 })).toBe('applied echo');
      expect(await bed.one(sets, { key: ['2'], values: ['b', 'by us'], version: 2 })).toBe('applied echo');
      expect(await bed.stream()).toEqual([
        ['tag insert 1', 'insert filled 1', 'correction'],
        ['tag insert 2', 'insert filled 2', 'echo'],
        ['tag update 2', 'update filled 2', 'echo'],
      ]);
    });

    test('a BEFORE trigger that changes what was set, or another column, is a correction', async () => {
      const shouted = await bed.target({ table: 'public.shouted', set: ['v'] });
      const other = await bed.target({ table: 'public.shouted', operation: 'update', set: ['w'] });
      const stamped = await bed.target({ table: 'public.stamped', set: ['v'] });
      await bed.follow();
      expect(await bed.one(shouted, { key: ['1'], values: ['a'], version: 1 })).toBe('applied correction');
      expect(await bed.one(shouted, { key: ['2'], values: ['A'], version: 1 })).toBe('applied echo');
      expect(await bed.one(other, { key: ['2'], values: ['w'], version: 1 })).toBe('applied echo');
      expect(await bed.one(stamped, { key: ['1'], values: ['a'], version: 1 })).toBe('applied correction');
      expect(await bed.one(stamped, { key: ['1'], values: ['b'], version: 2 })).toBe('applied correction');
      expect((await bed.stream()).map((each) => each.at(-1))).toEqual([
        'correction',
        'echo',
        'echo',
        'correction',
        'correction',
      ]);
    });

    test('what a trigger left is what we left: it is no conflict with the next event', async () => {
      const target = await bed.target({ table: 'public.stamped', set: ['v'] });
      const remove = await bed.target({ table: 'public.stamped', operation: 'delete' });
      await bed.one(target, { key: ['5'], values: ['a'], version: 1 });
      expect(await bed.one(target, { key: ['5'], values: ['b'], version: 2 })).toBe('applied correction');
      expect((await bed.one(remove, { key: ['5'], version: 3 })).split(' ').slice(2)).toEqual([]);
      expect(await bed.rows('select from stamped where id = 5')).toEqual([]);
    });

    test('rows of AFTER triggers stand behind the verdict', async () => {
      const target = await bed.target({ table: 'public.logged', set: ['v'] });
      await bed.follow();
      expect(await bed.one(target, { key: ['1'], values: ['a'], version: 1 })).toBe('applied echo');
      expect(await bed.one(target, { key: ['1'], values: ['twice'], version: 2 })).toBe('applied echo');
      expect(await bed.stream()).toEqual([
        ['tag insert 1', 'insert logged 1', 'echo', 'insert log 1'],
        ['tag update 1', 'update logged 1', 'echo', 'insert log 2', 'update logged 1', 'insert log 3'],
      ]);
    });

    test('a write that a trigger lets fall is refused, and the producer is told how the row stands', async () => {
      const target = await bed.target({ table: 'public.swallowing', set: ['v'] });
      const remove = await bed.target({ table: 'public.swallowing', operation: 'delete' });
      await bed.follow();
      expect(await bed.one(target, { key: ['1'], values: ['swallowed'], version: 1 })).toBe('refused echo_diverged');
      expect(await bed.one(target, { key: ['1'], values: ['a'], version: 2 })).toMatch(/^applied/);
      expect(await bed.one(target, { key: ['1'], values: ['swallowed'], version: 3 })).toBe('refused echo_diverged');
      expect(await bed.one(remove, { key: ['1'], version: 4 })).toBe('refused echo_diverged');
      expect(await bed.rows('select v from swallowing')).toEqual([{ v: 'a' }]);
      const [first, , second, third] = await bed.stream();
      expect([first, second, third]).toEqual([
        ['tag insert 1', 'refusal delete 1'],
        ['tag update 1', 'refusal update 1'],
        ['tag delete 1', 'refusal update 1'],
      ]);
      const [conflict] = await bed.state.conflicts.list({ table: 'public.swallowing' });
      expect(conflict).toMatchObject({
        kind: 'echo_diverged',
        resolution: 'legacy-wins',
        current: { id: '1', v: 'a' },
      });
    });

    test('the version of a write that a trigger lets fall counts: nothing waits for it', async () => {
      const target = await bed.target({ table: 'public.swallowing', set: ['v'], gaps: 'park' });
      expect(await bed.one(target, { key: ['9'], values: ['a'], version: 1 })).toBe('applied echo');
      expect(await bed.one(target, { key: ['9'], values: ['swallowed'], version: 2 })).toBe('refused echo_diverged');
      expect(await bed.one(target, { key: ['9'], values: ['b'], version: 3 })).toMatch(/^applied/);
    });

    test('a table of more columns than a function takes arguments is compared whole', async () => {
      const target = await bed.target({ table: 'public.many', set: ['v'] });
      await bed.pool
        .query(`create function fill() returns trigger language plpgsql as $$ begin new.c249 := 'x'; return new; end $$;
        create trigger fill before update on many for each row execute function fill()`);
      expect(await bed.one(target, { key: ['1'], values: ['a'], version: 1 })).toBe('applied echo');
      expect(await bed.one(target, { key: ['1'], values: ['b'], version: 2 })).toBe('applied correction');
      const known = await bed.state.appliedVersions.get('public.many', ['1']);
      expect(Object.keys(known?.columns ?? {})).toHaveLength(252);
    });
  });
}
