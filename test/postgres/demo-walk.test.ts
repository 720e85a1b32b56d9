import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { MOVING_TABLE, Walk } from '../../src/demo/walk.ts';
import { makeBed, type WorkerBed } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server.stop());

const apply = [
  {
    match: { source: ['shop.orders'] },
    table: MOVING_TABLE,
    operation: 'upsert',
    key: { id: 'detail.id' },
    set: { note: 'detail.note' },
    version: 'detail.version',
  },
];

/** A shop with a worker, and a walk through it; what the walk says. */
async function walkIn(bed: WorkerBed) {
  const capture = [{ table: MOVING_TABLE }];
  const running = await bed.start({ capture, reverse: { apply }, stages: 'as they are' });
  await bed.sql(`insert into ${MOVING_TABLE} values (1, 'moves the stream')`);
  const config = {
    name: bed.slot.replace('banyan_', ''),
    legacy: { url: bed.workerUrl },
    bus: { type: 'local', port: 0 },
    capture,
    reverse: { queue: bed.queue?.url, endpoint: bed.bus.queuesUrl, region: 'us-east-1', apply },
    http: { port: Number(new URL(running.worker.url).port) },
    progress: { gates: { lag: { for: '1s' } } },
  };
  const said: string[] = [];
  const env = { ...process.env, BANYAN_CONFIG_YAML: JSON.stringify(config), USER: 'ada' };
  return { said, walk: new Walk({ env, screen: { say: (line) => void said.push(line) } }) };
}

const bedOf = (name: string) =>
  makeBed(server, {
    name,
    setup: `create schema shop; create table ${MOVING_TABLE} (id int primary key, note text)`,
    queues: true,
  });
/** As a statement of the DBA's would that the command knows nothing of. */
const refusing = (table: string) => `create function public.refuse() returns trigger language plpgsql as
    $$ begin raise exception 'not today'; end $$;
  create trigger refuse before insert on banyan.${table} for each row execute function public.refuse()`;

test('a walk moves a table to both sides by the commands that it shows', async () => {
  await using bed = await bedOf('walk');
  const { walk, said } = await walkIn(bed);
  await walk.toDual(AbortSignal.timeout(60_000));
  expect(said.join('\n')).toContain('✓ shop.deliveries: shadow → dual');
  expect(await (await bed.state()).stages.get(MOVING_TABLE)).toBe('dual');
}, 90_000);

test.each([
  ['stage', 'stage_change', /^banyan stage shop\.deliveries --to dual --yes ended with 1$/],
  ['waive', 'gate_waiver', /^banyan waive shop\.deliveries PARITY .* ended with 1$/],
] as const)(
  'a walk ends where its %s does not work, and shows what the command said',
  async (step, table, error) => {
    await using bed = await bedOf(`walk_${step}`);
    const { walk, said } = await walkIn(bed);
    // The worker moves a table by itself as far as it goes.
    await expect.poll(async () => (await bed.state()).stages.get(MOVING_TABLE), { timeout: 20_000 }).toBe('shadow');
    await bed.sql(refusing(table));
    await expect(walk.toDual(AbortSignal.timeout(60_000))).rejects.toThrow(error);
    expect(said.join('\n')).toContain('P0001');
    expect(await (await bed.state()).stages.get(MOVING_TABLE)).toBe('shadow');
  },
  90_000,
);
