import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { configSchema } from '../../src/config/schema.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { resolveTables } from '../../src/postgres/catalog.ts';
import { withClient } from '../../src/postgres/connection.ts';
import {
  applyPublication,
  planPublication,
  type PublicationPlan,
  publicationTargets,
} from '../../src/postgres/publication.ts';
import { readMembership, readPublication } from '../../src/postgres/publication-catalog.ts';
import { readServerFacts } from '../../src/postgres/server.ts';

type Entry = string | Record<string, unknown>;

const servers: EmbeddedPostgres[] = [];
let databases = 0;

beforeAll(async () => {
  servers.push(...(await Promise.all(([18, 15, 14] as const).map((major) => EmbeddedPostgres.start({ major })))));
});
afterAll(() => Promise.all(servers.map((server) => server.stop())));

describe.each([0, 1, 2])('a publication on server %i of 18, 15, 14', (index) => {
  it('is made for the mapped tables only, and a second plan has nothing to do', async () => {
    const place = await makePlace(index);
    const made = await plan(place, ['public.a', 'public.parted']);
    expect(made.statements).toHaveLength(1);
    await apply(place, made);
    expect(await plan(place, ['public.a', 'public.parted'])).toEqual({ statements: [], findings: [] });
    expect(await members(place)).toEqual(['public.a', 'public.parted']);
  });

  it('follows the configuration: tables are added and dropped, options mended', async () => {
    const place = await makePlace(index);
    await place.server.query(`create publication p for table a, c with (publish = 'insert')`, place.database);
    await apply(place, await plan(place, ['public.a', 'public.b']));
    expect(await members(place)).toEqual(['public.a', 'public.b']);
    expect(await plan(place, ['public.a', 'public.b'])).toEqual({ statements: [], findings: [] });
  });

  it('sends the rows of partitions under their root', async () => {
    const place = await makePlace(index);
    await apply(place, await plan(place, ['public.parted']));
    const current = await withClient(settings(place), async (client) => {
      const { versionNumber } = await readServerFacts(client);
      return readPublication(client, 'p', versionNumber);
    });
    expect(current).toMatchObject({ viaPartitionRoot: true, publish: ['insert', 'update', 'delete', 'truncate'] });
  });

  it('refuses a table whose UPDATE and DELETE it would make fail, and plans the others (trap 12)', async () => {
    const place = await makePlace(index);
    const made = await plan(place, ['public.a', 'public.keyless']);
    expect(made.findings).toMatchObject([
      {
        code: 'REPLICA_IDENTITY_MISSING',
        severity: 'error',
        subject: 'public.keyless',
        remedy: expect.stringContaining('alter table "public"."keyless" replica identity full'),
      },
    ]);
    expect(made.statements.join()).not.toContain('keyless');
    // The proof that the refusal is right.
    await place.server.query(
      'create publication breaking for table keyless; insert into keyless values (1)',
      place.database,
    );
    await expect(place.server.query('update keyless set a = 2', place.database)).rejects.toThrow(/replica identity/);
  });

  it('leaves every write of the application working, whatever the replica identity, with all that a plan accepts', async () => {
    const place = await makePlace(index);
    const tables = ['public.a', 'public.by_index', 'public.whole', 'public.parted', 'public.generated'];
    await apply(place, await plan(place, tables));
    for (const table of tables) {
      await place.server.query(`insert into ${table} (id) values (1)`, place.database);
      await place.server.query(`update ${table} set id = 2`, place.database);
      await place.server.query(`delete from ${table}`, place.database);
    }
    expect(await members(place)).toEqual(tables.toSorted());
  });

  it('never takes FOR ALL TABLES over', async () => {
    const place = await makePlace(index);
    await place.server.query('create publication p for all tables', place.database);
    expect(await plan(place, ['public.a'])).toMatchObject({
      statements: [],
      findings: [{ code: 'PUBLICATION_ALL_TABLES', remedy: expect.stringContaining('drop publication "p";') }],
    });
  });

  it('prints the owner’s SQL where the role owns neither table nor publication (25b)', async () => {
    const place = await makePlace(index);
    await place.server.query(`drop role if exists stranger`);
    await place.server.query(`create role stranger login`);
    await place.server.query(`grant create on database ${place.database} to stranger`);
    const asStranger = { ...place, user: 'stranger' };
    const unowned = await plan(asStranger, ['public.a']);
    expect(unowned).toMatchObject({ statements: [], findings: [{ code: 'TABLE_NOT_OWNED', severity: 'error' }] });
    await place.server.query(unowned.findings[0]?.remedy ?? '', place.database);
    expect(await plan(asStranger, ['public.a'])).toEqual({ statements: [], findings: [] });
    expect(await plan(asStranger, ['public.a', 'public.b'])).toMatchObject({
      statements: [],
      findings: [{ code: 'PUBLICATION_NOT_OWNED', remedy: 'alter publication "p" add table "public"."b";' }],
    });
    await place.server.query(`drop owned by stranger; drop role stranger`, place.database);
  });

  it('only compares where a DBA keeps it, and lets him publish more', async () => {
    const place = await makePlace(index);
    await place.server.query(`create publication p for table a, b`, place.database);
    expect(await plan(place, ['public.a'], false)).toEqual({ statements: [], findings: [] });
    expect(await plan(place, ['public.c'], false)).toMatchObject({
      statements: [],
      findings: [{ code: 'PUBLICATION_DIFFERS', remedy: 'alter publication "p" add table "public"."c";' }],
    });
  });
});

describe('a column list', () => {
  const listed = { table: 'public.a', columnList: true, exclude: ['note'] };

  it('keeps excluded columns out of the WAL stream where all entries of the table ask for it', async () => {
    const place = await makePlace(0);
    await apply(place, await plan(place, [listed]));
    expect(await published(place)).toEqual([['id']]);
    await apply(place, await plan(place, [listed, 'public.a']));
    expect(await published(place)).toEqual([undefined]);
  });

  it('is not made on 14, which knows none', async () => {
    const place = await makePlace(2);
    expect((await plan(place, [listed])).statements.join()).not.toContain('"id"');
  });

  it('is refused with FULL, and without the identity’s columns', async () => {
    const place = await makePlace(0);
    const full = await plan(place, [{ table: 'public.whole', columnList: true, exclude: ['note'] }]);
    expect(full.findings).toMatchObject([{ code: 'COLUMN_LIST_WITH_FULL' }]);
    const keyless = await plan(place, [{ table: 'public.by_index', columnList: true, exclude: ['id'] }]);
    expect(keyless.findings).toMatchObject([{ code: 'COLUMN_LIST_WITHOUT_IDENTITY' }]);
    expect([...full.statements, ...keyless.statements].join()).not.toMatch(/whole|by_index/);
    // The proof that the refusal is right.
    await place.server.query(
      'create publication breaking for table whole (id); insert into whole values (1)',
      place.database,
    );
    await expect(place.server.query('update whole set id = 2', place.database)).rejects.toMatchObject({
      detail: expect.stringContaining('replica identity'),
    });
  });
});

describe('on PostgreSQL 18', () => {
  it('sends stored generated columns', async () => {
    const place = await makePlace(0);
    const { statements } = await plan(place, ['public.generated']);
    expect(statements.join()).toContain('publish_generated_columns = stored');
  });

  it('refuses FULL with a virtual generated column, which would make UPDATE fail (trap 12)', async () => {
    const place = await makePlace(0);
    await place.server.query(
      `create table virt (id int, twice int generated always as (id * 2) virtual); alter table virt replica identity full`,
      place.database,
    );
    const { findings } = await plan(place, ['public.virt']);
    expect(findings).toMatchObject([{ code: 'GENERATED_COLUMN_IN_IDENTITY', subject: 'public.virt' }]);
    await place.server.query('create publication breaking for table virt; insert into virt values (1)', place.database);
    await expect(place.server.query('update virt set id = 2', place.database)).rejects.toMatchObject({
      detail: expect.stringContaining('generated'),
    });
  });

  it('drops whole schemas from its publication', async () => {
    const place = await makePlace(0);
    await place.server.query(`create publication p for tables in schema public`, place.database);
    await apply(place, await plan(place, ['public.a']));
    expect(await members(place)).toEqual(['public.a']);
  });
});

describe('membership', () => {
  it('is empty where there is no such publication', async () => {
    expect(await members(await makePlace(0))).toEqual([]);
  });
});

interface Place {
  readonly server: EmbeddedPostgres;
  readonly database: string;
  readonly user?: string;
}

async function makePlace(index: number): Promise<Place> {
  const server = servers[index];
  if (server === undefined) throw new Error('no such server');
  const database = `db${++databases}`;
  await server.createDatabase(database);
  await server.query(
    `create table a (id int primary key, note text); create table b (id int primary key); create table c (id int primary key);
     create table by_index (id int not null unique, note text); alter table by_index replica identity using index by_index_id_key;
     create table whole (id int, note text); alter table whole replica identity full;
     create table keyless (a int);
     create table parted (id int primary key) partition by range (id);
     create table parted_leaf partition of parted for values from (0) to (100);
     create table generated (id int, twice int generated always as (id * 2) stored);
     alter table generated replica identity full`,
    database,
  );
  return { server, database };
}

function settings(place: Place) {
  return { url: place.server.url(place.database, place.user), name: 'test' };
}

async function plan(place: Place, entries: readonly Entry[], manage = true): Promise<PublicationPlan> {
  const { capture } = configSchema.parse({
    name: 'test',
    legacy: { url: 'postgresql://unused' },
    capture: entries.map((entry) => (typeof entry === 'string' ? { table: entry } : entry)),
  });
  return withClient(settings(place), async (client) => {
    const { versionNumber } = await readServerFacts(client);
    const { entries: resolved, findings } = await resolveTables(client, capture, { stateSchema: 'banyan' });
    expect(findings).toEqual([]);
    return planPublication({
      name: 'p',
      manage,
      versionNumber,
      targets: publicationTargets(resolved, versionNumber),
      current: await readPublication(client, 'p', versionNumber),
    });
  });
}

async function apply(place: Place, made: PublicationPlan): Promise<void> {
  await withClient(settings(place), (client) => applyPublication(client, made));
}

async function members(place: Place): Promise<string[]> {
  const membership = await withClient(settings(place), (client) => readMembership(client, 'p'));
  return [...membership.values()].toSorted();
}

async function published(place: Place) {
  const current = await withClient(settings(place), (client) => readPublication(client, 'p', 180_000));
  return current?.tables.map((table) => table.columns);
}
