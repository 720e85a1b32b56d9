import { z } from 'zod';
import { progress } from './progress-schema.ts';
import { reverse } from './reverse-schema.ts';
import { duration, size } from './units.ts';

/**
 * Every option, with its default and a sentence. The JSON Schema for editors is generated from here. Unknown keys are
 * errors everywhere; `load.ts` names the nearest known one.
 */

const identifier = z
  .string()
  .regex(/^[a-z][a-z0-9_-]{0,40}$/, 'use 1-41 lower-case letters, digits, _ or -, beginning with a letter');

const cel = z.strictObject({ cel: z.string().min(1).describe('A CEL expression over `row`, `old`, `table`, `op`') });
const text = z.union([z.string().min(1), cel]);
export type TextTemplate = z.infer<typeof text>;

const mask = z
  .enum(['last4', 'hash', 'redact'])
  .describe('last4: all but the last four characters; hash: keyed with maskKey; redact: a fixed word');
export type Mask = z.infer<typeof mask>;

const detailField = z.union([
  z.string().min(1).describe('A column'),
  z.strictObject({ column: z.string().min(1), mask: mask.optional() }).describe('A column, masked'),
  z.strictObject({ value: z.json() }).describe('A constant'),
  cel,
]);
export type DetailField = z.infer<typeof detailField>;

const detail = z.record(z.string().min(1), detailField);
export type Detail = z.infer<typeof detail>;

const operation = z
  .enum(['insert', 'update', 'delete', 'truncate', 'read'])
  .describe('read: a row that was there before, from the backfill');

const emitRule = z.strictObject({
  on: z.union([operation, z.array(operation).min(1)]).describe('The operations that this rule takes'),
  when: z
    .string()
    .min(1)
    .optional()
    .describe(
      'A CEL condition. NULL is a value for `==` and `!=`; where anything else meets NULL, or a needed value is absent, it is false',
    ),
  changed: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .describe('Only updates that changed one of these columns (needs REPLICA IDENTITY FULL)'),
  detailType: text.describe('The detail-type of the event'),
  detail: detail.optional().describe('Overrides the table’s detail'),
  schema: z.string().min(1).optional().describe('A JSON Schema file that the event’s `data` must satisfy'),
});
export type EmitRule = z.infer<typeof emitRule>;

const tableCapture = z.strictObject({
  table: z
    .string()
    .min(1)
    .describe('schema.table, quoted as in SQL where needed; `*` and `?` match many; a partitioned table by its root'),
  as: z
    .string()
    .min(1)
    .optional()
    .describe('One name for all tables that a pattern matches, used for default detail-types'),
  source: text.optional().describe('The event’s source; default `legacy.<name>`'),
  bus: text.optional().describe('Name or ARN of another bus than bus.name'),
  resources: z
    .union([text, z.array(text)])
    .optional()
    .describe('Default `banyan:<name>:<table>:<key>`'),
  key: z.array(z.string().min(1)).min(1).optional().describe('Ordering key; default: the replica identity’s columns'),
  order: z
    .enum(['key', 'relaxed'])
    .default('key')
    .describe('relaxed: events of one key may overtake each other (speed on one hot key)'),
  exclude: z.array(z.string().min(1)).default([]).describe('Columns that are never sent, not even in `previous`'),
  mask: z
    .record(z.string().min(1), mask)
    .default({})
    .describe('Columns that leave masked everywhere: data, previous, key, expressions'),
  columnList: z
    .boolean()
    .default(false)
    .describe('Also keep excluded columns out of the WAL stream (never with REPLICA IDENTITY FULL)'),
  detail: detail.optional().describe('Default: every column under its own name'),
  emit: z.array(emitRule).min(1).optional().describe('First match wins; what matches nothing is dropped and counted'),
  transform: z
    .string()
    .min(1)
    .optional()
    .describe('A TypeScript or JavaScript module that makes the events instead of detail and emit'),
  backfill: z.boolean().default(false).describe('Turn the rows that are already there into events'),
  observe: z
    .enum(['nothing', 'writers'])
    .default('nothing')
    .describe('writers: a statement trigger says which role and application writes (`banyan writers` prints its SQL)'),
  reselectUnavailable: z
    .boolean()
    .default(false)
    .describe('Read unchanged TOAST values again by key instead of naming them in metadata.unavailable'),
  numbers: z
    .enum(['text', 'json'])
    .default('text')
    .describe('text: bigint and numeric are JSON strings (exact); json: JSON numbers'),
  holdLimit: z
    .strictObject({
      rows: z.int().min(1).default(100_000).describe('Raw changes kept'),
      bytes: size('100MB', 'Bytes of raw changes kept', { min: '1kB' }),
    })
    .prefault({})
    .describe('How much of this table may be set aside while its mapping can not go on'),
});
export type TableCapture = z.infer<typeof tableCapture>;

const messageCapture = z.strictObject({
  messages: z.string().min(1).describe('The prefix of pg_logical_emit_message(true, prefix, json): a ready-made event'),
  source: z.string().min(1).optional().describe('Source of messages that name none; default `legacy.<name>`'),
});
export type MessageCapture = z.infer<typeof messageCapture>;

const legacy = z
  .strictObject({
    url: z.string().min(1).describe('Connection URL of the legacy database'),
    tls: z
      .strictObject({
        mode: z.enum(['disable', 'require', 'verify-ca', 'verify-full']).describe('As sslmode of libpq'),
        ca: z.string().min(1).optional().describe('PEM file of the certificate authority'),
      })
      .optional()
      .describe('Default: what the URL says'),
    slot: z
      .strictObject({
        name: z
          .string()
          .regex(/^[a-z0-9_]{1,63}$/, 'a slot name has 1-63 lower-case letters, digits and _')
          .optional()
          .describe('Default: banyan_ and the name'),
        manage: z.boolean().default(true).describe('false: a DBA makes it and drops it, we only use it'),
      })
      .prefault({})
      .describe('The replication slot'),
    publication: z
      .strictObject({
        name: z.string().min(1).max(63).optional().describe('Default: banyan_ and the name'),
        manage: z.boolean().default(true).describe('false: a DBA keeps it equal to the mapped tables, we only use it'),
      })
      .prefault({})
      .describe('The publication: exactly the mapped tables, never FOR ALL TABLES'),
    walBudget: size('10GB', 'WAL that the slot may hold', { min: '1MB' }),
    onWalBudget: z
      .enum(['warn', 'drop-slot'])
      .default('warn')
      .describe(
        'drop-slot: past the budget a slot that does not drain is dropped, so that the database lives and the gap is recorded',
      ),
    heartbeat: duration('10s', 'How often a transactional message moves the slot while only others write', {
      min: '100ms',
    }),
    lockTimeout: duration('5s', 'Longest wait for a lock in the legacy database', { min: '10ms', max: '5min' }),
  })
  .describe('The legacy database');

const bus = z.strictObject({
  type: z
    .enum(['eventbridge', 'local'])
    .default('eventbridge')
    .describe('local: an embedded bus on this machine, for development'),
  name: z.string().min(1).default('default').describe('Name or ARN of the event bus'),
  region: z.string().min(1).optional().describe('Default: the region of the ARN in bus.name, else AWS_REGION'),
  endpoint: z
    .string()
    .min(1)
    .optional()
    .describe('Another endpoint than the region’s; with type local: a running `banyan bus`'),
  port: z.int().min(0).max(65_535).default(4010).describe('type local: port of the embedded bus; 0 = any free one'),
  concurrency: z.int().min(1).max(256).default(16).describe('PutEvents calls in flight'),
  linger: duration('5ms', 'How long a half-full batch waits', { max: '1min' }),
  maxEntries: z.int().min(1).max(10).default(10).describe('Entries in one request'),
  maxRequest: size('1000kB', 'Bytes in one request; 256kB in partitions with the older limit', {
    min: '1kB',
    max: '1048576B',
  }),
  requestTimeout: duration('10s', 'When a call without an answer is ended and sent again', {
    min: '100ms',
    max: '5min',
  }),
  oversize: z.enum(['park']).default('park').describe('What happens to an event above maxRequest'),
  maxParkedPerMinute: z.int().min(1).default(1_000).describe('More parked events than this halt the worker'),
});

const http = z.strictObject({
  host: z.string().min(1).default('127.0.0.1').describe('BANYAN_HTTP_HOST overrides it'),
  port: z.int().min(0).max(65_535).default(8080).describe('0: any free one'),
  token: z
    .string()
    .min(16, 'use at least 16 characters')
    .optional()
    .describe('Bearer token; a host beyond loopback needs one'),
});

export const configSchema = z.strictObject({
  $schema: z.string().optional().describe('For editors'),
  name: identifier.describe('Slot, publication and metric label default to it'),
  legacy,
  state: z
    .strictObject({
      url: z.string().min(1).optional().describe('Another database for the state; default: the legacy database'),
      schema: identifier.default('banyan').describe('The schema that holds our tables'),
    })
    .prefault({})
    .describe('Where positions, dead letters and requests are kept'),
  bus: bus.prefault({}).describe('Where events go'),
  maskKey: z.string().min(16, 'use at least 16 characters').optional().describe('Key of `mask: hash`'),
  capture: z
    .array(z.union([tableCapture, messageCapture]))
    .min(1)
    .describe('What becomes events; a table may appear in several entries, each makes its own'),
  reverse: reverse
    .optional()
    .describe('Reverse sync: events of the new system, written back into the legacy tables; left out: off'),
  progress: progress.prefault({}).describe('Stages and gates of the migration'),
  http: http.prefault({}).describe('Health, metrics, status and the page'),
  metrics: z
    .enum(['prometheus', 'emf'])
    .default('prometheus')
    .describe('emf: also as log lines in CloudWatch’s embedded metric format, once a minute'),
  shutdownTimeout: duration('20s', 'How long a stop may take before work in flight is given up', {
    min: '1s',
    max: '1h',
  }),
  log: z
    .strictObject({
      level: z.enum(['debug', 'info', 'warn', 'error']).default('info').describe('Least that is logged'),
    })
    .prefault({})
    .describe('Log lines'),
});

/** The configuration after defaults, substitution and units. Optional names that follow from `name` are filled in by `load.ts`. */
export type Config = z.infer<typeof configSchema>;

export function isTableCapture(entry: TableCapture | MessageCapture): entry is TableCapture {
  return 'table' in entry;
}

export function slotName(config: Config): string {
  return config.legacy.slot.name ?? `banyan_${config.name.replaceAll('-', '_')}`;
}

export function publicationName(config: Config): string {
  return config.legacy.publication.name ?? `banyan_${config.name.replaceAll('-', '_')}`;
}
