import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import type { ConflictPolicy, Target } from '../../src/reverse/intent.ts';
import { ApplyBed } from '../support/apply-bed.ts';

const TABLES = `
  create table orders (id int primary key, status text, total numeric(10,2), note text, secret text,
    doubled numeric generated always as (total * 2) stored);`;

let server: EmbeddedPostgres;
let bed: ApplyBed;
let upsert: Target;
let expecting: Target;
let based: Target;
let remove: Target;
let number = 0;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
  bed = await ApplyBed.open(server, 'conflicts', TABLES);
  upsert = await bed.target({ table: 'public.orders', set: ['status', 'total'] });
  expecting = await bed.target({ table: 'public.orders', set: ['status', 'total'], expect: ['status', 'total'] });
  based = await bed.target({ table: 'public.orders', set: ['status', 'total'], basedOn: 'detail.basedOn' });
  remove = await bed.target({ table: 'public.orders', operation: 'delete' });
  await bed.follow();
});
afterAll(async () => {
  await bed?.[Symbol.asyncDispose]();
  await server?.stop();
});

/** A row that we wrote with version 1, and legacy changed since. */
async function touched(): Promise<string> {
  const id = `${++number}`;
  await bed.one(upsert, { key: [id], values: ['new', '1.00'], version: 1 });
  await bed.pool.query(`update orders set status = 'by legacy' where id = ${id}`);
  await bed.follow();
  return id;
}

const sequence = (n: number) =>
  `0001-00000001-00000000000000${n.toString(16).toUpperCase().padStart(2, '0')}-0000000000-00`;

async function statusOf(id: string): Promise<unknown> {
  const [row] = await bed.rows(`select status from orders where id = ${id}`);
  return (row as { status: string } | undefined)?.status;
}

function under(target: Target, conflict: ConflictPolicy): Target {
  return { ...target, conflict };
}

function hidden(_: unknown, row: Readonly<Record<string, string | null>>): Record<string, string> {
  return Object.fromEntries(Object.keys(row).map((name) => [name, '[shown]']));
}

describe('a row that both sides changed', () => {
  test('stays as it is where legacy wins, and is published as it stands', async () => {
    const id = await touched();
    const asked = { key: [id], values: ['paid', '2.00'], version: 2, event: `refused ${id}` };
    expect(await bed.one(under(upsert, 'legacy-wins'), asked)).toBe('refused update_origin_differs');
    expect(await statusOf(id)).toBe('by legacy');
    expect(await bed.stream()).toEqual([[`refusal update ${id}`]]);
    const [conflict] = await bed.state.conflicts.list({ table: 'public.orders' });
    expect(conflict).toMatchObject({
      key: { id },
      kind: 'update_origin_differs',
      policy: 'legacy-wins',
      resolution: 'legacy-wins',
      producer: 'new',
      eventId: `refused ${id}`,
      proposed: { status: 'paid', total: '2.00' },
      current: { id, status: 'by legacy', total: '1.00', note: null, doubled: '2.00' },
    });
    expect(conflict?.resolvedAt).toBeDefined();
    // The producer knows now: its next event is based on that.
    expect(await bed.one(under(upsert, 'legacy-wins'), asked)).toBe('duplicate');
    expect(await bed.one(under(upsert, 'legacy-wins'), { ...asked, event: 'older', version: 2 })).toBe('stale');
    expect(await bed.one(under(upsert, 'legacy-wins'), { ...asked, event: `next ${id}`, version: 3 })).toBe(
      'applied correction',
    );
    expect(await statusOf(id)).toBe('paid');
  });

  test('is overwritten where the new system wins, and what it overwrote is kept', async () => {
    const id = await touched();
    const asked = { key: [id], values: ['paid', '2.00'], version: 2, event: `won ${id}` };
    expect(await bed.one(under(upsert, 'new-wins'), asked)).toBe('applied correction update_origin_differs');
    expect(await statusOf(id)).toBe('paid');
    expect(await bed.stream()).toEqual([[`tag update ${id}`, `update orders ${id}`, 'correction']]);
    const [conflict] = await bed.state.conflicts.list({ table: 'public.orders' });
    expect(conflict).toMatchObject({ eventId: `won ${id}`, resolution: 'new-wins', current: { status: 'by legacy' } });
  });

  test('parks the event for a person, with all that the two sides wanted', async () => {
    const id = await touched();
    const asked = { key: [id], values: ['paid', '2.00'], version: 2, event: `parked ${id}` };
    const open = await bed.state.conflicts.countOpen();
    expect(await bed.one(under(upsert, 'park'), asked)).toBe('failed conflict-parked');
    expect(bed.parked.at(-1)).toEqual({
      event: `parked ${id}`,
      kind: 'conflict-parked',
      code: undefined,
      conflict: 'update_origin_differs',
    });
    expect(await statusOf(id)).toBe('by legacy');
    expect(await bed.stream()).toEqual([]);
    // Tried again it is the same conflict.
    expect(await bed.one(under(upsert, 'park'), asked)).toBe('failed conflict-parked');
    expect(await bed.state.conflicts.countOpen()).toBe(open + 1);
    const [conflict] = await bed.state.conflicts.list({ open: true });
    expect(conflict).toMatchObject({ resolution: 'parked', resolvedAt: undefined, current: { status: 'by legacy' } });
    // A person has decided.
    expect(await bed.one(under(upsert, 'new-wins'), asked, { byOperator: true })).toBe(
      'applied correction update_origin_differs',
    );
    expect(await bed.state.conflicts.countOpen()).toBe(open);
    expect(await bed.state.conflicts.get(conflict?.id ?? 0)).toMatchObject({ resolution: 'new-wins' });
  });

  test('follows the stage of its table', async () => {
    const first = await touched();
    expect(await bed.one(upsert, { key: [first], values: ['paid', '2.00'], version: 2 })).toBe(
      'refused update_origin_differs',
    );
    const second = await touched();
    await bed.state.stages.set('public.orders', 'new-primary', 'a test');
    try {
      expect(await bed.one(upsert, { key: [second], values: ['paid', '2.00'], version: 2 })).toBe(
        'applied correction update_origin_differs',
      );
    } finally {
      await bed.state.stages.set('public.orders', 'dual', 'a test');
    }
  });

  test('is no conflict where legacy touched other columns, or made of it what the event makes', async () => {
    const id = `${++number}`;
    await bed.one(upsert, { key: [id], values: ['new', '1.00'], version: 1 });
    await bed.pool.query(`update orders set note = 'by legacy' where id = ${id}`);
    expect(await bed.one(upsert, { key: [id], values: ['paid', '1.00'], version: 2 })).toBe('applied echo');
    await bed.pool.query(`update orders set status = 'sent' where id = ${id}`);
    expect(await bed.one(upsert, { key: [id], values: ['sent', '1.00'], version: 3 })).toBe('applied unchanged');
    // But for a delete, which takes them all.
    expect(await bed.one(remove, { key: [id], version: 4 })).toBe('refused delete_origin_differs');
  });

  test('is no conflict where the event expects it as it is, by its types', async () => {
    const id = await touched();
    const asked = { key: [id], values: ['paid', '2.00'], version: 2 };
    expect(await bed.one(expecting, { ...asked, expected: ['new', '1.00'] })).toBe('refused update_origin_differs');
    await bed.pool.query(`update orders set status = 'once more' where id = ${id}`);
    expect(await bed.one(expecting, { ...asked, version: 3, expected: ['once more', '1.000'] })).toMatch(
      /^applied \w+$/,
    );
  });

  test('is no conflict where the producer had seen the change', async () => {
    const id = await touched();
    await bed.state.legacyChanges.record([{ table: 'public.orders', key: [id], sequence: sequence(8) }]);
    const asked = { key: [id], values: ['paid', '2.00'], version: 2 };
    const before = bed.caughtUp;
    expect(await bed.one(based, { ...asked, basedOn: sequence(7) })).toBe('refused update_origin_differs');
    expect(await bed.one(based, { ...asked, version: 3, basedOn: sequence(8) })).toBe('applied echo');
    expect(bed.caughtUp).toBeGreaterThan(before);
    expect(await statusOf(id)).toBe('paid');
  });

  test('is refused to every event that was sent before its producer heard of the correction', async () => {
    const id = await touched();
    const asked = { key: [id], values: ['paid', '2.00'] };
    await bed.state.legacyChanges.record([{ table: 'public.orders', key: [id], sequence: sequence(8) }]);
    expect(await bed.one(based, { ...asked, version: 2, basedOn: sequence(7) })).toBe('refused update_origin_differs');
    // The correction.
    await bed.state.legacyChanges.record([{ table: 'public.orders', key: [id], sequence: sequence(9) }]);
    expect(await bed.one(based, { ...asked, version: 3, basedOn: sequence(8) })).toBe('refused update_origin_differs');
    expect(await bed.one(based, { ...asked, version: 4, basedOn: sequence(9) })).toBe('applied echo');
  });

  test('and was overwritten is published with every write until the producer has heard of it', async () => {
    const id = await touched();
    const target = under(based, 'new-wins');
    await bed.state.legacyChanges.record([{ table: 'public.orders', key: [id], sequence: sequence(8) }]);
    const asked = (version: number, basedOn: number) => ({
      key: [id],
      values: [`v${version}`, '2.00'],
      version,
      basedOn: sequence(basedOn),
    });
    expect(await bed.one(target, asked(2, 7))).toBe('applied correction update_origin_differs');
    await bed.state.legacyChanges.record([{ table: 'public.orders', key: [id], sequence: sequence(9) }]);
    expect(await bed.one(target, asked(3, 7))).toBe('applied correction');
    await bed.state.legacyChanges.record([{ table: 'public.orders', key: [id], sequence: sequence(10) }]);
    expect(await bed.one(target, asked(4, 10))).toBe('applied echo');
    expect(await bed.one(target, asked(5, 10))).toBe('applied echo');
  });

  test('is published once where events do not say what they are based on', async () => {
    const id = await touched();
    const asked = { key: [id], values: ['paid', '2.00'] };
    expect(await bed.one(upsert, { ...asked, version: 2 })).toBe('refused update_origin_differs');
    expect(await bed.one(upsert, { ...asked, version: 3 })).toBe('applied correction');
    expect(await bed.one(upsert, { ...asked, values: ['sent', '2.00'], version: 4 })).toBe('applied echo');
  });

  test('is found by the key as the stream shows it, however the event spells it', async () => {
    await bed.pool.query(
      `create table prices (code numeric primary key, price int); insert into prices values (1.50, 1)`,
    );
    const target = await bed.target({
      table: 'public.prices',
      key: ['code'],
      set: ['price'],
      basedOn: 'detail.basedOn',
    });
    await bed.state.legacyChanges.record([{ table: 'public.prices', key: ['1.50'], sequence: sequence(8) }]);
    expect(await bed.one(target, { key: ['1.5'], values: ['2'], version: 1, basedOn: sequence(7) })).toBe(
      'refused update_origin_differs',
    );
  });

  test('and is gone with a TRUNCATE is not made again by an event that did not know of it', async () => {
    const table = 'public.emptied';
    await bed.pool.query('create table emptied (id int primary key, status text)');
    const target = await bed.target({ table, set: ['status'], basedOn: 'detail.basedOn' });
    await bed.one(target, { key: ['1'], values: ['new'], version: 1, basedOn: sequence(1) });
    await bed.pool.query('truncate emptied');
    await bed.state.legacyChanges.record([{ table, key: [], sequence: sequence(8) }]);
    const late = { key: ['1'], values: ['late'], version: 2, basedOn: sequence(7) };
    expect(await bed.one(target, late)).toBe('refused update_deleted');
    expect(await bed.rows('select from emptied')).toEqual([]);
    expect(await bed.one(target, { ...late, version: 3, basedOn: sequence(8) })).toMatch(/^applied/);
  });

  test('is not looked up in the stream where nobody else wrote it', async () => {
    const id = `${++number}`;
    await bed.one(based, { key: [id], values: ['new', '1.00'], version: 1, basedOn: sequence(1) });
    const before = bed.caughtUp;
    expect(await bed.one(based, { key: [id], values: ['paid', '1.00'], version: 2, basedOn: sequence(1) })).toBe(
      'applied echo',
    );
    expect(bed.caughtUp).toBe(before);
  });

  test('is let go of while the stream is far behind, and decided when it has caught up', async () => {
    const id = await touched();
    await bed.state.legacyChanges.record([{ table: 'public.orders', key: [id], sequence: sequence(8) }]);
    let calls = 0;
    let wasFree: unknown;
    const caughtUp = async () => {
      calls += 1;
      // With the row locked nobody waits for long.
      if (calls === 1) await new Promise(() => undefined);
      if (calls === 2) wasFree = await bed.rows(`select id from orders where id = ${id} for update nowait`);
    };
    const asked = { key: [id], values: ['paid', '2.00'], version: 2, basedOn: sequence(8) };
    expect(await bed.one(based, asked, { caughtUp })).toBe('applied echo');
    expect(wasFree).toEqual([{ id: Number(id) }]);
    expect(calls).toBe(3);
  });
});

describe('a row that legacy made', () => {
  test('is a conflict with the first event of it', async () => {
    const id = `${++number}`;
    await bed.pool.query(`insert into orders (id, status) values (${id}, 'by legacy')`);
    expect(await bed.one(upsert, { key: [id], values: ['new', '1.00'], version: 1 })).toBe(
      'refused update_origin_differs',
    );
  });

  test('is one with an insert, whatever the producer had seen', async () => {
    const insert = await bed.target({
      table: 'public.orders',
      operation: 'insert',
      set: ['status'],
      conflict: 'new-wins',
    });
    const id = `${++number}`;
    await bed.pool.query(`insert into orders (id, status) values (${id}, 'by legacy')`);
    expect(await bed.one(insert, { key: [id], values: ['new'], version: 1 })).toBe('applied correction insert_exists');
  });

  test('is not deleted by an event that does not know it', async () => {
    const id = `${++number}`;
    await bed.pool.query(`insert into orders (id, status) values (${id}, 'by legacy')`);
    await bed.follow();
    expect(await bed.one(remove, { key: [id], version: 1 })).toBe('refused delete_origin_differs');
    expect(await bed.stream()).toEqual([[`refusal update ${id}`]]);
  });
});

describe('a row that legacy deleted', () => {
  test('is not made again where legacy wins, and the producer is told that it is gone', async () => {
    const id = `${++number}`;
    await bed.one(upsert, { key: [id], values: ['new', '1.00'], version: 1 });
    await bed.pool.query(`delete from orders where id = ${id}`);
    await bed.follow();
    expect(await bed.one(upsert, { key: [id], values: ['paid', '1.00'], version: 2 })).toBe('refused update_deleted');
    expect(await bed.stream()).toEqual([[`refusal delete ${id}`]]);
    expect(await statusOf(id)).toBeUndefined();
    // It knows that: now it means it.
    expect(await bed.one(upsert, { key: [id], values: ['again', '1.00'], version: 3 })).toMatch(/^applied \w+$/);
    expect(await statusOf(id)).toBe('again');
  });

  test('is made again where the new system wins', async () => {
    const id = `${++number}`;
    await bed.one(upsert, { key: [id], values: ['new', '1.00'], version: 1 });
    await bed.pool.query(`delete from orders where id = ${id}`);
    expect(await bed.one(under(upsert, 'new-wins'), { key: [id], values: ['paid', '1.00'], version: 2 })).toBe(
      'applied correction update_deleted',
    );
  });
});

test('nothing of a row is kept in applied_version as it is', async () => {
  const id = `${++number}`;
  await bed.one(upsert, { key: [id], values: ['unmistakable', '123456.78'], version: 1 });
  const [row] = await bed.rows(`select columns::text from banyan.applied_version where key = array['${id}']`);
  expect(JSON.stringify(row)).not.toMatch(/unmistakable|123456/);
});

test('what a conflict shows goes through what may be shown', async () => {
  const id = await touched();
  await bed.one(upsert, { key: [id], values: ['paid', '2.00'], version: 2, event: `shown ${id}` }, { show: hidden });
  const [conflict] = await bed.state.conflicts.list({ table: 'public.orders' });
  expect(conflict).toMatchObject({ eventId: `shown ${id}`, key: { id: '[shown]' }, proposed: { status: '[shown]' } });
  expect(JSON.stringify(conflict)).not.toContain('by legacy');
});
