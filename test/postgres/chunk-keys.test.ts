import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres, type PostgresMajor } from '../../src/demo/embedded-postgres.ts';
import { readKeys } from '../../src/postgres/chunk.ts';
import { connectClient } from '../../src/postgres/connection.ts';
import { isMissing } from '../support/majors.ts';
import { made, readAll, sorted, texts } from '../support/chunk-tables.ts';

const majors: readonly PostgresMajor[] = [14, 18];
const wide = { rows: 1_000, bytes: 1_000_000 };

/** Key columns, and rows of them as SQL: what orders, compares or quotes in a way of its own. */
const keys: Readonly<Record<string, { readonly columns: string; readonly rows: readonly string[] }>> = {
  integer: { columns: 'id int', rows: ['-2147483648', '-1', '0', '1', '2147483647'] },
  uuid: {
    columns: 'id uuid',
    rows: [
      "'ffffffff-0000-0000-0000-00000000000f'",
      "'0f000000-0000-0000-0000-000000000000'",
      "'00000000-0000-0000-0000-000000000000'",
    ],
  },
  numeric: { columns: 'id numeric', rows: ["'NaN'", "'-Infinity'", '1e-400', '1e400', '0.10', '9007199254740993.5'] },
  numeric_modified: { columns: 'id numeric(12,2)', rows: ['-3.5', '0', '3.50', '9999999999.99'] },
  float8: {
    columns: 'id float8',
    rows: ["'NaN'", "'-Infinity'", '0.1', '0.1::float8 + 1e-17 * 2', '5e-324', '1.7976931348623157e308'],
  },
  timestamptz: {
    columns: 'id timestamptz',
    rows: [
      "'infinity'",
      "'-infinity'",
      "'0044-03-15 12:00 BC'",
      "'2026-01-01 00:00:00.000001+05:45'",
      "'2026-01-01 00:00:00.000002+05:45'",
    ],
  },
  interval: { columns: 'id interval', rows: ["'-1 mon +3 days -04:05:06.7'", "'1 day'", "'2 years'"] },
  bytea: { columns: 'id bytea', rows: [`'\\x'`, `'\\x00'`, `'\\x5c27ff'`] },
  padded: { columns: 'id char(5)', rows: ["'a'", "'ab'", "''", "'ä'"] },
  varying: { columns: 'id varchar(20)', rows: ["'a'", "'a '", "''"] },
  inet: { columns: 'id inet', rows: ["'10.0.0.1'", "'10.0.0.1/8'", "'::1'"] },
  boolean: { columns: 'id bool', rows: ['true', 'false'] },
  json: { columns: 'id jsonb', rows: [`'{"a": 1}'`, `'[1, "x"]'`, `'"it''s"'`] },
  array: { columns: 'id text[]', rows: [`'{"a,b",NULL,"NULL"}'`, `'{}'`, `'{"\\""}'`] },
  range: { columns: 'id int4range', rows: ["'[1,5)'", "'empty'", "'(,3)'"] },
  enumerated: { columns: 'id mood', rows: [`'so, "so"'`, `'it''s fine'`, `'a'`] },
  domain: { columns: 'id short_text', rows: ["'b'", "'a'"] },
  composite_type: { columns: 'id pair', rows: [`row(1, 'a,"b"')`, `row(1, null)`, `row(0, 'z')`] },
  text: {
    columns: 'id text',
    rows: [`'a'`, `'B'`, `'b'`, `''`, `'it''s "$1" %s \\ {x,y} NULL'`, `E'line\\nfeed'`, `'日本'`, `'$$'`, `'--'`],
  },
  text_icu: { columns: 'id text collate "en-x-icu"', rows: [`'a'`, `'B'`, `'b'`, `'A'`, `'ä'`, `'co-op'`, `'coop'`] },
  text_nondeterministic: { columns: 'id text collate without_case', rows: [`'a'`, `'B'`, `'c'`, `'Ä'`, `'A-b'`] },
  two: { columns: 'a int, b text', rows: [`1, 'b'`, `1, 'a'`, `2, ''`, `0, 'z'`, `1, 'c'`] },
  mixed: {
    columns: '"Kunde" uuid, "Order Id" bigint, "select" timestamptz',
    rows: [
      `'00000000-0000-0000-0000-000000000001', 2, 'now'`,
      `'00000000-0000-0000-0000-000000000001', 2, 'infinity'`,
      `'00000000-0000-0000-0000-000000000001', 1, 'infinity'`,
      `'00000000-0000-0000-0000-000000000000', 9, 'epoch'`,
    ],
  },
};

for (const major of majors) {
  const missing = isMissing(major);
  describe.skipIf(missing)(`on PostgreSQL ${major}`, () => {
    let server: EmbeddedPostgres;
    let client: pg.Client;

    beforeAll(async () => {
      server = await EmbeddedPostgres.start({ major });
      await server.query(`
        create type mood as enum ('so, "so"', 'it''s fine', 'a');
        create domain short_text as text check (length(value) < 10);
        create type pair as (n int, t text);
        create collation without_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`);
      client = await connectClient({ url: server.url(), name: 'chunks' });
    });
    afterAll(async () => {
      await client?.end();
      await server?.stop();
    });

    test.for(Object.entries(keys))(
      'reads each row once, in order, by a key of %s',
      async ([name, { columns, rows }]) => {
        const table = await made(
          client,
          `"Key of ${name}"`,
          `${columns}, note text, primary key (${keyNames(columns)})`,
        );
        await client.query(
          `insert into ${table.sql} (${keyNames(columns)}) values ${rows.map((row) => `(${row})`).join(', ')}`,
        );
        const ordered = await texts(
          client,
          `select ${keyNames(columns)}, note from ${table.sql} order by ${keyNames(columns)}`,
        );
        expect(ordered).toHaveLength(rows.length);
        for (const size of [1, 2, rows.length, rows.length + 1]) {
          expect(await readAll(client, table, { ...wide, rows: size })).toEqual(ordered);
        }
        const [first, ...others] = ordered.map((row) => row.slice(0, table.key.length) as string[]);
        const again = await readKeys(client, table, [...others, ...others], { where: undefined });
        expect(sorted(again.rows)).toEqual(sorted(ordered.slice(1)));
        expect([...(await readKeys(client, table, [first ?? []], { where: undefined })).rows]).toEqual(
          ordered.slice(0, 1),
        );
        expect([...(await readKeys(client, table, [], { where: undefined })).rows]).toEqual([]);
      },
    );
  });
}

/** Names of columns that `id int, "Order Id" bigint` makes. */
function keyNames(columns: string): string {
  return [...columns.matchAll(/(?:^|, )("[^"]+"|\w+) /g)].map(([, name]) => name).join(', ');
}
