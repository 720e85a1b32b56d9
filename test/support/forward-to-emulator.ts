import { expect } from 'vitest';
import { EMULATOR_REGION, emulatedBus, ENVELOPE_FIELDS } from './aws-emulator.ts';
import { FORWARD_CAPTURE, FORWARD_EVENTS, FORWARD_SETUP, runTransactions } from './forward-scenario.ts';
import { type DatabaseServer, makeBed } from './worker-harness.ts';

/**
 * The forward scenario from PostgreSQL to the queue of an emulator; returns the bodies of its messages, which are bare envelopes. The worker
 * takes credentials from the environment, as on AWS: the caller must have set them.
 */
export async function forwardToEmulator(server: DatabaseServer, endpoint: string): Promise<readonly string[]> {
  using bus = await emulatedBus(endpoint, 'legacy-events');
  await using bed = await makeBed(server, { name: 'emulated', setup: FORWARD_SETUP });
  await bed.start({
    capture: FORWARD_CAPTURE,
    bus: { type: 'eventbridge', name: bus.busName, endpoint, region: EMULATOR_REGION },
  });
  await runTransactions(bed);
  const bodies = await bus.receive(FORWARD_EVENTS.length);

  for (const body of bodies) {
    const envelope = JSON.parse(body) as Record<string, unknown>;
    expect(Object.keys(envelope)).toEqual(expect.arrayContaining(ENVELOPE_FIELDS));
    expect(envelope['source']).toBe('legacy.emulated');
  }
  // Nothing went to the bus of this process, and the slot goes on once the emulator has accepted.
  expect(bed.events).toEqual([]);
  await bed.confirmed();
  return bodies;
}
