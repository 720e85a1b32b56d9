import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { checkMapping } from '../../src/cli/check-mapping.ts';
import { parseConfig } from '../../src/config/load.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';

/** The columns of one table, each with a value. */
const COLUMNS: Readonly<Record<string, readonly [type: string, value: string]>> = {
  plain: ['mood', `'ok'`],
  over: ['nested_domain', `'ok'`],
  list: ['mood[]', `'{ok}'`],
  inside: ['person', `row('ok', 1)`],
  span: ['span', `'[1,2)'`],
  // A row and a type that PostgreSQL brings have a cast too, which the server does not call; that of hstore gives what we write.
  itself: ['pair', `row(1, 2)`],
  brought: ['point', `'(1,2)'`],
  pairs: ['hstore', `'a=>1'`],
  without: ['other', `'ok'`],
};

const SETUP = `
  create extension hstore;
  create type mood as enum ('ok');
  create type other as enum ('ok');
  create domain mood_domain as mood;
  create domain nested_domain as mood_domain;
  create type person as (mood mood, age int);
  create type span as range (subtype = int);
  create type pair as (a int, b int);
  ${['mood', 'span', 'pair', 'point']
    .map(
      (
        type,
      ) => `create function json_of(${type}) returns json language sql immutable as $$ select '{"cast": true}'::json $$;
        create cast (${type} as json) with function json_of(${type});`,
    )
    .join('\n')}
  create table people (id int primary key, secret mood, hidden mood,
    ${Object.entries(COLUMNS)
      .map(([name, [type]]) => `${name} ${type}`)
      .join(', ')});`;

let server: EmbeddedPostgres;
let client: pg.Client;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
  client = new pg.Client({ connectionString: server.url() });
  await client.connect();
  await client.query(SETUP);
});
afterAll(async () => {
  await client?.end();
  await server?.stop();
});

test('check warns of the columns that to_jsonb would write by a cast to json, and of no other', async () => {
  const calls: string[] = [];
  for (const [name, [type, value]] of Object.entries(COLUMNS)) {
    const { rows } = await client.query<{ json: string }>(`select to_jsonb(${value}::${type})::text as json`);
    if (rows[0]?.json.includes('"cast"') === true) calls.push(name);
  }
  expect(calls).toEqual(['plain', 'over', 'list', 'inside', 'span']);

  const text = `
name: shop
legacy: { url: "postgresql://u@127.0.0.1:1/db" }
bus: { type: local }
capture: [{ table: public.people, exclude: [hidden], mask: { secret: redact } }]`;
  const findings = await checkMapping(client, await parseConfig(text, { file: undefined, env: {} }));
  expect(findings.map(({ code, severity, subject, path }) => ({ code, severity, subject, path }))).toEqual(
    calls.map(() => ({
      code: 'JSON_CAST_IGNORED',
      severity: 'warning',
      subject: 'public.people',
      path: 'capture[0]',
    })),
  );
  const named = findings.map(({ message }) => /^column (\w+): .* (public\.\w+) /.exec(message)?.slice(1));
  expect(named).toEqual(calls.map((name) => [name, name === 'span' ? 'public.span' : 'public.mood']));
});
