import fc from 'fast-check';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres, type PostgresMajor } from '../../src/demo/embedded-postgres.ts';
import { qualifiedName } from '../../src/postgres/identifier.ts';
import { TypeCatalog } from '../../src/postgres/type-catalog.ts';
import { jsonWriter } from '../../src/postgres/values/json-writer.ts';
import { castTo } from '../../src/reverse/cast.ts';
import { parseExact } from '../../src/reverse/json-parse.ts';
import { Misfit } from '../../src/reverse/misfit.ts';
import { isMissing } from '../support/majors.ts';
import { typeCasesOf, typeCasesSetup, type TypeCase } from '../support/type-cases.ts';

/** As the sessions that read and that apply are pinned. */
const pinned = `set datestyle = 'ISO'; set intervalstyle = 'postgres'; set timezone = 'UTC'; set bytea_output = 'hex';
  set extra_float_digits = 1; set lc_monetary = 'C'`;

const majors: readonly PostgresMajor[] = [14, 18];

for (const major of majors) {
  const missing = isMissing(major);
  describe.skipIf(missing)(`what our events say comes back into PostgreSQL ${major}`, () => {
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
      await client.query(
        `create table ${tableOf(one)} (id integer generated always as identity, value ${one.type}, back ${one.type})`,
      );
    }
    types = await TypeCatalog.load(client);
  });

  afterAll(async () => {
    await client?.end();
    await server?.stop();
  });

  test.each(typeCasesOf(major).filter(({ type }) => !['"char"', 'regclass'].includes(type)))(
    '$name',
    async (typeCase) => {
      const table = tableOf(typeCase);
      for (const value of typeCase.values) await client.query(`insert into ${table} (value) values (${value})`);
      const column = await columnOf(client, table);
      const write = jsonWriter(column.oid, { types, numbers: 'text' });
      const cast = castTo(column.oid, { types, modifier: column.modifier });
      const base = types.get(types.baseOf(column.oid));
      const { rows } = await client.query<{ id: string; text: string }>(`select id, value as text from ${table}`);
      expect(rows).toHaveLength(typeCase.values.length);
      for (const { id, text } of rows) {
        const value = parseExact(write(text)).value;
        // A JSON null that is no SQL NULL can not be told from one: it comes back as NULL, which `to_jsonb` does not tell apart either.
        const back = value === null ? null : cast(value);
        await client.query(
          `update ${table} set back = $1::${qualifiedName(base ?? { schema: '', name: '' })} where id = $2`,
          [back, id],
        );
      }
      const asJson = await client.query<{ value: string; back: string | null }>(
        `select ${typeCase.passThrough ? 'value::text' : 'to_jsonb(value)::text'} as value,
        ${typeCase.passThrough ? 'back::text' : "coalesce(to_jsonb(back), 'null')::text"} as back from ${table} order by id`,
      );
      // What passes through has no jsonb to compare; as a JSON value its last of two members of one name counts, as for every reader.
      const read = (json: string | null) => (typeCase.passThrough ? (JSON.parse(json ?? '') as unknown) : json);
      expect(asJson.rows.map(({ back }) => read(back))).toEqual(asJson.rows.map(({ value }) => read(value)));
    },
  );

  test('"char" comes back in the server’s own text', async () => {
    const cast = castTo(18, { types });
    for (const value of ['a', '"', '\\']) {
      const { rows } = await client.query<{ text: string }>('select $1::pg_catalog."char"::text as text', [
        cast(value),
      ]);
      expect(rows[0]?.text).toBe(value);
    }
  });

  test('what the server would cut without a word is refused', () => {
    expect(() => castTo(18, { types })('ab')).toThrow(Misfit);
    expect(() => castTo(19, { types })('ü'.repeat(32))).toThrow(Misfit);
  });

  test('a regclass is taken by its OID: what a name means depends on the session', () => {
    const cast = castTo(2205, { types });
    expect(cast('1259')).toBe('1259');
    expect(() => cast('pg_class')).toThrow(Misfit);
  });

  test('texts of any content go through arrays, rows and hstore unchanged', async () => {
    await client.query(`create type pair as (a text, "b,c" text[])`);
    const fresh = await TypeCatalog.load(client);
    const oidOf = async (name: string) =>
      Number((await client.query<{ oid: string }>('select $1::regtype::oid as oid', [name])).rows[0]?.oid);
    const [arrays, pairs, stores] = [await oidOf('text[]'), await oidOf('pair[]'), await oidOf('hstore')];
    const texts = fc.string({ unit: 'binary', maxLength: 8 }).filter((text) => !text.includes('\0'));
    const tricky = fc.oneof(texts, fc.constantFrom('NULL', '', '"', '\\', '{}', '(,)', '""', '\\"', ',', ' '));
    const row = fc.record({ a: fc.option(tricky), 'b,c': fc.option(fc.array(fc.option(tricky), { maxLength: 3 })) });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.option(tricky)),
        fc.array(fc.option(row), { maxLength: 3 }),
        fc.dictionary(tricky, fc.option(tricky)),
        async (list, rows, store) => {
          const sent = [list, rows, store];
          const casts = [arrays, pairs, stores].map((oid) => castTo(oid, { types: fresh }));
          const result = await client.query<{ a: string; b: string; c: string }>(
            'select to_jsonb($1::text[])::text as a, to_jsonb($2::pair[])::text as b, hstore_to_jsonb($3::hstore)::text as c',
            sent.map((value, index) => casts[index]?.(parseExact(JSON.stringify(value)).value)),
          );
          const { a, b, c } = result.rows[0] ?? { a: '', b: '', c: '' };
          // Read by our own parser: the engine's can confuse names that end with an escape.
          expect([a, b, c].map((json) => parseExact(json).value)).toEqual(parseExact(JSON.stringify(sent)).value);
        },
      ),
      { numRuns: 100 },
    );
  });

  test('what is not refused before SQL, the server refuses as a value and never reads as SQL', async () => {
    const anyJson = fc.jsonValue({ maxDepth: 3 }).map((value) => JSON.stringify(value));
    const nasty = fc.constantFrom(
      `"'; drop table victim; --"`,
      '"{}"',
      '"\\u0000"',
      '"\\ud800"',
      '[[1],[2,3]]',
      '1e400',
    );
    await client.query('create table if not exists victim (id int)');
    const oids = (
      await client.query<{ oid: string }>(
        `select oid from pg_type where typtype in ('b', 'c', 'd', 'e', 'r', 'm') and oid in
          (select atttypid from pg_attribute where attrelid in (select oid from pg_class where relname like 'case\\_%') and attname = 'value')`,
      )
    ).rows.map((row) => Number(row.oid));
    let accepted = 0;
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...oids), fc.oneof(anyJson, nasty), async (oid, json) => {
        const value = parseExact(json).value;
        if (value === null) return;
        const text = castOrMisfit(() => castTo(oid, { types })(value));
        if (text === undefined) {
          refused++;
          return;
        }
        const type = types.get(types.baseOf(oid));
        const code = await client.query(`select $1::${qualifiedName(type ?? { schema: '', name: '' })}`, [text]).then(
          () => undefined,
          (error: unknown) => (error as { code?: string }).code,
        );
        // Class 22: data exceptions. 42601: what jsonpath, tsquery and their like call a value that does not parse.
        expect(code ?? '22000').toMatch(/^22|^42601/);
        accepted++;
      }),
      { numRuns: 1_500 },
    );
    expect(Math.min(accepted, refused)).toBeGreaterThan(50);
    expect((await client.query('select from victim')).rows).toEqual([]);
  });
}

/** undefined where it is a misfit; other errors pass. */
function castOrMisfit(read: () => string): string | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof Misfit) return undefined;
    throw error;
  }
}

function tableOf(typeCase: TypeCase): string {
  return pg.escapeIdentifier(`case_${typeCase.name}`);
}

async function columnOf(client: pg.Client, table: string): Promise<{ oid: number; modifier: number }> {
  const { rows } = await client.query<{ oid: string; modifier: string }>(
    `select atttypid::text as oid, atttypmod::text as modifier from pg_attribute where attrelid = $1::regclass and attname = 'value'`,
    [table],
  );
  return { oid: Number(rows[0]?.oid), modifier: Number(rows[0]?.modifier) };
}
