import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test, vi } from 'vitest';

const main = fileURLToPath(new URL('../../src/demo/main.ts', import.meta.url));

function startDemo(...args: string[]) {
  const demo = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  onTestFinished(() => void demo.kill('SIGKILL'));
  return demo;
}

test(
  'an unattended demo ends with one JSON object: nothing missing, repeated or out of order, every old row arrived, and what the service decided stands in the legacy table',
  { timeout: 150_000 },
  async () => {
    const demo = startDemo('--seconds', '8', '--rate', '60', '--json');
    demo.stderr.resume();
    const [output, [code]] = await Promise.all([text(demo.stdout), once(demo, 'close')]);

    const lines = output.trimEnd().split('\n');
    const report: unknown = JSON.parse(lines.at(-1) ?? '');
    expect(report).toEqual({
      changesCommitted: expect.any(Number),
      transactionsCommitted: expect.any(Number),
      eventsExpected: expect.any(Number),
      eventsAccepted: expect.any(Number),
      received: expect.any(Number),
      reads: expect.any(Number),
      missing: 0,
      repeated: 0,
      unexpected: 0,
      outOfOrder: 0,
      backfilled: 12_000,
      notBackfilled: 0,
      latencyMs: { p50: expect.any(Number), p99: expect.any(Number) },
      reverse: {
        decided: expect.any(Number),
        applied: expect.any(Number),
        differing: 0,
        decisions: expect.any(Number),
        sentTwice: expect.any(Number),
        sentLate: expect.any(Number),
        corrected: expect.any(Number),
        announced: expect.any(Number),
        refused: expect.any(Number),
        caused: expect.any(Number),
        causedMissing: 0,
        echoesPublished: 0,
        unexplained: 0,
      },
    });
    const { transactionsCommitted, eventsExpected, received, eventsAccepted, reads } = report as Record<string, number>;
    expect(transactionsCommitted).toBeGreaterThan(50);
    expect(received).toBe(eventsExpected);
    const { reverse } = report as { reverse: Record<string, number> };
    const { decided, applied, decisions, sentTwice, sentLate, corrected, announced, refused, caused } = reverse;
    expect(applied).toBe(decided);
    for (const seldom of [sentTwice, sentLate, corrected]) expect(seldom).toBeGreaterThan(0);
    // Of some decisions nothing may be written: they gave way to a newer one, or to a clerk.
    expect(caused).toBeGreaterThan(Number(decided) / 2);
    expect(caused).toBeLessThanOrEqual(Number(decisions) - Number(refused));
    // And two events about each of the two runs.
    const wayBack = Number(corrected) + Number(announced) + Number(refused) + Number(caused);
    expect(eventsAccepted).toBe(Number(received) + Number(reads) + 4 + wayBack);
    expect(code).toBe(0);
  },
);

test(
  'a demo shows how far its backfill is and what becomes of decisions, and Ctrl-C ends it with a last line that says what was removed, and no server stays',
  { timeout: 150_000 },
  async () => {
    const demo = startDemo('--rate', '60');
    let output = '';
    demo.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    await vi.waitFor(() => expect(output).toMatch(/events received/), { timeout: 50_000 });
    await vi.waitFor(() => expect(output).toMatch(/backfill of shop\.\w+: [\d,]+ of ~[\d,]+ rows \(~\d+ %\)/), {
      timeout: 30_000,
    });
    const wayBack =
      /way back: \d+ decisions, [1-9]\d* corrected by a trigger, [1-9]\d* refused, [1-9]\d* rows caused, 0 echoes/;
    await vi.waitFor(() => expect(output).toMatch(wayBack), { timeout: 60_000 });
    const port = Number(/127\.0\.0\.1:(\d+)\/shop/.exec(output)?.[1]);
    expect(await reachable(port)).toBe(true);

    demo.kill('SIGINT');
    const [code] = await once(demo, 'close');

    expect(output.trimEnd().split('\n').at(-1)).toMatch(/^removed: /);
    // What it said at its end, where that is not well.
    expect([code, code === 0 ? '' : output.slice(-2_000)]).toEqual([0, '']);
    expect(await reachable(port)).toBe(false);
  },
);

async function reachable(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

test(
  'a demo walks a table from mapped to new-primary with the commands that it shows, and ends whole',
  { timeout: 240_000 },
  async () => {
    const demo = startDemo('--rate', '40');
    let output = '';
    demo.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    const moved = 'shop.deliveries: dual → new-primary; the new system is primary';
    await vi.waitFor(() => expect(output).toContain(moved), { timeout: 180_000, interval: 200 });
    const steps = output.split('\n').filter((line) => line.startsWith('$ banyan '));
    // A gate may have failed again when a move was tried: then it is tried again.
    expect([...new Set(steps.filter((line) => line.includes(' stage ')))]).toEqual([
      '$ banyan stage shop.deliveries --to dual --yes',
      '$ banyan stage shop.deliveries --to new-primary --yes',
    ]);
    expect(steps.some((line) => line.startsWith('$ banyan waive shop.deliveries PARITY --reason '))).toBe(true);
    demo.kill('SIGINT');
    const [code] = await once(demo, 'close');
    expect(output).toMatch(/ 0 missing, 0 unexpected, 0 repeated, 0 out of order/);
    expect(code).toBe(0);
  },
);
