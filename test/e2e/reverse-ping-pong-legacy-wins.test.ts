import { afterAll, beforeAll, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { pingPong, TIMEOUT_MS } from '../support/ping-pong.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server?.stop());

test(
  'both sides write the same rows, with repeats, disorder and kills, and end equal: legacy-wins',
  async () => {
    const conflicts = await pingPong({ server, conflict: 'legacy-wins' });
    expect(conflicts).toEqual({ 'legacy-wins': expect.any(Number) as number });
  },
  TIMEOUT_MS,
);
