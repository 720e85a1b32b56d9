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
  'an unattended demo ends with one JSON object: nothing missing, repeated or out of order, and every old row arrived',
  { timeout: 150_000 },
  async () => {
    const demo = startDemo('--seconds', '6', '--rate', '60', '--json');
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
    });
    const { transactionsCommitted, eventsExpected, received, eventsAccepted, reads } = report as Record<string, number>;
    expect(transactionsCommitted).toBeGreaterThan(50);
    expect(received).toBe(eventsExpected);
    // And two events about each of the two runs.
    expect(eventsAccepted).toBe(Number(received) + Number(reads) + 4);
    expect(code).toBe(0);
  },
);

test(
  'a demo shows how far its backfill is, and Ctrl-C ends it with a last line that says what was removed, and no server stays',
  { timeout: 150_000 },
  async () => {
    const demo = startDemo('--rate', '30');
    let output = '';
    demo.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    await vi.waitFor(() => expect(output).toMatch(/events received/), { timeout: 50_000 });
    await vi.waitFor(() => expect(output).toMatch(/backfill of shop\.\w+: [\d,]+ of ~[\d,]+ rows \(~\d+ %\)/), {
      timeout: 30_000,
    });
    const port = Number(/127\.0\.0\.1:(\d+)\/shop/.exec(output)?.[1]);
    expect(await reachable(port)).toBe(true);

    demo.kill('SIGINT');
    const [code] = await once(demo, 'close');

    expect(output.trimEnd().split('\n').at(-1)).toMatch(/^removed: /);
    expect(code).toBe(0);
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
