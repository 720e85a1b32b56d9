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

/** A worker that meets a conflict on row 1, and has an event more behind it. */
async function parked(bed: ReverseWorkerBed, name: string): Promise<Parked> {
  await bed.startRunning({ capture: CAPTURE, reverse: { apply: APPLY } });
  await bed.queue.send(event(1));
  await bed.queue.empty();
  await bed.queue.send(event(2));
  await bed.queue.empty();
  const config = {
    name,
    legacy: { url: bed.workerUrl },
    bus: { type: 'local', endpoint: bed.bus.url },
    capture: CAPTURE,
    reverse: { queue: bed.queue.url, apply: APPLY },
  };
  const env = { BANYAN_CONFIG_YAML: JSON.stringify(config) };
  const run: Parked['run'] = (...args) => banyan(args, { env });
  const { stdout } = await run('conflicts', 'list', '--open', '--json');
  const { conflicts } = JSON.parse(stdout) as { conflicts: { id: number; kind: string }[] };
  expect(conflicts).toMatchObject([{ kind: 'update_origin_differs' }]);
  return { id: conflicts[0]?.id ?? 0, run };
}

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
