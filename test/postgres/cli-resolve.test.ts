import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { banyan, type Finished } from '../support/banyan-process.ts';
import { eventually } from '../support/eventually.ts';
import { bodyOf, makeReverseWorkerBed, type ReverseWorkerBed } from '../support/reverse-worker-bed.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server?.stop());

const SETUP = `create table orders (id int primary key, status text); insert into orders values (1, 'legacy'), (2, 'legacy')`;
const APPLY = [
  {
    match: { source: ['shop.orders'] },
    table: 'public.orders',
    operation: 'update',
    key: { id: 'detail.id' },
    set: { status: 'detail.status' },
    version: 'detail.version',
    conflict: 'park',
  },
];
const CAPTURE = [{ table: 'public.orders' }];

interface Parked {
  readonly id: number;
  readonly run: (...args: readonly string[]) => Promise<Finished>;
}

function event(version: number): string {
  return bodyOf({ id: `e-${version}`, type: 'OrderChanged', detail: { id: 1, status: `new ${version}`, version } });
}

function runOf(bed: ReverseWorkerBed, { name, reverse }: { name: string; reverse: object }): Parked['run'] {
  const config = {
    name,
    legacy: { url: bed.workerUrl },
    bus: { type: 'local', endpoint: bed.bus.url },
    capture: CAPTURE,
    reverse: { queue: bed.queue.url, ...reverse },
  };
  const env = { BANYAN_CONFIG_YAML: JSON.stringify(config) };
  return (...args) => banyan(args, { env });
}

/** A worker that meets a conflict on row 1, and has an event more behind it. */
async function parked(bed: ReverseWorkerBed, name: string): Promise<Parked> {
  await bed.startRunning({ capture: CAPTURE, reverse: { apply: APPLY } });
  await bed.queue.send(event(1));
  await bed.queue.empty();
  await bed.queue.send(event(2));
  await bed.queue.empty();
  const run = runOf(bed, { name, reverse: { apply: APPLY } });
  const { stdout } = await run('conflicts', 'list', '--open', '--json');
  const { conflicts } = JSON.parse(stdout) as { conflicts: { id: number; kind: string }[] };
  expect(conflicts).toMatchObject([{ kind: 'update_origin_differs' }]);
  return { id: conflicts[0]?.id ?? 0, run };
}

/** A worker that has waited in vain for the row of an update. */
async function missing(
  bed: ReverseWorkerBed,
  { name, entry = {}, apply = [] }: { name: string; entry?: object; apply?: readonly object[] },
): Promise<Parked> {
  const reverse = { waitFor: '200ms', apply: [{ ...APPLY[0], ...entry }, ...apply] };
  await bed.startRunning({ capture: CAPTURE, reverse });
  await bed.queue.send(bodyOf({ id: 'gone', type: 'OrderChanged', detail: { id: 7, status: 'new', version: 1 } }));
  await bed.queue.empty();
  const [conflict] = await eventually(async () => {
    const found = await bed.sql<{ id: string; kind: string }>('select id, kind from banyan.conflict');
    return found.length > 0 && found;
  });
  expect(conflict?.kind).toBe('update_missing');
  return { id: Number(conflict?.id), run: runOf(bed, { name, reverse }) };
}

/** But for those of the set-up. */
const rows = (bed: ReverseWorkerBed) => bed.sql('select id, status from orders where id > 2');

describe('conflicts resolve of an update whose row never came', () => {
  /** Whose rights let the worker make rows of the table. */
  const made = { ...APPLY[0], match: { source: ['shop.made'] }, operation: 'insert' };

  test('proposed: the row is made of what the event carries, and the producer hears of it', async () => {
    const name = 'missing_made';
    await using bed = await makeReverseWorkerBed(server, { name, setup: SETUP });
    const { id, run } = await missing(bed, { name, apply: [made] });
    const done = await run('conflicts', 'resolve', `${id}`, '--keep', 'proposed');
    expect(done).toMatchObject({ code: 0, stdout: `✓ conflict ${id}: the event is written\n` });
    expect(await rows(bed)).toEqual([{ id: 7, status: 'new' }]);
    await bed.accepted(1);
    expect(bed.events[0]).toMatchObject({ metadata: { origin: 'correction', causedBy: 'gone', key: { id: 7 } } });
    expect((await run('dead-letters', 'list', '--json')).stdout).toContain('"letters":[]');
    expect(JSON.parse((await run('conflicts', 'show', `${id}`, '--json')).stdout)).toMatchObject({
      kind: 'update_missing',
      resolution: 'new-wins',
    });
  });

  test('current: none is made, and the producer hears that it is not there', async () => {
    const name = 'missing_dropped';
    await using bed = await makeReverseWorkerBed(server, { name, setup: SETUP });
    const { id, run } = await missing(bed, { name, apply: [made] });
    const done = await run('conflicts', 'resolve', `${id}`, '--keep', 'current', '--json');
    expect(JSON.parse(done.stdout)).toEqual({ conflict: id, keep: 'current', outcome: 'refused' });
    expect(await rows(bed)).toEqual([]);
    await bed.accepted(1);
    expect(bed.events[0]).toMatchObject({ metadata: { operation: 'delete', origin: 'correction', key: { id: 7 } } });
    expect((await run('dead-letters', 'list', '--json')).stdout).toContain('"letters":[]');
  });

  test.for([
    ['patch', { entry: { carries: 'patch' }, apply: [made] }, 'the event carries only what changed'],
    ['right', {}, 'the role lacks the right to insert it'],
    [
      'column',
      {
        apply: [made],
        setup: `alter table orders add column shop text; update orders set shop = 'x'; alter table orders alter shop set not null`,
      },
      'the event sets not all columns that a new row needs',
    ],
  ] as const)('proposed: says what to do where the row can not be made (%s)', async ([what, given, says]) => {
    const name = `missing_${what}`;
    const { setup, ...entries } = { setup: 'select 1', ...given };
    await using bed = await makeReverseWorkerBed(server, { name, setup: `${SETUP}; ${setup}` });
    const { id, run } = await missing(bed, { name, ...entries });
    const failed = await run('conflicts', 'resolve', `${id}`, '--keep', 'proposed');
    expect(failed.code).not.toBe(0);
    expect(failed.stderr).toContain(`the row is not there, and ${says}`);
    expect(failed.stderr).toContain('--keep current');
    expect(await rows(bed)).toEqual([]);
    // Once the row is there it can be written.
    await bed.sql(`insert into orders select 7, 'legacy' ${what === 'column' ? `, 'x'` : ''}`);
    expect((await run('conflicts', 'resolve', `${id}`, '--keep', 'proposed')).code).toBe(0);
    expect(await rows(bed)).toMatchObject([{ id: 7, status: 'new' }]);
  });
});

const status = async (bed: ReverseWorkerBed) =>
  (await bed.sql('select status from orders where id = 1'))[0]?.['status'];

describe('conflicts resolve with a worker', () => {
  test('proposed: the event is written, and what waited behind it', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'keep_proposed', setup: SETUP });
    const { id, run } = await parked(bed, 'keep_proposed');
    expect(await status(bed)).toBe('legacy');
    const done = await run(
      'conflicts',
      'resolve',
      `${id}`,
      '--keep',
      'proposed',
      '--by',
      'ada',
      '--note',
      'shop is right',
    );
    expect(done).toMatchObject({ code: 0, stdout: `✓ conflict ${id}: the event is written\n` });
    expect(await status(bed)).toBe('new 2');
    const shown = JSON.parse((await run('conflicts', 'show', `${id}`, '--json')).stdout) as object;
    expect(shown).toMatchObject({ resolution: 'new-wins', resolvedBy: 'ada', note: 'shop is right' });
    expect((await run('dead-letters', 'list', '--json')).stdout).toContain('"letters":[]');
    const again = await run('conflicts', 'resolve', `${id}`, '--keep', 'current');
    expect(again.code).toBe(2);
    expect(again.stderr).toContain('is resolved already: new-wins by ada');
  });

  test('current: the row stays, and a correction tells the producer how it stands', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'keep_current', setup: SETUP });
    const { id, run } = await parked(bed, 'keep_current');
    const done = await run('conflicts', 'resolve', `${id}`, '--keep', 'current', '--json');
    expect(JSON.parse(done.stdout)).toEqual({ conflict: id, keep: 'current', outcome: 'refused' });
    await bed.accepted(1);
    expect(bed.events[0]).toMatchObject({
      metadata: { origin: 'correction', causedBy: 'e-1', key: { id: 1 } },
      data: { id: 1, status: 'legacy' },
    });
    // Only the first was decided: the refusal told the producer, so the next one is no conflict.
    await eventually(async () => (await status(bed)) === 'new 2');
    const shown = JSON.parse((await run('conflicts', 'show', `${id}`, '--json')).stdout) as object;
    expect(shown).toMatchObject({ resolution: 'legacy-wins' });
  });

  test('current: the row stays also where it has come to agree with the event meanwhile', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'keep_agreed', setup: SETUP });
    const { id, run } = await parked(bed, 'keep_agreed');
    // As if a write of ours had left it so: nobody else is in the event's way any more.
    await bed.sql(`update orders set status = 'new 1' where id = 1`);
    const done = await run('conflicts', 'resolve', `${id}`, '--keep', 'current', '--json');
    expect(JSON.parse(done.stdout)).toEqual({ conflict: id, keep: 'current', outcome: 'recorded' });
  });

  test('what stands before it is named, with what to do about that', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'keep_before', setup: SETUP });
    const { id, run } = await parked(bed, 'keep_before');
    await bed.queue.send(event(0));
    await bed.queue.empty();
    const refused = await run('conflicts', 'resolve', `${id}`, '--keep', 'proposed');
    expect(refused.code).not.toBe(0);
    const own = /conflict (\d+)\n/.exec(refused.stderr)?.[1];
    expect(refused.stderr).toMatch(/conflict \d+ is still open: dead letter \d+ stands before it/);
    expect(refused.stderr).toContain(`banyan conflicts resolve ${own} --keep current|proposed`);
    expect((await run('conflicts', 'resolve', `${own}`, '--keep', 'current')).code).toBe(0);
    await eventually(async () => (await status(bed)) === 'new 2');
    // What was to be decided first has decided the other one as well.
    const again = await run('conflicts', 'resolve', `${id}`, '--keep', 'proposed');
    expect(again.stderr).toContain('is resolved already: new-wins');
  });

  test('redrive of both directions reports each', async () => {
    await using bed = await makeReverseWorkerBed(server, { name: 'redrive_both', setup: SETUP });
    const { run } = await parked(bed, 'redrive_both');
    const redriven = await run('dead-letters', 'redrive', '--all');
    // A conflict is not decided by trying again.
    expect(redriven.code).toBe(1);
    expect(redriven.stdout).toMatch(
      /✓ sent 0 events\n! applied 0 events\n {2}still parked: public\.orders:1, at letter \d+: /,
    );
  });
});
