import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import type { Target } from '../../src/reverse/intent.ts';
import { ApplyBed, brief } from '../support/apply-bed.ts';

const TABLES = `
  create table notes (id int primary key, a int, note varchar(20), code char(4), doc jsonb, level numeric(4,1) default 1.5);
  create schema "Kinds";
  create type "Kinds"."Mood" as enum ('good', 'bad');
  create domain "Kinds".short as varchar(3) check (value <> '');
  create type "Kinds".pair as (x int, y text);
  create table kinds (id int primary key, a int, "the Mood" "Kinds"."Mood", moods "Kinds"."Mood"[], brief "Kinds".short, pair "Kinds".pair,
    at timestamptz(3), took interval, bits bit(3), bytes bytea, plain json, place point, span numrange, mail xml, rate float8);
  create table strict (id int primary key, a int, note text not null default 'none', must text not null);
  create function touch() returns trigger language plpgsql as $$ begin new.seen := concat(new.seen, '.'); return new; end $$;
  create table touched (id int primary key, a int, note text, seen text);
  create trigger touch before update on touched for each row execute function touch();`;

interface Targets {
  readonly u: Target;
  readonly p: Target;
  readonly d: Target;
}

let server: EmbeddedPostgres;
let bed: ApplyBed;
let notes: Targets;
let key = 0;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
  bed = await ApplyBed.open(server, 'partial', TABLES);
  notes = await targetsOf('notes', ['note', 'code', 'doc', 'level']);
  await bed.follow();
});
afterAll(async () => {
  await bed?.[Symbol.asyncDispose]();
  await server?.stop();
});

async function targetsOf(
  name: string,
  patched: readonly string[],
  created: readonly string[] = ['a'],
): Promise<Targets> {
  const table = `public.${name}`;
  const [u, p, d] = await bed.targets([
    { table, set: created },
    { table, operation: 'update', carries: 'patch', set: patched },
    { table, operation: 'delete' },
  ]);
  return { u: u as Target, p: p as Target, d: d as Target };
}

/** `u1 p2 d3`: an upsert of version 1, a patch of version 2, a delete of version 3, one after the other, of a row of their own. */
async function deliver(
  order: string,
  {
    targets = notes,
    values = valuesOf,
    together = false,
  }: { targets?: Targets; values?: typeof valuesOf; together?: boolean } = {},
): Promise<{ readonly id: number; readonly outcomes: readonly string[] }> {
  const id = ++key;
  const outcomes: string[] = [];
  for (const each of order.split(' ')) {
    const [kind, version] = [each.slice(0, 1) as keyof Targets, Number(each.slice(1))];
    const asked = { key: [`${id}`], values: values(kind, version), version };
    const intents = [bed.intent(targets[kind], asked)];
    // With company it goes the careful way: that one's row was made by legacy.
    if (together) intents.push(await conflicting());
    outcomes.push(brief((await bed.apply(intents))[0]));
  }
  return { id, outcomes };
}

function valuesOf(kind: string, version: number): (string | null)[] {
  if (kind === 'u') return [`${version}`];
  return kind === 'd' ? [] : [`note ${version}`, `c${version}`, `{"of": ${version}}`, `${version}.0`];
}

async function conflicting() {
  const id = `${++key}`;
  await bed.pool.query('insert into notes (id, a) values ($1, 0)', [id]);
  return bed.intent(notes.u, { key: [id], values: ['1'], version: 1 });
}

async function row(id: number): Promise<unknown> {
  const [found] = await bed.rows(`select a, note, code::text, doc::text, level::text from notes where id = ${id}`);
  return found;
}

const patched = (version: number, a: number) => ({
  a,
  note: `note ${version}`,
  code: `c${version}`,
  doc: `{"of": ${version}}`,
  level: `${version}.0`,
});
const unpatched = (a: number) => ({ a, note: null, code: null, doc: null, level: '1.5' });

for (const together of [false, true]) {
  describe(`where what makes a row does not set all columns, ${together ? 'beside a conflict' : 'alone'}`, () => {
    test.for(['u1 d2 u3 p4', 'u1 p4 d2 u3', 'u3 p4 u1 d2', 'u1 p4 u3 d2', 'u3 d2 p4 u1'])(
      'a newer patch stands in any order: %s',
      async (order) => {
        const { id } = await deliver(order, { together });
        expect(await row(id)).toEqual(patched(4, 3));
      },
    );

    test.for(['u1 p2 d3 u4', 'u1 p2 u4 d3', 'u4 d3 u1 p2', 'u1 u4 p2 d3', 'u4 p2 d3 u1'])(
      'a patch of the row before stands in no order: %s',
      async (order) => {
        const { id } = await deliver(order, { together });
        expect(await row(id)).toEqual(unpatched(4));
      },
    );

    test('what comes back or is taken counts as ours: the next event of the row meets no conflict', async () => {
      const back = await deliver('u1 p4 d2 u3 p5 d6 u7', { together });
      expect(await row(back.id)).toEqual(unpatched(7));
      const taken = await deliver('u1 p2 u4 d3 p5 d6', { together });
      expect(await row(taken.id)).toBeUndefined();
      // A conflict would be named behind it.
      for (const outcome of [...back.outcomes, ...taken.outcomes])
        expect(outcome).toMatch(/^applied (echo|correction)$/);
    });
  });
}

const KINDS: Readonly<Record<string, string>> = {
  'the Mood': 'bad',
  moods: '{good,bad}',
  brief: 'abc',
  pair: '(1,"x, y")',
  at: '2026-03-01 12:00:00.123+00',
  took: '1 mon 2 days 03:04:05.5',
  bits: '101',
  bytes: '\\x00ff',
  plain: '{ "b":1, "a":2 }',
  place: '(1.5,2)',
  span: '[1.5,2.50)',
  mail: '<a>&amp;</a>',
  rate: '0.1',
};

test('a newer patch comes back whatever the types of its columns are', async () => {
  const targets = await targetsOf('kinds', Object.keys(KINDS));
  // In the order of the table, as the target has them.
  const values = (kind: string, version: number) => (kind === 'p' ? Object.values(KINDS) : short(kind, version));
  const { id, outcomes } = await deliver('u1 p4 d2 u3 p5', { targets, values });
  expect(outcomes).toEqual(['applied echo', 'applied echo', 'applied echo', 'applied echo', 'applied unchanged']);
  const [found] = await bed.rows(
    `select row_to_json(k)::text as k from (select ${Object.keys(KINDS)
      .map((name) => `format('%s', "${name}") as "${name}"`)
      .join()} from kinds where id = ${id}) as k`,
  );
  const { k } = found as { k: string };
  expect({ ...JSON.parse(k), at: KINDS.at }).toEqual(KINDS);
});

test('a late delete writes behind its tag, and only what an earlier one has not', async () => {
  const { id } = await deliver('u1 p2 u6');
  await bed.follow();
  const remove = (version: number) => bed.one(notes.d, { key: [`${id}`], version });
  expect(await remove(3)).toBe('applied correction');
  expect(await bed.stream()).toEqual([[`tag update ${id}`, `update notes ${id}`, 'correction']]);
  expect(await remove(5)).toBe('stale');
  expect(await remove(4)).toBe('stale');
  expect(await bed.stream()).toEqual([]);
});

test('a late delete leaves what legacy has written since', async () => {
  const { id } = await deliver('u1 p2 u4');
  await bed.pool.query(`update notes set note = 'by hand' where id = $1`, [id]);
  expect(await bed.one(notes.d, { key: [`${id}`], version: 3 })).toBe('applied correction');
  expect(await row(id)).toEqual({ ...unpatched(4), note: 'by hand' });
});

test('a late delete of what older events made NULL brings the default back', async () => {
  const [first, second] = [
    await deliver('u1 p2 d3 u4', { values: nulls }),
    await deliver('u1 p2 u4 d3', { values: nulls }),
  ];
  expect(await row(first.id)).toEqual(unpatched(4));
  expect(await row(second.id)).toEqual(unpatched(4));
});

test('a late delete that comes from a replay is set aside, for it would write', async () => {
  const { id } = await deliver('u1 p2 u4');
  expect(await bed.one(notes.d, { key: [`${id}`], version: 3, isReplay: true })).toBe('failed replayed');
  expect(await row(id)).toEqual(patched(2, 4));
});

test('triggers of an update see what a late delete writes, and what they change is a correction', async () => {
  const touched = await targetsOf('touched', ['note']);
  const { id, outcomes } = await deliver('u1 p2 u4 d3', { targets: touched, values: short });
  expect(outcomes.at(-1)).toBe('applied correction');
  expect(await bed.rows(`select a, note, seen from touched where id = ${id}`)).toEqual([
    { a: 4, note: null, seen: '...' },
  ]);
});

test('a column that takes no NULL gets its default, and where it has none the late delete is refused', async () => {
  const strict = await targetsOf('strict', ['note'], ['a', 'must']);
  const { id, outcomes } = await deliver('u1 p2 u4 d3', { targets: strict, values: withMust });
  expect(outcomes.at(-1)).toBe('applied correction');
  expect(await bed.rows(`select a, note, must from strict where id = ${id}`)).toEqual([
    { a: 4, note: 'none', must: 'm' },
  ]);
  const lacking = await targetsOf('strict', ['note', 'must']);
  const whole = (await bed.targets([{ table: 'public.strict', set: ['a', 'must'] }]))[0] as Target;
  const made = `${++key}`;
  expect(await bed.one(whole, { key: [made], values: ['1', 'm'], version: 1 })).toMatch(/^applied/);
  expect(await bed.one(lacking.u, { key: [made], values: ['3'], version: 3 })).toMatch(/^applied/);
  // In order the third would have been refused: it can not make the row.
  expect(await bed.one(lacking.d, { key: [made], version: 2 })).toBe('failed row-refused');
});

function short(kind: string, version: number): (string | null)[] {
  if (kind === 'u') return [`${version}`];
  return kind === 'd' ? [] : [`note ${version}`];
}

function withMust(kind: string, version: number): (string | null)[] {
  return kind === 'u' ? [`${version}`, 'm'] : short(kind, version);
}

function nulls(kind: string, version: number): (string | null)[] {
  return kind === 'p' ? [null, null, null, null] : valuesOf(kind, version);
}
