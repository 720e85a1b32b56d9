import { z } from 'zod';
import { duration } from './units.ts';

/** Longer than any timer: these are compared with clocks, never waited for. */
const LONG = { min: '1s', max: '1000d' };

const gates = z
  .strictObject({
    evidence: duration('5min', 'How long what a worker or the server said is good for; then a gate is unknown', LONG),
    lag: z
      .strictObject({
        atMost: duration('5s', 'The stream may be this far behind', LONG),
        for: duration('15min', 'For how long it must have been so', LONG),
      })
      .prefault({})
      .describe('LAG: the stream keeps up'),
    parity: z
      .strictObject({ within: duration('24h', 'How old the last comparison may be', LONG) })
      .prefault({})
      .describe('PARITY: both sides hold the same'),
    reverseTest: z
      .strictObject({ within: duration('24h', 'How old the last proof may be', LONG) })
      .prefault({})
      .describe('REVERSE_TEST: writes of reverse sync are recognized in the stream'),
    legacyWrites: z
      .strictObject({
        share: z
          .number()
          .min(0)
          .max(100)
          .default(1)
          .describe('Percent of writes that may still be the legacy system’s'),
        window: duration('24h', 'Looked at for the move to new-primary', LONG),
        allow: z
          .array(z.string().min(1))
          .default([])
          .describe('Application names whose writes do not count (needs `observe: writers`)'),
        noneFor: duration('14d', 'For how long there must have been none before a table retires', LONG),
      })
      .prefault({})
      .describe('LEGACY_WRITES'),
    legacyReads: z
      .strictObject({
        noneFor: duration('35d', 'For how long there must have been none before a table retires', LONG),
      })
      .prefault({})
      .describe('LEGACY_READS'),
  })
  .prefault({})
  .describe('What a table needs before it may move');

export const progress = z.strictObject({
  gates,
  // The last hour is always shown by minutes.
  keepMinutes: duration('7d', 'How long history is kept per minute; then per hour', { ...LONG, min: '2h' }),
  keepHours: duration('400d', 'How long history is kept per hour', LONG),
});
export type ProgressSettings = z.infer<typeof progress>;
