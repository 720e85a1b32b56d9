import { expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { FORWARD_CAPTURE, FORWARD_EVENTS, FORWARD_SETUP, runTransactions, told } from '../support/forward-scenario.ts';
import { makeBed } from '../support/worker-harness.ts';

test.each([14, 15, 16, 17, 18] as const)(
  'PostgreSQL %i: every committed change is an event, and no other',
  async (major) => {
    await using server = await EmbeddedPostgres.start({ major });
    await using bed = await makeBed(server, { name: 'forward', setup: FORWARD_SETUP });
    await bed.start({ capture: FORWARD_CAPTURE });
    await runTransactions(bed);
    await bed.confirmed();
    expect(told(bed.events)).toEqual(FORWARD_EVENTS);
  },
);
