import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { ApplyBed, brief } from '../support/apply-bed.ts';

let server: EmbeddedPostgres;
let bed: ApplyBed;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
  bed = await ApplyBed.open(
    server,
    'loose',
    `create collation no_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
     create extension citext; create domain folded as citext;
     create table loose (id int primary key, v text collate no_case, i interval, many interval[], tags text[] collate no_case);
     create table keyed (code text collate no_case primary key, v text);
     create table folded_keys (code folded primary key, v text)`,
  );
});
afterAll(async () => {
  await bed?.[Symbol.asyncDispose]();
  await server?.stop();
});

test.for([
  { id: '1', column: 'v', was: 'abc', is: 'ABC' },
  { id: '2', column: 'i', was: '1 mon', is: '30 days' },
  { id: '3', column: 'many', was: '{"1 mon"}', is: '{"30 days"}' },
  { id: '4', column: 'tags', was: '{abc}', is: '{ABC}' },
])('an event that writes $column otherwise is applied, though the column takes both for equal', async (given) => {
  const { id, column, was, is } = given;
  const target = await bed.target({ table: 'public.loose', set: [column] });
  const outcomes: string[] = [];
  for (const [version, value] of [was, is, is].entries()) {
    const applied = await bed.apply([bed.intent(target, { key: [id], values: [value], version })]);
    outcomes.push(...applied.map(brief));
  }
  expect(outcomes).toEqual(['applied echo', 'applied echo', 'applied unchanged']);
  expect(await bed.rows(`select ${column}::text as now from loose where id = ${id}`)).toEqual([{ now: is }]);
});

test.for(['public.keyed', 'public.folded_keys'])(
  '%s can not be written by a key of which two spellings are equal',
  async (table) => {
    await expect(bed.target({ table, key: ['code'], set: ['v'] })).rejects.toThrow(/two spellings of one key/);
  },
);
