import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { ApplyBed, brief } from '../support/apply-bed.ts';

/** Types and collations that call equal what is not the same. */

let server: EmbeddedPostgres;
let bed: ApplyBed;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
  bed = await ApplyBed.open(
    server,
    'loose',
    `create collation no_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
     create extension citext; create extension cube; create domain folded as citext; create domain deeply as folded;
     create type pair as (a text collate no_case, b int); create type lasting as (i interval);
     create type words as range (subtype = text, collation = no_case);
     create type spans as range (subtype = interval);
     create domain no_case_text as text collate no_case;
     create table loose (id int primary key, v text collate no_case, ts text[] collate no_case, dv no_case_text, dvs no_case_text[],
       i interval, ivs interval[], f citext, df deeply, fs citext[], p pair, ps pair[], l lasting, r words, mr spans, c cube);
     create table keyed (code text collate no_case, id int unique, v text, primary key (code));
     create table domain_keyed (code no_case_text primary key, v text);
     create table lasting_keyed (code interval primary key, v text);
     create table document_keyed (code jsonb primary key, v text);
     create table amounts_keyed (code numeric[] primary key, v text);
     create table amount_keyed (code numeric primary key, v text);
     create table pair_keyed (code pair primary key, v text);
     create table folded_lists_keyed (code citext[] primary key, v text);
     create table folded_keyed (code deeply primary key, v text)`,
  );
});
afterAll(async () => {
  await bed?.[Symbol.asyncDispose]();
  await server?.stop();
});

test.for([
  ['v', 'abc', 'ABC'],
  ['ts', '{abc}', '{ABC}'],
  ['dv', 'abc', 'ABC'],
  ['dvs', '{abc}', '{ABC}'],
  ['i', '1 mon', '30 days'],
  ['ivs', '{"1 mon"}', '{"30 days"}'],
  ['f', 'abc', 'ABC'],
  ['df', 'abc', 'ABC'],
  ['fs', '{abc}', '{ABC}'],
  ['p', '(abc,1)', '(ABC,1)'],
  ['ps', '{"(abc,1)"}', '{"(ABC,1)"}'],
  ['l', '("1 mon")', '("30 days")'],
  ['r', '[abc,b)', '[ABC,b)'],
  ['mr', '["1 mon","1 year")', '["30 days","1 year")'],
  ['c', '(0, 1),(1, 0)', '(1, 0),(0, 1)'],
] as const)(
  'an event that writes %s otherwise is applied, though the column takes both for equal',
  async ([column, was, is]) => {
    const target = await bed.target({ table: 'public.loose', set: [column] });
    await bed.rows('delete from loose');
    const key = [`${Buffer.from(column).readUIntBE(0, Math.min(column.length, 3))}`];
    const versions = [was, is, is].map((value, index) =>
      bed.intent(target, { key, values: [value], version: index + 1 }),
    );
    const outcomes = [];
    for (const intent of versions) outcomes.push(...(await bed.apply([intent])));
    // Another event of the same is no change.
    expect(outcomes.map(brief)).toEqual(['applied echo', 'applied echo', 'applied unchanged']);
    expect(await bed.rows(`select "${column}"::text as now from loose`)).toEqual([{ now: is }]);
  },
);

test.for([
  ['public.keyed', /collation public\.no_case/],
  ['public.domain_keyed', /collation public\.no_case/],
  ['public.lasting_keyed', /interval/],
  ['public.document_keyed', /jsonb/],
  ['public.amounts_keyed', /numeric\[\]/],
  ['public.pair_keyed', /pair/],
  ['public.folded_lists_keyed', /citext\[\]/],
] as const)('a key of %s is refused: two spellings of it would be one row with two versions', async ([table, why]) => {
  const { message } = await thrown(bed.target({ table, key: ['code'], set: ['v'] }));
  expect(message).toMatch(/two spellings of one key/);
  expect(message).toMatch(why);
});

test.for([
  ['public.folded_keyed', 'A', 'a'],
  ['public.amount_keyed', '1.0', '1'],
] as const)('spellings of a key of %s have one version', async ([table, one, other]) => {
  const target = await bed.target({ table, key: ['code'], set: ['v'] });
  expect(await bed.one(target, { key: [one], values: ['newer'], version: 2 })).toBe('applied echo');
  expect(await bed.one(target, { key: [other], values: ['older'], version: 1 })).toBe('stale');
  expect(await bed.rows(`select code::text, v from ${table}`)).toEqual([{ code: one, v: 'newer' }]);
});

test('a key of citext is refused where basedOn is asked for by its spelling', async () => {
  const entry = { table: 'public.folded_keyed', key: ['code'], set: ['v'], basedOn: 'detail.basedOn' };
  await expect(bed.target(entry)).rejects.toThrow(/type deeply.*two spellings of one key/);
});

async function thrown(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => new Error('nothing was thrown'),
    (error: unknown) => error as Error,
  );
}
