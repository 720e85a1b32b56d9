import { describe, expect, test } from 'vitest';
import { Ledger } from '../../src/capture/ledger.ts';
import { noProgress, type PipelineOptions, runPipeline } from '../../src/capture/pipeline.ts';
import type { Lsn } from '../../src/core/lsn.ts';
import type { StreamItem } from '../../src/postgres/stream-options.ts';

const ITEM = { kind: 'keepalive', walEnd: 100n as Lsn } as StreamItem;

/** Whoever has no room writes into a state database that does not answer. */
async function play(full: 'traffic' | 'observations'): Promise<unknown> {
  const intake = new AbortController();
  const flush = (): Promise<void> => {
    setImmediate(() => intake.abort(new DOMException('the worker stops', 'AbortError')));
    return new Promise(() => undefined);
  };
  const parts = {
    stream: (async function* () {
      yield [ITEM];
    })(),
    timelineAt: () => 1,
    ledger: new Ledger(),
    progress: noProgress(),
    dispatcher: { hasRoom: true },
    holding: { hasRoom: true },
    traffic: { hasRoom: full !== 'traffic', flush },
    guard: { observations: { hasRoom: full !== 'observations', flush } },
    stopping: new AbortController().signal,
    signal: intake.signal,
  };
  return runPipeline(parts as unknown as PipelineOptions).catch((error: unknown) => error);
}

describe('while a state database that is away takes nothing', () => {
  for (const full of ['traffic', 'observations'] as const) {
    test(`a stream that waits for room for ${full} ends when it is to`, { timeout: 5_000 }, async () => {
      expect(await play(full)).toMatchObject({ name: 'AbortError' });
    });
  }
});
