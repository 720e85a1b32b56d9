import { expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { ScriptedPublisher } from '../support/scripted-publisher.ts';
import { eventually } from '../support/eventually.ts';
import { makeBed } from '../support/worker-harness.ts';

/** Consumers keep the highest sequence of a key: what comes later with a lower one would be dropped. */
test('events of rows that share a key come in the order of their sequences, whatever number of entries makes them', async () => {
  await using server = await EmbeddedPostgres.start();
  await using bed = await makeBed(server, {
    name: 'backfill_entries',
    setup: `create table visits (customer int, id int, primary key (customer, id));
      insert into visits select i % 3, i from generate_series(1, 500) as i`,
  });
  const publisher = new ScriptedPublisher();
  const table = 'public.visits';
  const entry = { table, key: ['customer'], backfill: true };
  await bed.start(
    {
      capture: [
        { ...entry, source: 'first' },
        { ...entry, source: 'second' },
      ],
    },
    { publisher },
  );
  const { backfills } = await bed.state();
  await eventually(async () => (await backfills.latest(table))[0]?.status === 'completed');
  const reads = publisher.accepted.filter(({ group }) => group?.startsWith('public.visits:'));
  expect(reads).toHaveLength(1_000);
  for (const events of Map.groupBy(reads, ({ group }) => group).values()) {
    const sequences = events.map(({ sequence }) => sequence);
    expect(sequences).toEqual(sequences.toSorted());
  }
});
