import { Writable } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCli } from '../../src/cli/program.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { pingPong, TIMEOUT_MS } from '../support/ping-pong.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server?.stop());

test(
  'both sides write the same rows, with repeats, disorder and kills, and end equal: park, and a person decides either way',
  async () => {
    const conflicts = await pingPong({ server, conflict: 'park', operator });
    expect(conflicts).toEqual({
      'legacy-wins': expect.any(Number) as number,
      'new-wins': expect.any(Number) as number,
    });
  },
  TIMEOUT_MS,
);

/** Decides whatever waits: each conflict the same way, however often it has to be said while workers are killed. */
async function operator(config: object, signal: AbortSignal): Promise<void> {
  // Every command line listens for signals, and there are as many at once as there are rows.
  process.setMaxListeners(100);
  while (!signal.aborted) {
    const list = await banyan(config, ['conflicts', 'list', '--open', '--json']);
    const { conflicts } = JSON.parse(list) as { readonly conflicts: readonly { readonly id: number }[] };
    await Promise.all(conflicts.map(({ id }) => decide(config, id)));
    await pause(100);
  }
}

async function decide(config: object, id: number): Promise<void> {
  const keep = id % 2 === 0 ? 'current' : 'proposed';
  await banyan(config, ['conflicts', 'resolve', `${id}`, '--keep', keep, '--timeout', '10', '--json']);
}

/** A command line, as a person would type it; what it said. A failure is no failure of the test: the next round asks again. */
async function banyan(config: object, args: readonly string[]): Promise<string> {
  let said = '';
  const stdout = new Writable({
    write(chunk: Buffer, _encoding, done) {
      said += chunk.toString();
      done();
    },
  });
  await runCli(args, { env: { BANYAN_CONFIG_YAML: JSON.stringify(config) }, stdout, stderr: stdout });
  return said;
}
