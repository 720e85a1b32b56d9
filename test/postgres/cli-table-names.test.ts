import { PassThrough } from 'node:stream';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ConflictList, listConflicts } from '../../src/cli/conflicts.ts';
import { discardDeadLetters, listDeadLetters } from '../../src/cli/dead-letters.ts';
import type { CommandContext } from '../../src/cli/context.ts';
import { createOutput } from '../../src/cli/output.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { openState } from '../../src/state/state.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server?.stop());

function tablesIn(text: string, list: 'letters' | 'conflicts'): string[] | undefined {
  return (JSON.parse(text) as Record<string, { table: string }[]>)[list]?.map(({ table }) => table);
}

/** A connector whose state has a dead letter and a conflict of each of these. */
async function open(name: string, tables: readonly string[]) {
  const url = await server.createDatabase(name);
  const pool = new pg.Pool({ connectionString: url });
  await openState({ pool, connector: name, schema: 'banyan' });
  await pool.query(
    `insert into banyan.dead_letter (connector, direction, event_id, entry, table_name, sequence, kind, message, behind, event)
     select $1, case when table_name like 'queue:%' then 'reverse' else 'forward' end, table_name, 0, table_name, '1', 'unknown', 'm', false, '{}'
     from unnest($2::text[]) as table_name`,
    [name, tables],
  );
  await pool.query(
    `insert into banyan.conflict (connector, table_name, key, kind, policy, resolution, producer, event_id, target, proposed)
     select $1, table_name, '{"id": 1}', 'update_missing', 'park', 'parked', 'p', table_name, 't', '{}'
     from unnest($2::text[]) as table_name`,
    [name, tables],
  );
  const config = {
    name,
    legacy: { url },
    bus: { type: 'local', port: 0 },
    capture: [{ table: 'public.orders' }, { table: 'public."Quiet"' }, { table: 'sales.*' }],
  };
  const run = async (json: boolean, command: (context: CommandContext) => Promise<unknown>): Promise<string> => {
    const stdout = new PassThrough();
    let text = '';
    stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    const env = { BANYAN_CONFIG_YAML: JSON.stringify(config) };
    await command({ configFile: undefined, env, output: createOutput({ json, stdout, stderr: new PassThrough() }) });
    return text;
  };
  const letters = { ids: [], group: undefined, all: false, direction: undefined, limit: 50 };
  return {
    letters: async (table: string) =>
      tablesIn(await run(true, (context) => listDeadLetters({ ...letters, table }, context)), 'letters'),
    conflicts: async (table: string) => {
      const options: ConflictList = { table, kind: undefined, open: true, limit: 50 };
      return tablesIn(await run(true, (context) => listConflicts(options, context)), 'conflicts');
    },
    listed: () => run(false, (context) => listDeadLetters({ ...letters, table: undefined }, context)),
    discard: (table: string) => run(true, (context) => discardDeadLetters({ ...letters, table, yes: true }, context)),
    [Symbol.asyncDispose]: () => pool.end(),
  };
}

const TABLES = ['public.orders', 'public.Orders', 'public.Order Items', 'old.gone', 'public.odd.name'];

test('--table of dead letters and conflicts takes names as every command does, also of tables that nobody captures any more', async () => {
  await using place = await open('names', TABLES);
  for (const of of [place.letters, place.conflicts]) {
    expect(await of('public.orders')).toEqual(['public.orders']);
    expect(await of('ORDERS')).toEqual(['public.orders']);
    expect(await of('public."Orders"')).toEqual(['public.Orders']);
    expect(await of('"Order Items"')).toEqual(['public.Order Items']);
    expect(await of('public."odd.name"')).toEqual(['public.odd.name']);
    expect(await of('gone')).toEqual(['old.gone']);
    // As the state has it, where that is no name in SQL.
    expect(await of('public.Order Items')).toEqual(['public.Order Items']);
    // Known, and without any.
    expect(await of('"Quiet"')).toEqual([]);
  }
  expect(await place.listed()).toMatch(/ public\."Order Items" .* public\.orders /s);
  expect(JSON.parse(await place.discard('"Order Items"'))).toEqual({ discarded: 1 });
  expect(await place.letters('"Order Items"')).toEqual([]);
  expect(await place.letters('orders')).toEqual(['public.orders']);
});

test('--table of a name that nobody knows says so, with the nearest one; letters of no table keep the name they have', async () => {
  await using place = await open('nobody', [...TABLES, 'message:outbox', 'queue:back.fifo']);
  for (const of of [place.letters, place.conflicts]) {
    await expect(of('public.ordrs')).rejects.toMatchObject({
      kind: 'usage',
      message: expect.stringContaining('nothing is known of a table public.ordrs'),
      remedy: 'did you mean public.orders?',
    });
    await expect(of('public.invoices_of_the_year')).rejects.toMatchObject({ kind: 'usage' });
    expect(await of('message:outbox')).toEqual(['message:outbox']);
    expect(await of('queue:back.fifo')).toEqual(['queue:back.fifo']);
  }
});
