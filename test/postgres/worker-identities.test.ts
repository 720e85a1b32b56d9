import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres, type PostgresMajor } from '../../src/demo/embedded-postgres.ts';
import { isMissing } from '../support/majors.ts';
import { makeBed, type WorkerBed } from '../support/worker-harness.ts';

const majors: readonly PostgresMajor[] = [14, 18];

for (const major of majors) {
  const missing = isMissing(major);
  describe.skipIf(missing)(`on PostgreSQL ${major}`, () => {
    onServer(major);
  });
}

interface Identity {
  readonly name: string;
  readonly sql: string;
  /** Columns that the key of an event has. */
  readonly key: readonly string[];
}

const identities: readonly Identity[] = [
  { name: 'default', sql: '', key: ['id'] },
  { name: 'full', sql: 'alter table t replica identity full', key: ['id'] },
  {
    name: 'index',
    sql: 'create unique index by_code on t (code); alter table t replica identity using index by_code',
    key: ['code'],
  },
  { name: 'nothing', sql: 'alter table t replica identity nothing', key: [] },
];

/** What an entry may ask for that touches the publication or the identity. */
const options: readonly (readonly [string, object])[] = [
  ['plain', {}],
  ['exclude', { exclude: ['note'] }],
  ['columnList', { exclude: ['note'], columnList: true }],
  ['reselect', { reselectUnavailable: true }],
  ['relaxed', { order: 'relaxed' }],
  ['mask', { mask: { note: 'redact' } }],
  ['changed', { emit: [{ on: 'update', changed: ['note'], detailType: 'NoteChanged' }] }],
  ['twice', {}],
];

function onServer(major: PostgresMajor): void {
  let server: EmbeddedPostgres;

  beforeAll(async () => {
    server = await EmbeddedPostgres.start({ major });
  });

  afterAll(async () => {
    await server?.stop();
  });

  const shapes = [
    { name: 'stored', extra: ', doubled integer generated always as (amount * 2) stored' },
    ...(major >= 18 ? [{ name: 'virtual', extra: ', doubled integer generated always as (amount * 2) virtual' }] : []),
  ];

  // One database for each shape: the combinations are tables of one schema each, all tried by one worker after the other.
  describe.each(shapes)('with a table of shape $name', (shape) => {
    test.each(identities)(
      'the application writes on under REPLICA IDENTITY $name, whatever configuration is accepted',
      async (identity) => {
        await using bed = await makeBed(server, { name: `id_${shape.name}_${identity.name}` });
        const accepted: string[] = [];
        const parked: object[] = [];
        for (const [name, option] of options) {
          await bed.sql(`drop table if exists t;
            create table t (id integer primary key, code text not null, amount integer, note text${shape.extra});
            ${identity.sql}`);
          const entries = name === 'twice' ? [{ ...option }, { ...option, source: 'second' }] : [option];
          const running = await bed.start(
            { capture: entries.map((entry) => ({ table: 'public.t', ...entry })) },
            { dontWait: true, intervals: { inspectMs: 60_000 } },
          );
          const { state } = await running.until('a verdict', (status) =>
            ['streaming', 'halted'].includes(status.state),
          );
          if (state === 'streaming') {
            accepted.push(name);
            // Throws where the server refuses a write of the application.
            await bed.sql(`insert into t (id, code, amount, note) values (1, 'a', 1, 'x'), (2, 'b', 2, 'y')`);
            await bed.sql(`update t set amount = 5, note = 'z' where id = 1`);
            await bed.sql(`update t set id = 3, code = 'c' where id = 1`);
            await bed.sql(`delete from t where id = 2`);
            await bed.confirmed();
            parked.push(...(await bed.sql(`select message from banyan.dead_letter`)));
          }
          await running.stop();
          await forget(bed);
        }
        expect(parked).toEqual([]);
        expect(accepted).toEqual(acceptable(major, { identity: identity.name, shape: shape.name }));
      },
    );
  });

  test('keys, previous keys, unavailable values and deletes are what each identity can know', async () => {
    await using bed = await makeBed(server, {
      name: 'known',
      setup: `create table d (id integer primary key, code text not null, big text);
        create table f (id integer primary key, code text not null, big text); alter table f replica identity full;
        create table i (id integer primary key, code text not null unique, big text); alter table i replica identity using index i_code_key;
        create table r (id integer primary key, code text not null, big text);
        alter table d alter big set storage external; alter table f alter big set storage external;
        alter table i alter big set storage external; alter table r alter big set storage external`,
    });
    await bed.start({
      capture: [
        { table: 'public.d' },
        { table: 'public.f' },
        { table: 'public.i' },
        { table: 'public.r', reselectUnavailable: true },
      ],
    });
    for (const table of ['d', 'f', 'i', 'r']) {
      await bed.sql(`insert into ${table} values (1, 'a', repeat('x', 5000))`);
      await bed.sql(`update ${table} set id = 2 where id = 1`);
      await bed.sql(`update ${table} set code = 'b'`);
      await bed.confirmed();
      await bed.sql(`delete from ${table}`);
    }
    await bed.confirmed();
    const of = (table: string) =>
      bed.events
        .filter(({ metadata }) => metadata.table === `public.${table}`)
        .map(({ metadata: { operation, key, previousKey, unavailable }, data, previous }) => ({
          operation,
          key,
          ...(previousKey === undefined ? {} : { previousKey }),
          unavailable,
          big: typeof data['big'] === 'string' ? data['big'].length : data['big'],
          previousCode: previous?.['code'],
        }));
    expect(of('d')).toEqual([
      { operation: 'insert', key: { id: 1 }, unavailable: [], big: 5000, previousCode: undefined },
      {
        operation: 'update',
        key: { id: 2 },
        previousKey: { id: 1 },
        unavailable: ['big'],
        big: undefined,
        previousCode: undefined,
      },
      { operation: 'update', key: { id: 2 }, unavailable: ['big'], big: undefined, previousCode: undefined },
      { operation: 'delete', key: { id: 2 }, unavailable: ['code', 'big'], big: undefined, previousCode: undefined },
    ]);
    expect(of('f')).toEqual([
      { operation: 'insert', key: { id: 1 }, unavailable: [], big: 5000, previousCode: undefined },
      { operation: 'update', key: { id: 2 }, previousKey: { id: 1 }, unavailable: [], big: 5000, previousCode: 'a' },
      { operation: 'update', key: { id: 2 }, unavailable: [], big: 5000, previousCode: 'a' },
      { operation: 'delete', key: { id: 2 }, unavailable: [], big: 5000, previousCode: undefined },
    ]);
    expect(of('i')).toEqual([
      { operation: 'insert', key: { code: 'a' }, unavailable: [], big: 5000, previousCode: undefined },
      { operation: 'update', key: { code: 'a' }, unavailable: ['big'], big: undefined, previousCode: undefined },
      {
        operation: 'update',
        key: { code: 'b' },
        previousKey: { code: 'a' },
        unavailable: ['big'],
        big: undefined,
        previousCode: undefined,
      },
      { operation: 'delete', key: { code: 'b' }, unavailable: ['id', 'big'], big: undefined, previousCode: undefined },
    ]);
    expect(of('r').map(({ operation, unavailable, big }) => [operation, unavailable, big])).toEqual([
      ['insert', [], 5000],
      ['update', [], 5000],
      ['update', [], 5000],
      ['delete', ['code', 'big'], undefined],
    ]);
  });

  test('composite and text keys, odd names, partitions under their root', async () => {
    await using bed = await makeBed(server, {
      name: 'names',
      setup: `create schema "Odd.Schema";
        create table "Odd.Schema"."Größe ""x""" ("Id" integer, "a.b" text, "漢字" text, primary key ("Id", "a.b"));
        create table "Case" (id integer primary key); create table "case" (id integer primary key);
        create table parts (id integer, day date, note text, primary key (id, day)) partition by range (day);
        create table parts_1 partition of parts for values from ('2026-01-01') to ('2026-02-01');
        create table parts_2 partition of parts for values from ('2026-02-01') to ('2026-03-01')`,
    });
    await bed.start({
      capture: [
        { table: '"Odd.Schema"."Größe ""x"""', emit: [{ on: ['insert', 'update', 'delete'], detailType: 'Odd' }] },
        { table: 'public."Case"', emit: [{ on: 'insert', detailType: 'Upper' }] },
        { table: 'public."case"', emit: [{ on: 'insert', detailType: 'Lower' }] },
        { table: 'public.parts' },
      ],
    });
    await bed.sql(`insert into "Odd.Schema"."Größe ""x""" values (1, 'a,b:c/ü', 'wert');
      update "Odd.Schema"."Größe ""x""" set "a.b" = 'new'; delete from "Odd.Schema"."Größe ""x""";
      insert into "Case" values (1); insert into "case" values (2);
      insert into parts values (1, '2026-01-15', 'x'), (2, '2026-02-15', 'y');
      update parts set note = 'z' where id = 1; update parts set day = '2026-02-20' where id = 1; delete from parts where id = 2`);
    await bed.confirmed();
    const odd = bed.events.filter(({ detailType }) => detailType === 'Odd');
    expect(odd.map(({ metadata }) => [metadata.operation, metadata.key, metadata.previousKey])).toEqual([
      ['insert', { Id: 1, 'a.b': 'a,b:c/ü' }, undefined],
      ['update', { Id: 1, 'a.b': 'new' }, { Id: 1, 'a.b': 'a,b:c/ü' }],
      ['delete', { Id: 1, 'a.b': 'new' }, undefined],
    ]);
    expect(odd[0]?.data).toEqual({ Id: 1, 'a.b': 'a,b:c/ü', 漢字: 'wert' });
    expect(odd[0]?.metadata.table).toBe('Odd.Schema.Größe "x"');
    const named = (type: string) => bed.events.filter(({ detailType }) => detailType === type).map(({ data }) => data);
    expect(named('Upper')).toEqual([{ id: 1 }]);
    expect(named('Lower')).toEqual([{ id: 2 }]);
    const parts = bed.events.filter(({ metadata }) => metadata.table === 'public.parts');
    // A move between partitions is a delete and an insert, as PostgreSQL does it.
    const seenOperations = parts
      .map(({ metadata }) => `${metadata.operation} ${String(metadata.key['id'])}`)
      .toSorted();
    expect(seenOperations).toEqual(['delete 1', 'delete 2', 'insert 1', 'insert 1', 'insert 2', 'update 1']);
  });

  test('the application writes on in a table without columns, and the stream goes on', async () => {
    await using bed = await makeBed(server, {
      name: 'no_columns',
      setup: `create table nothing (); create table other (id integer primary key)`,
    });
    const config = { capture: [{ table: 'public.nothing' }, { table: 'public.other' }] };
    const refused = await bed.start(config, { dontWait: true });
    expect((await refused.reaches('halted')).problem?.message).toContain(
      'public.nothing has no usable replica identity',
    );
    await refused.stop();
    await bed.sql(`insert into nothing default values; delete from nothing; alter table nothing replica identity full`);
    await bed.start(config);
    await bed.sql(`insert into nothing default values; delete from nothing; insert into other values (1)`);
    await bed.confirmed();
    const seenTypes = bed.events.map(({ detailType }) => detailType).toSorted();
    expect(seenTypes).toEqual(['NothingDeleted', 'NothingInserted', 'OtherInserted']);
  });
}

/** Refusing everything would keep the application writing as well: what must be accepted is said here. */
function acceptable(major: number, table: { identity: string; shape: string }): string[] {
  const { identity, shape } = table;
  if (identity === 'nothing' || (identity === 'full' && shape === 'virtual')) return [];
  return options
    .map(([name]) => name)
    .filter((name) => (identity === 'full' ? name !== 'columnList' || major < 15 : name !== 'changed'));
}

/** As if nothing had ever run in this database. */
async function forget(bed: WorkerBed): Promise<void> {
  await bed.sql(`select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = '${bed.slot}'`);
  await bed.sql(`drop publication if exists ${bed.slot}`);
  await bed.sql('drop schema if exists banyan cascade');
}
