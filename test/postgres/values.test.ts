import fc from 'fast-check';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres, type PostgresMajor } from '../../src/demo/embedded-postgres.ts';
import { TypeCatalog } from '../../src/postgres/type-catalog.ts';
import { jsonWriter } from '../../src/postgres/values/json-writer.ts';
import type { NumbersOption } from '../../src/postgres/values/scalars.ts';
import { typeOid } from '../../src/postgres/values/type-oids.ts';
import { isMissing } from '../support/majors.ts';
import { typeCasesOf, typeCasesSetup, type TypeCase } from '../support/type-cases.ts';

/** As the walsender is told to write, and as `to_jsonb` of the oracle runs. */
const pinned = `set datestyle = 'ISO'; set intervalstyle = 'postgres'; set timezone = 'UTC'; set bytea_output = 'hex';
  set extra_float_digits = 1; set lc_monetary = 'C'`;

/** Any character that a database in UTF8 can hold, and the ones that quoting rules are about more often than chance has it. */
const awkward = Array.from('"\\,;{}()[]=>\' \t\n\u0001NUL');
const anyField = fc.option(
  fc
    .string({ unit: fc.oneof(fc.constantFrom(...awkward), fc.string({ unit: 'binary', maxLength: 1 })), maxLength: 12 })
    .map((text) => text.replaceAll('\0', '')),
);

const majors: readonly PostgresMajor[] = [14, 15, 16, 17, 18];

for (const major of majors) {
  const missing = isMissing(major);
  describe.skipIf(missing)(`on PostgreSQL ${major}`, () => {
    onServer(major);
  });
}

function onServer(major: PostgresMajor): void {
  let server: EmbeddedPostgres;
  let client: pg.Client;
  let types: TypeCatalog;

  beforeAll(async () => {
    server = await EmbeddedPostgres.start({ major });
    const asText = { getTypeParser: () => (value: unknown) => value } as unknown as pg.CustomTypesConfig;
    client = new pg.Client({ connectionString: server.url(), types: asText });
    await client.connect();
    await client.query(pinned);
    await client.query(typeCasesSetup);
    for (const one of typeCasesOf(major)) {
      await client.query(`create table ${tableOf(one)} (id integer generated always as identity, value ${one.type})`);
    }
    types = await TypeCatalog.load(client);
  });

  afterAll(async () => {
    await client?.end();
    await server?.stop();
  });

  test.each(typeCasesOf(major).filter((one) => !one.passThrough))(
    '$name is written as the server’s to_jsonb writes it',
    async (typeCase) => {
      const { oid, rows } = await storedValues(client, typeCase);
      expect(rows).toHaveLength(typeCase.values.length);
      const asJson = rows.map((row) => jsonWriter(oid, { types, numbers: 'json' })(row.text));
      const asText = rows.map((row) => jsonWriter(oid, { types, numbers: 'text' })(row.text));
      expect(await differing(client, typeCase, asJson)).toEqual([]);
      const oracle = (
        await client.query<{ json: string }>(
          `select to_jsonb(value)::text as json from ${tableOf(typeCase)} order by id`,
        )
      ).rows;
      for (const [index, row] of oracle.entries()) {
        const expected = withExactNumbers(oid, {
          types,
          json: sourcesOf(asJson[index] ?? ''),
          server: sourcesOf(row.json),
        });
        expect(sourcesOf(asText[index] ?? '')).toEqual(expected);
      }
    },
  );

  test.each(typeCasesOf(major).filter((one) => one.passThrough))('$name is passed through', async (typeCase) => {
    const { oid, rows } = await storedValues(client, typeCase);
    expect(rows).toHaveLength(typeCase.values.length);
    for (const { text } of rows) {
      expect(writerOf(oid, types)(text)).toBe(text);
      expect(() => JSON.parse(text) as unknown).not.toThrow();
    }
  });

  test('text arrays of any content read as the server reads them', async () => {
    const write = writerOf(await oidOf(client, 'text[]'), types);
    await fc.assert(
      fc.asyncProperty(fc.array(anyField, { maxLength: 8 }), async (values) => {
        const [row] = (
          await client.query<{ text: string; json: string }>(
            `select value::text as text, to_jsonb(value)::text as json
            from (select coalesce(array_agg(e order by n), '{}') from jsonb_array_elements_text($1) with ordinality as t(e, n)) as s(value)`,
            [JSON.stringify(values)],
          )
        ).rows;
        expect(JSON.parse(write(row?.text ?? ''))).toEqual(values);
        expect(JSON.parse(row?.json ?? '')).toEqual(values);
      }),
      { numRuns: 150 },
    );
  });

  test('composites, arrays of them and matrices within read as the server reads them', async () => {
    await client.query(`
      create type leaf as (id int8, "na,me" text, grid text[], at timestamptz);
      create type branch as ("l""eft" leaf, leaves leaf[], note text, amounts numeric[])`);
    const fresh = await TypeCatalog.load(client);
    const write = writerOf(await oidOf(client, 'branch[]'), fresh);
    const grid = fc
      .tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 }))
      .chain(([height, width]) =>
        fc.array(fc.array(anyField, { minLength: width, maxLength: width }), { minLength: height, maxLength: height }),
      );
    const leaf = fc.record({
      id: fc.option(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String)),
      'na,me': anyField,
      grid: fc.option(grid),
      at: fc.constantFrom(null, 'infinity', '2026-03-01T12:00:00.5+00:00', '0044-03-15T12:00:00+00:00 BC'),
    });
    const branch = fc.record({
      'l"eft': fc.option(leaf),
      leaves: fc.option(fc.array(fc.option(leaf), { maxLength: 3 })),
      note: anyField,
      amounts: fc.option(fc.array(fc.constantFrom(null, '1.50', 'NaN', '-0.001'), { maxLength: 3 })),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(branch, { maxLength: 3 }), async (values) => {
        const [row] = (
          await client.query<{ text: string }>(
            `select coalesce(array_agg(jsonb_populate_record(null::branch, e) order by n), '{}')::text as text
            from jsonb_array_elements($1) with ordinality as t(e, n)`,
            [JSON.stringify(values)],
          )
        ).rows;
        expect(JSON.parse(write(row?.text ?? ''))).toEqual(values);
      }),
      { numRuns: 100 },
    );
  });

  test('random dates and times are written as to_jsonb writes them', async () => {
    await client.query(`
      create table moments as
      select d as value, d at time zone 'UTC' as local, d::date as day
      from (
        select '4713-01-01 BC'::timestamptz + make_interval(secs => random() * 400000000000) + make_interval(days => (random() * 100000)::int)
        from generate_series(1, 2000)
      ) as s(d)`);
    for (const column of ['value', 'local', 'day']) {
      const { rows, fields } = await client.query<{ text: string; json: string }>(
        `select ${column} as text, to_jsonb(${column})::text as json from moments`,
      );
      const write = writerOf(fields[0]?.dataTypeID ?? 0, types);
      expect(rows.map((row) => write(row.text))).toEqual(rows.map((row) => row.json));
    }
  });
}

function writerOf(oid: number, types: TypeCatalog, numbers: NumbersOption = 'text'): (text: string) => string {
  return jsonWriter(oid, { types, numbers });
}

function tableOf(typeCase: TypeCase): string {
  return pg.escapeIdentifier(`case_${typeCase.name}`);
}

async function storedValues(
  client: pg.Client,
  typeCase: TypeCase,
): Promise<{ oid: number; rows: readonly { text: string }[] }> {
  const table = tableOf(typeCase);
  for (const value of typeCase.values) await client.query(`insert into ${table} (value) values (${value})`);
  const { rows } = await client.query<{ text: string }>(`select value as text from ${table} order by id`);
  // Asked of the catalog, since a row description names the base of a domain; a Relation message names the domain.
  const column = await client.query<{ oid: string }>(
    `select atttypid::text as oid from pg_attribute where attrelid = $1::regclass and attname = 'value'`,
    [table],
  );
  return { oid: Number(column.rows[0]?.oid), rows };
}

async function oidOf(client: pg.Client, type: string): Promise<number> {
  const { rows } = await client.query<{ oid: string }>('select $1::regtype::oid::text as oid', [type]);
  return Number(rows[0]?.oid);
}

/** Ids of the rows where the server finds our JSON different from its own. */
async function differing(client: pg.Client, typeCase: TypeCase, json: readonly string[]): Promise<readonly unknown[]> {
  const { rows } = await client.query(
    `select id, ours.json as ours, to_jsonb(value) as theirs
    from (select row_number() over (order by id) as n, id, value from ${tableOf(typeCase)}) as stored
      full join unnest($1::text[]) with ordinality as ours(json, n) using (n)
    where ours.json::jsonb is distinct from to_jsonb(value)`,
    [json],
  );
  return rows;
}

/** A JSON value whose scalars are their own JSON text, so that no number is rounded. */
type Sources = string | null | readonly Sources[] | { readonly [name: string]: Sources };

function sourcesOf(json: string): Sources {
  return JSON.parse(json, sourceOf as (this: unknown, key: string, value: unknown) => unknown) as Sources;
}

function sourceOf(_name: string, value: unknown, context: { source?: string }): unknown {
  return value === null || typeof value === 'object' ? value : context.source;
}

/**
 * What `numbers: 'text'` must give: as `numbers: 'json'`, but at every bigint and numeric the server's own digits, quoted.
 */
function withExactNumbers(oid: number, from: { types: TypeCatalog; json: Sources; server: Sources }): Sources {
  const { types, json, server } = from;
  if (json === null) return null;
  const base = types.baseOf(oid);
  const type = types.get(base);
  if (type?.kind === 'array' && type.elementOid !== undefined) {
    const element = types.baseOf(type.elementOid);
    if (element === typeOid.json || element === typeOid.jsonb) return json;
    if (!Array.isArray(json)) return withExactNumbers(element, from);
    const servers = server as readonly Sources[];
    return (json as readonly Sources[]).map((one, index) =>
      withExactNumbers(Array.isArray(one) ? base : element, { types, json: one, server: servers[index] ?? null }),
    );
  }
  if (type?.kind === 'composite') {
    const ours = json as Readonly<Record<string, Sources>>;
    const theirs = server as Readonly<Record<string, Sources>>;
    const fields = (type.fields ?? []).map(({ name, typeOid }) => [
      name,
      withExactNumbers(typeOid, { types, json: ours[name] ?? null, server: theirs[name] ?? null }),
    ]);
    return Object.fromEntries(fields) as Sources;
  }
  if (base !== typeOid.int8 && base !== typeOid.numeric) return json;
  return typeof server === 'string' && server.startsWith('"') ? server : `"${server as string}"`;
}
