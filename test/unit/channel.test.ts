import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Channel, type ChannelOptions } from '../../src/flow/channel.ts';

describe('a channel', () => {
  it('hands over everything once, in order, in chunks of the given length at most', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat({ max: 20 }), { maxLength: 20 }),
        fc.integer({ min: 1, max: 7 }),
        fc.integer({ min: 1, max: 30 }),
        async (bursts, chunkItems, highItems) => {
          const channel = new Channel<number>({ chunkItems, highItems });
          const read = collect(channel);
          let count = 0;
          for (const burst of bursts) {
            for (let index = 0; index < burst; index++) channel.push(count++, 1);
            await turn();
          }
          channel.close();
          const chunks = await read;
          expect(chunks.flat()).toEqual(Array.from({ length: count }, (_, index) => index));
          expect(chunks.every((chunk) => chunk.length > 0 && chunk.length <= chunkItems)).toBe(true);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('asks for a pause once at the high-water mark and for more at half of it', async () => {
    const { channel, calls } = recorded({ highItems: 10, chunkItems: 3 });
    for (let index = 0; index < 14; index++) channel.push(index, 1);
    expect(calls).toEqual(['pause']);
    await channel.next();
    await channel.next();
    expect(calls).toEqual(['pause']);
    await channel.next();
    expect(calls).toEqual(['pause', 'resume']);
    expect(channel.size).toBe(5);
  });

  it('counts bytes as well as items', async () => {
    const { channel, calls } = recorded({ highBytes: 1_000 });
    channel.push(1, 999);
    expect(channel.paused).toBe(false);
    channel.push(2, 1);
    expect(channel.paused).toBe(true);
    await channel.next();
    expect(calls).toEqual(['pause', 'resume']);
  });

  it('gives a waiting consumer what one callback pushed as one chunk', async () => {
    const channel = new Channel<number>();
    const next = channel.next();
    channel.push(1, 1);
    channel.push(2, 1);
    expect(await next).toEqual({ done: false, value: [1, 2] });
  });

  it('delivers what was pushed before it throws the failure, and then is done', async () => {
    const { channel, calls } = recorded();
    channel.push(1, 1);
    channel.fail(new Error('first'));
    channel.fail(new Error('second'));
    channel.push(2, 1);
    expect(await channel.next()).toEqual({ done: false, value: [1] });
    await expect(channel.next()).rejects.toThrow('first');
    expect(await channel.next()).toEqual({ done: true, value: undefined });
    expect(calls).toEqual(['done']);
  });

  it('ends a parked consumer on abort, at once and with the signal’s reason', async () => {
    const controller = new AbortController();
    const { channel, calls } = recorded({ signal: controller.signal });
    const next = channel.next();
    controller.abort(new Error('stop'));
    await expect(next).rejects.toThrow('stop');
    expect(calls).toEqual(['done']);
  });

  it('drops what waits on abort, even behind a close', async () => {
    const controller = new AbortController();
    const { channel } = recorded({ signal: controller.signal });
    channel.push(1, 1);
    channel.close();
    controller.abort(new Error('stop'));
    await expect(channel.next()).rejects.toThrow('stop');
  });

  it('ends at once where the signal was aborted before', async () => {
    const { channel } = recorded({ signal: AbortSignal.abort(new Error('stop')) });
    channel.push(1, 1);
    await expect(channel.next()).rejects.toThrow('stop');
  });

  it('says done when the consumer leaves the loop', async () => {
    const { channel, calls } = recorded();
    channel.push(1, 1);
    for await (const chunk of channel) {
      expect(chunk).toEqual([1]);
      break;
    }
    expect(calls).toEqual(['done']);
    channel.push(2, 1);
    expect(channel.size).toBe(0);
  });

  it('can be left while the consumer is parked', async () => {
    const channel = new Channel<number>();
    const next = channel.next();
    await channel.return();
    expect(await next).toEqual({ done: true, value: undefined });
  });

  it('refuses a second consumer', async () => {
    const channel = new Channel<number>();
    const next = channel.next();
    await expect(channel.next()).rejects.toThrow('one consumer');
    channel.close();
    await next;
  });
});

function recorded(options: ChannelOptions = {}): { channel: Channel<number>; calls: string[] } {
  const calls: string[] = [];
  const channel = new Channel<number>({
    ...options,
    onPause: () => calls.push('pause'),
    onResume: () => calls.push('resume'),
    onDone: () => calls.push('done'),
  });
  return { channel, calls };
}

async function collect(channel: Channel<number>): Promise<number[][]> {
  const chunks: number[][] = [];
  for await (const chunk of channel) chunks.push([...chunk]);
  return chunks;
}

async function turn(): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve));
}
