import { z } from 'zod';
import { duration } from './units.ts';

/** The section `reverse`: events of the new system that become rows of legacy tables. */

const cel = z.strictObject({
  cel: z.string().min(1).describe('A CEL expression over `detail`, `event` (the whole envelope) and `time`'),
});

const path = z.string().min(1).describe('A path in the event: `detail.orderId`, `detail.lines[0]["unit price"]`');

const derived = z.union([path, cel]);
/** What must come from the event: a path, or an expression. */
export type Derived = z.infer<typeof derived>;

const eventField = z.union([path, z.strictObject({ value: z.json() }).describe('A constant'), cel]);
/** What a column gets: a path in the event, a constant, or an expression. */
export type EventField = z.infer<typeof eventField>;

const columns = z.record(z.string().min(1), eventField);

const applyEntry = z.strictObject({
  match: z
    .record(z.string().min(1), z.json())
    .describe('An EventBridge event pattern: which events this entry takes. Every entry that matches is applied'),
  table: z.string().min(1).describe('schema.table, quoted as in SQL where needed; a partitioned table by its root'),
  operation: z
    .enum(['upsert', 'insert', 'update', 'delete'])
    .describe('What the event does to its row; upsert: update it, or insert it where it is not there'),
  key: columns.describe('Which row: the columns of a primary key or unique index, each with its path in the event'),
  set: columns.optional().describe('Columns that the event writes, each with its path in the event; not with `delete`'),
  version: derived
    .optional()
    .describe(
      'An integer or a time that grows with every change of the key; an older event never overwrites a newer one',
    ),
  basedOn: derived
    .optional()
    .describe(
      'The last `metadata.sequence` of the row that the new system had seen: how conflicts are told from changes',
    ),
  expect: columns
    .optional()
    .describe('What the new system took the row for before its change: another way to tell conflicts'),
  id: derived
    .optional()
    .describe('What makes the event one: a repeat has the same. Default: detail.metadata.id, else the envelope’s id'),
  hops: derived
    .optional()
    .describe('How often the change has crossed between the systems; default detail.metadata.hops, else 0'),
  carries: z
    .enum(['full', 'patch'])
    .default('full')
    .describe('full: the event holds the whole state that `set` names; patch: only what changed (operation update)'),
  conflict: z
    .enum(['stage', 'new-wins', 'legacy-wins', 'park'])
    .default('stage')
    .describe('Who wins where both sides changed a row; stage: legacy while it is primary, then the new system'),
  gaps: z
    .enum(['ignore', 'park'])
    .default('ignore')
    .describe('park: versions of a key are consecutive, and an event waits for the one before it'),
  replay: z
    .enum(['park', 'allow'])
    .default('park')
    .describe('Events from an archive replay, or older than the horizon: they may be duplicates that nobody remembers'),
});
export type ApplyEntry = z.infer<typeof applyEntry>;

export const reverse = z.strictObject({
  queue: z.string().min(1).describe('URL of the SQS queue that a rule fills with the new system’s events'),
  region: z.string().min(1).optional().describe('Default: the region in the queue’s URL, else that of the bus'),
  endpoint: z.string().min(1).optional().describe('Another endpoint of SQS than the region’s'),
  concurrency: z.int().min(1).max(64).default(8).describe('Transactions in flight, each with a connection'),
  visibilityTimeout: duration(
    '60s',
    'How long a received message is hidden from others; extended while it is worked on',
    {
      min: '10s',
      max: '12h',
    },
  ),
  waitFor: duration('10min', 'How long an event waits for its parent or predecessor before it is a dead letter'),
  horizon: duration(
    '14d',
    'How long applied events are remembered, so that a repeat is known; not below the queue’s retention',
    { min: '1min', max: '3650d' },
  ),
  maxParkedPerMinute: z
    .int()
    .min(1)
    .default(1_000)
    .describe('More events than this set aside for their own fault, and the queue is read no more until a person acts'),
  apply: z.array(applyEntry).min(1).describe('Which events become which writes'),
});
export type Reverse = z.infer<typeof reverse>;
