import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import type { Finding } from '../../src/core/finding.ts';
import { loadTables } from '../../src/postgres/catalog.ts';
import type { CatalogTable } from '../../src/postgres/table.ts';
import type { ReverseOperation } from '../../src/reverse/intent.ts';
import { grantStatements, missingRights, neededRights, type Writes } from '../../src/reverse/privileges.ts';
import { surroundingFindings } from '../../src/reverse/surroundings.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server.stop());

interface Place extends AsyncDisposable {
  readonly owner: pg.Client;
  readonly role: pg.Client;
  readonly roleName: string;
  target(table: string, operation: ReverseOperation, columns: { key: string[]; set?: string[] }): Promise<Written>;
}

type Written = Writes & { readonly entry: number };

/** A database, and a role with no right in it but to connect. */
async function open(name: string, setup: string): Promise<Place> {
  const url = await server.createDatabase(name);
  const roleName = `${name} worker`;
  await server.query(`create role "${roleName}" login`, name);
  await server.query(setup, name);
  const owner = new pg.Client(url);
  const role = new pg.Client(server.url(name, roleName));
  await Promise.all([owner.connect(), role.connect()]);
  return {
    owner,
    role,
    roleName,
    async target(table, operation, { key, set = [] }) {
      const { rows } = await owner.query<{ oid: number }>('select $1::regclass::oid::int8::float8 as oid', [table]);
      const [loaded] = await loadTables(owner, [rows[0]?.oid ?? 0]);
      return { entry: 0, table: loaded as CatalogTable, operation, key: named(key), set: named(set), expect: [] };
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([owner.end(), role.end()]);
    },
  };
}

function named(names: readonly string[]): { readonly name: string }[] {
  return names.map((name) => ({ name }));
}

function codes(findings: readonly Finding[]): string[] {
  return findings.map(({ code }) => code);
}

async function granted(place: Place, targets: readonly Writes[]): Promise<string[]> {
  const statements = grantStatements(await neededRights(place.owner, targets), place.roleName);
  for (const statement of statements) await place.owner.query(statement);
  return statements;
}

describe('the rights that writes need', () => {
  test('of a table are those of its entries together, by column, and no others', async () => {
    await using place = await open(
      'rights',
      `create schema "Shop"; create schema kinds; create type kinds.mood as enum ('good');
       create table "Shop"."Orders" (note text, id bigint primary key, status text, mood kinds.mood, secret text);
       create table closed (id int primary key)`,
    );
    const orders = '"Shop"."Orders"';
    const targets = [
      await place.target(orders, 'update', { key: ['id'], set: ['status', 'mood'] }),
      await place.target(orders, 'upsert', { key: ['id'], set: ['note'] }),
    ];
    expect(await granted(place, targets)).toEqual([
      'grant usage on schema "Shop" to "rights worker";',
      'grant usage on schema "kinds" to "rights worker";',
      'grant select, insert ("note", "id"), update ("note", "status", "mood") on "Shop"."Orders" to "rights worker";',
    ]);
    const { role } = place;
    await role.query(`insert into "Shop"."Orders" (id, note) overriding system value values (1, 'n') returning secret`);
    await role.query(`select * from only "Shop"."Orders" where id = 1 for no key update`);
    await role.query(`update only "Shop"."Orders" set status = 's', mood = 'good'::kinds.mood where id = 1`);
    for (const forbidden of [
      `insert into "Shop"."Orders" (id, status) values (2, 's')`,
      'update "Shop"."Orders" set secret = null',
      'delete from "Shop"."Orders"',
      'truncate "Shop"."Orders"',
      'select from closed',
    ])
      await expect(role.query(forbidden)).rejects.toMatchObject({ code: '42501' });
  });

  test('a delete locks its row first, which takes the right to update some column', async () => {
    await using place = await open(
      'deletes',
      'create table orders (id int primary key, status text); insert into orders values (1)',
    );
    const target = await place.target('orders', 'delete', { key: ['id'] });
    const [, statement = ''] = await granted(place, [target]);
    expect(statement).toBe('grant select, update ("id"), delete on "public"."orders" to "deletes worker";');
    await place.role.query('select * from orders where id = 1 for update');
    await place.role.query('delete from orders where id = 1');
    await place.owner.query('revoke update (id) on orders from "deletes worker"');
    await expect(place.role.query('select * from orders for update')).rejects.toMatchObject({ code: '42501' });
  });

  test('beside a delete an insert brings back what other entries set, which takes the right to insert it', async () => {
    await using place = await open('returns', 'create table orders (id int primary key, status text, note text)');
    const upsert = await place.target('orders', 'upsert', { key: ['id'], set: ['status'] });
    const patch = await place.target('orders', 'update', { key: ['id'], set: ['note'] });
    const remove = await place.target('orders', 'delete', { key: ['id'] });
    const statement = async (targets: readonly Writes[]) => (await granted(place, targets)).at(-1);
    expect(await statement([upsert, patch])).toBe(
      'grant select, insert ("id", "status"), update ("status", "note") on "public"."orders" to "returns worker";',
    );
    expect(await statement([upsert, patch, remove])).toBe(
      'grant select, insert ("id", "status", "note"), update ("status", "note"), delete on "public"."orders" to "returns worker";',
    );
  });

  test('an insert needs the sequence of a serial column that it leaves out, and of no other', async () => {
    await using place = await open(
      'serials',
      `create table orders (id int primary key, number serial, line bigserial, place int generated always as identity)`,
    );
    const target = await place.target('orders', 'insert', { key: ['id'], set: ['line'] });
    const update = await place.target('orders', 'update', { key: ['id'], set: ['number'] });
    const statements = await granted(place, [target, update]);
    expect(statements.filter((statement) => statement.includes('sequence'))).toEqual([
      'grant usage on sequence "public"."orders_number_seq" to "serials worker";',
    ]);
    await place.role.query('insert into orders (id, line) values (1, 7)');
    await place.owner.query('revoke usage on sequence orders_number_seq from "serials worker"');
    await expect(place.role.query('insert into orders (id, line) values (2, 7)')).rejects.toMatchObject({
      code: '42501',
    });
    // An update of the same table fills in no default.
    expect((await neededRights(place.owner, [update])).sequences).toEqual([]);
  });

  test('of a partitioned table are its own: partitions are reached through it', async () => {
    await using place = await open(
      'parts',
      `create table readings (id int, at date, v int, primary key (id, at)) partition by range (at);
       create table readings_1 partition of readings for values from ('2026-01-01') to ('2027-01-01');
       create table readings_2 partition of readings for values from ('2027-01-01') to ('2028-01-01')`,
    );
    const key = ['id', 'at'];
    await granted(place, [
      await place.target('readings', 'upsert', { key, set: ['v'] }),
      await place.target('readings', 'delete', { key }),
    ]);
    await place.role.query(`insert into readings (id, at, v) values (1, '2026-05-05', 1)`);
    await place.role.query('update readings set v = 2 where id = 1');
    await place.role.query('delete from readings where id = 1');
    await expect(place.role.query('select from readings_1')).rejects.toMatchObject({ code: '42501' });
  });
});

describe('what the connected role lacks', () => {
  test('is found, each with its grant; and nothing where all is there, by whatever way', async () => {
    await using place = await open(
      'lacking',
      `create schema shop; revoke usage on schema shop from public;
       create table shop.orders (id int primary key, number serial, status text)`,
    );
    const { owner, role, roleName } = place;
    const targets = [
      await place.target('shop.orders', 'upsert', { key: ['id'], set: ['status'] }),
      await place.target('shop.orders', 'delete', { key: ['id'] }),
    ];
    const found = await surroundingFindings(role, targets, roleName);
    expect(new Set(codes(found))).toEqual(new Set(['REVERSE_NOT_PRIVILEGED']));
    expect(found.every(({ severity }) => severity === 'error')).toBe(true);
    expect(found.map(({ remedy }) => remedy)).toEqual([
      'grant select, insert ("id", "status"), update ("status"), delete on "shop"."orders" to "lacking worker";',
      'grant usage on schema "shop" to "lacking worker";',
      'grant usage on sequence "shop"."orders_number_seq" to "lacking worker";',
    ]);

    await owner.query(
      'grant usage on schema shop to "lacking worker"; grant select, insert (id) on shop.orders to public',
    );
    const left = await missingRights(role, await neededRights(role, targets));
    expect(grantStatements(left, roleName)).toEqual([
      'grant insert ("status"), update ("status"), delete on "shop"."orders" to "lacking worker";',
      'grant usage on sequence "shop"."orders_number_seq" to "lacking worker";',
    ]);
    for (const { remedy = '' } of await surroundingFindings(role, targets, roleName)) await owner.query(remedy);
    expect(await surroundingFindings(role, targets, roleName)).toEqual([]);
    // An owner needs no grant.
    expect(grantStatements(await missingRights(owner, await neededRights(owner, targets)), 'x')).toEqual([]);
  });

  test('the right to tag, and triggers that do not fire, are errors', async () => {
    await using place = await open(
      'tags',
      'create table orders (id int primary key, status text); grant all on orders to public',
    );
    const targets = [await place.target('orders', 'update', { key: ['id'], set: ['status'] })];
    const version = await place.owner.query<{ number: number }>(
      `select current_setting('server_version_num')::int as number`,
    );
    const signature = `pg_logical_emit_message(boolean, text, text${(version.rows[0]?.number ?? 0) >= 170_000 ? ', boolean' : ''})`;
    await place.owner.query(`revoke execute on function ${signature} from public`);
    const [finding] = await surroundingFindings(place.role, targets, place.roleName);
    expect(finding).toMatchObject({ code: 'REVERSE_CAN_NOT_TAG', severity: 'error' });
    await place.owner.query(finding?.remedy ?? '');
    expect(await surroundingFindings(place.role, targets, place.roleName)).toEqual([]);

    await place.owner.query('set session_replication_role = replica');
    expect(await surroundingFindings(place.owner, targets, 'postgres')).toMatchObject([
      {
        code: 'REVERSE_TRIGGERS_OFF',
        severity: 'error',
        remedy: 'alter role "postgres" set session_replication_role = origin;',
      },
    ]);
  });
});

describe('what stands around the writes', () => {
  test('triggers that fire for the events are told with what comes of them', async () => {
    await using place = await open(
      'triggers',
      `create table orders (id int primary key, status text, note text);
       create function touch() returns trigger language plpgsql as 'begin return new; end';
       create function audit() returns trigger language plpgsql security definer as 'begin return null; end';
       create trigger a_before before insert or update on orders for each row execute function touch();
       create trigger b_after after update of status on orders for each row execute function audit();
       create trigger c_note after update of note on orders for each row execute function audit();
       create trigger d_delete after delete on orders for each row execute function audit();
       create trigger e_off before update on orders for each row execute function touch();
       alter table orders disable trigger e_off;
       create constraint trigger f_late after update on orders deferrable initially deferred for each row execute function audit();
       grant all on orders to public`,
    );
    const update = await place.target('orders', 'update', { key: ['id'], set: ['status'] });
    const found = await surroundingFindings(place.role, [update], place.roleName);
    expect(codes(found)).toEqual(['REVERSE_TRIGGER', 'REVERSE_TRIGGER', 'REVERSE_TRIGGER']);
    const [before, after, late] = found.map(({ message }) => message);
    expect(before).toMatch(/^trigger a_before of public\.orders .*a `correction` tells the producer/);
    expect(before).toContain('touch() runs with the rights of role triggers worker');
    expect(after).toMatch(/^trigger b_after .*published with origin `trigger`$/);
    expect(late).toMatch(/^trigger f_late .*at the commit/);
    const remove = await place.target('orders', 'delete', { key: ['id'] });
    const [only, ...more] = await surroundingFindings(place.role, [remove], place.roleName);
    expect(only?.message).toContain('d_delete');
    expect(more).toEqual([]);
  });

  test('row security that holds for the role, and constraints that wait for the commit', async () => {
    await using place = await open(
      'around',
      `create table customers (id int primary key);
       create table orders (id int primary key, status text,
         customer int constraint to_customer references customers deferrable initially deferred,
         code int constraint once unique deferrable initially deferred);
       alter table orders enable row level security;
       grant all on orders to public`,
    );
    const targets = [await place.target('orders', 'update', { key: ['id'], set: ['status'] })];
    const found = await surroundingFindings(place.role, targets, place.roleName);
    expect(codes(found)).toEqual([
      'REVERSE_ROW_SECURITY',
      'REVERSE_CONSTRAINT_DEFERRED',
      'REVERSE_CONSTRAINT_DEFERRED',
    ]);
    await place.owner.query(found[0]?.remedy?.split('\n')[0] ?? '');
    const [, once, toCustomer] = found;
    expect(once?.remedy).toBeUndefined();
    await place.owner.query(toCustomer?.remedy ?? '');
    await place.owner.query('insert into customers values (1); insert into orders values (1, null, 1)');
    expect((await place.role.query('select from orders')).rowCount).toBe(1);
    expect(codes(await surroundingFindings(place.role, targets, place.roleName))).toEqual([
      'REVERSE_ROW_SECURITY',
      'REVERSE_CONSTRAINT_DEFERRED',
    ]);
  });
});
