import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { banyan } from '../support/banyan-process.ts';
import { eventually } from '../support/eventually.ts';
import { bodyOf, makeReverseWorkerBed, type ReverseWorkerBed } from '../support/reverse-worker-bed.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server?.stop());

/** The server refuses `locked` as it does where somebody holds the row, and `full` as where its disk is full. */
const setup = `
  create table orders (id int primary key, status text);
  insert into orders select id, 'legacy' from generate_series(1, 20) as id;
  create function hinder() returns trigger language plpgsql as $$ begin
    if old.status = 'locked' or new.status = 'locked' and old.status <> 'legacy' then raise lock_not_available; end if;
    if new.status = 'bad' and old.status <> 'mended' then raise check_violation; end if;
    if new.status = 'full' then raise disk_full; end if;
    return new; end $$;
  create trigger hinder before update on orders for each row execute function hinder()`;
const reverse = {
  apply: [
    {
      match: { source: ['shop.orders'] },
      table: 'public.orders',
      operation: 'update',
      key: { id: 'detail.id' },
      set: { status: 'detail.status' },
      version: 'detail.version',
      conflict: 'park',
    },
  ],
};
const capture = [{ table: 'public.orders' }];

const event = (id: number, version: number, status: string): string =>
  bodyOf({ id: `e-${id}-${version}`, type: 'OrderChanged', detail: { id, status, version } });

/** A conflict on row 1, and behind it an event that can not be written now. Returns the conflict. */
async function conflictBefore(bed: ReverseWorkerBed, status: string): Promise<number> {
  await bed.queue.send(event(1, 1, 'new'));
  const [conflict] = await eventually(async () => {
    const found = await bed.sql<{ id: number }>('select id::int from banyan.conflict');
    return found.length > 0 && found;
  });
  await bed.queue.send(event(1, 2, status));
  await bed.queue.empty();
  return conflict?.id ?? 0;
}

function runIn(bed: ReverseWorkerBed, name: string) {
  const config = {
    name,
    legacy: { url: bed.workerUrl },
    bus: { type: 'local', endpoint: bed.bus.url },
    capture,
    reverse: { queue: bed.queue.url, ...reverse },
  };
  const env = { BANYAN_CONFIG_YAML: JSON.stringify(config) };
  return (...args: readonly string[]) => banyan(args, { env });
}

const parked = (bed: ReverseWorkerBed) => bed.sql(`select from banyan.dead_letter where status = 'parked'`);

test.for(['locked', 'full'])(
  'a decision stands, and is reported, where what is behind it finds its row or disk %s',
  async (how) => {
    const name = `behind_${how}`;
    await using bed = await makeReverseWorkerBed(server, { name, setup });
    await bed.startRunning({ capture, reverse });
    const id = await conflictBefore(bed, how);
    const { code, stdout, stderr } = await runIn(bed, name)('conflicts', 'resolve', `${id}`, '--keep', 'proposed');
    expect({ code, stdout }).toEqual({ code: 0, stdout: `✓ conflict ${id}: the event is written\n` });
    expect(stderr).toMatch(/what stands behind it is not applied yet: .*(lock_not_available|disk_full)/);
    expect(await bed.sql('select resolution from banyan.conflict')).toEqual([{ resolution: 'new-wins' }]);
    expect(await bed.sql('select status from orders where id = 1')).toEqual([{ status: 'new' }]);
    expect(await parked(bed)).toHaveLength(1);
  },
);

test('an error behind a decision does not call it open', async () => {
  const name = 'behind_failed';
  await using bed = await makeReverseWorkerBed(server, { name, setup });
  const worker = await bed.startRunning({ capture, reverse });
  const id = await conflictBefore(bed, 'good');
  await worker.stop();
  const { requests, conflicts } = await bed.state();
  const resolving = runIn(bed, name)('conflicts', 'resolve', `${id}`, '--keep', 'proposed', '--by', 'jo');
  const request = await eventually(() => requests.claimNext(), undefined, { timeoutMs: 20_000 });
  // As a worker that is stopped right behind the transaction that decides.
  await conflicts.resolve(id, { resolution: 'new-wins', by: 'jo', note: undefined });
  await requests.finish(request.id, { error: 'the worker was stopped', remedy: undefined });
  const { code, stderr } = await resolving;
  expect(code).not.toBe(0);
  expect(stderr).toContain(`conflict ${id} is resolved (new-wins by jo), and yet: the worker was stopped`);
  expect(stderr).not.toContain('still open');
});

test('a redrive of many rows applies those that nobody holds, and names the others', async () => {
  await using bed = await makeReverseWorkerBed(server, { name: 'behind_many', setup });
  const [entry] = reverse.apply;
  await bed.startRunning({ capture, reverse: { apply: [{ ...entry, conflict: 'new-wins' }] } });
  const ids = Array.from({ length: 20 }, (_, index) => index + 1);
  await bed.queue.send(...ids.map((id) => event(id, 1, 'bad')));
  await eventually(async () => (await parked(bed)).length === ids.length, undefined, { timeoutMs: 20_000 });
  // More rows than are redriven at a time.
  await bed.sql(`update orders set status = case when id <= 9 then 'locked' else 'mended' end`);
  const report = await bed.ask('redrive', { direction: 'reverse', all: true });
  const reason = expect.stringContaining('lock_not_available') as string;
  expect(report).toMatchObject({ sent: 11, stopped: Array.from({ length: 9 }, () => ({ reason })) });
  expect(await parked(bed)).toHaveLength(9);
});
