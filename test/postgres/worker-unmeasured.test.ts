import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { makeBed, type RunningWorker } from '../support/worker-harness.ts';

let server: EmbeddedPostgres;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});

afterAll(async () => {
  await server?.stop();
});

const setup = `create table orders (id integer primary key, note text)`;
const config = { capture: [{ table: 'public.orders' }] };

async function samplesOf({ worker }: RunningWorker, name: string): Promise<string[]> {
  const text = await (await fetch(`${worker.url}/metrics`)).text();
  return text
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`))
    .map((line) => line.replace(/,?connector="[^"]*"/, '').replace('{}', ''));
}

/** What the tables' own metric says, which is read from the database: the newest report may be of before. */
async function lettersOfTables(running: RunningWorker): Promise<string> {
  return eventually(
    async () => (await samplesOf(running, 'banyan_table_dead_letters')).find((line) => line.endsWith(' 1')),
    () => 'the tables never show the letter',
    { timeoutMs: 10_000, everyMs: 100 },
  );
}

describe('without a session', () => {
  test('the state of sending is not known, and the letters are those that were seen last, also at the next start', async () => {
    await using bed = await makeBed(server, { name: 'unmeasured', setup });
    const first = await bed.start(config);
    bed.bus.faults.set({ failEntries: { next: 1, code: 'MalformedDetail' } });
    await bed.sql(`insert into orders values (1, 'x')`);
    const { bus, deadLetters } = await first.until('a letter', (status) => status.deadLetters?.parked === 1);
    expect(bus.state).toBe('sending');
    expect(await samplesOf(first, 'banyan_dead_letters_parked')).toEqual(['banyan_dead_letters_parked 1']);

    await bed.snatchSlot();
    const halted = await first.reaches('halted');
    expect(halted.bus).toMatchObject({ state: undefined, inFlight: 0, queued: 0 });
    expect(halted.findings).toBeUndefined();
    expect(halted.deadLetters).toMatchObject({ parked: 1, groups: 1 });
    expect(Date.parse(halted.deadLetters?.observedAt ?? '')).toBeGreaterThanOrEqual(
      Date.parse(deadLetters?.observedAt ?? ''),
    );
    expect(await samplesOf(first, 'banyan_bus_state')).toEqual([]);
    expect(await samplesOf(first, 'banyan_findings')).toEqual([]);
    expect(await samplesOf(first, 'banyan_dead_letters_parked')).toEqual(['banyan_dead_letters_parked 1']);
    expect(await samplesOf(first, 'banyan_dead_letters_observed_timestamp_seconds')).toHaveLength(1);
    await first.stop();

    // It never streams, and so never counts: what the database says of the tables keeps the alert.
    const second = await bed.start(config, { dontWait: true });
    expect((await second.reaches('halted')).deadLetters).toBeUndefined();
    expect(await samplesOf(second, 'banyan_dead_letters_parked')).toEqual([]);
    expect(await lettersOfTables(second)).toContain('table="public.orders"');
  });

  test('a standby claims nothing of what the other worker counts', async () => {
    await using bed = await makeBed(server, { name: 'unmeasured_standby', setup });
    const first = await bed.start(config);
    const second = await bed.start(config, { dontWait: true });
    const { bus, deadLetters } = await second.reaches('standby');
    expect([bus.state, deadLetters]).toEqual([undefined, undefined]);
    const report = (await (await fetch(`${second.worker.url}/v1/tables`)).json()) as { bus: object };
    expect(report.bus).not.toHaveProperty('state');

    await first.stop();
    const taken = await second.until('letters', (status) => status.deadLetters !== undefined);
    expect(taken.deadLetters).toMatchObject({ parked: 0, groups: 0 });
  });
});
