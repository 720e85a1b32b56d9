import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { eventually } from '../support/eventually.ts';
import { deliveryOf, history, LegacyTable } from '../support/legacy-history.ts';
import type { Detail, Row } from '../support/reference-consumer.ts';

const document = await readFile(new URL('../../docs/consuming.md', import.meta.url), 'utf8');
const sql = { setup: block('setup'), row: block('row'), cut: statements(block('cut')), run: block('run') };

let server: EmbeddedPostgres;
let client: pg.Client;

beforeAll(async () => {
  server = await EmbeddedPostgres.start();
  client = await connected();
  await client.query(sql.setup);
});

afterAll(async () => {
  await client?.end();
  await server?.stop();
});

beforeEach(async () => {
  await emptied();
});

describe('the copy in a table of docs/consuming.md', () => {
  test('ends with what is in the table, in whatever order and however often the events come', async () => {
    const delivered = history
      .map((from) => {
        // The page says what the copy can not do: a change of the key that leaves a field out.
        const legacy = new LegacyTable({ name: 'public.orders', wholeMoves: true });
        legacy.play(from);
        return legacy;
      })
      .chain((legacy) => fc.tuple(fc.constant(legacy), deliveryOf(legacy.events)));
    let filled = 0;
    await fc.assert(
      fc.asyncProperty(delivered, async ([legacy, events]) => {
        await emptied();
        for (const event of events) await apply(event);
        const expected = [...legacy.rows.values()].map(({ id, status, notes }) => ({ id: String(id), status, notes }));
        expect(await copy()).toEqual(expected.toSorted((a, b) => (a.id < b.id ? -1 : 1)));
        filled += legacy.seen.unavailable;
      }),
      { numRuns: 150 },
    );
    expect(filled).toBeGreaterThan(50);
  });

  test('fills nothing from before a truncate, while what came after it is still on its way', async () => {
    const partial = ['1', 'new', null, false, '0003', true];
    await client.query(sql.row, ['1', 'old', 'of another row', false, '0001', false]);
    await client.query(sql.row, partial);
    await cut('0002');
    await client.query(sql.row, partial);
    expect(await copy()).toEqual([{ id: '1', status: 'new', notes: null }]);
  });

  test('keeps nothing of a row that is written while a newer truncate comes', async () => {
    const other = await connected();
    try {
      await client.query('begin');
      await client.query(sql.row, ['1', 'new', 'long', false, '0001', false]);
      const truncated = (async () => {
        await other.query('begin');
        for (const statement of sql.cut) await other.query(statement, ['0002']);
        await other.query('commit');
      })();
      await eventually(async () => {
        const { rows } = await client.query('select from pg_locks where not granted');
        return rows.length > 0;
      });
      await client.query('commit');
      await truncated;
      expect(await copy()).toEqual([]);
    } finally {
      await other.end();
    }
  });
});

async function apply({ metadata, data }: Detail): Promise<void> {
  const { operation, sequence, key = {}, previousKey, unavailable = [] } = metadata;
  await client.query('begin');
  if (operation === 'truncate') await cut(sequence);
  else if (operation === 'backfill') await noteRun(sequence, data);
  else {
    if (previousKey !== undefined) await client.query(sql.row, [previousKey['id'], null, null, true, sequence, false]);
    const isDelete = operation === 'delete';
    const notes = isDelete ? null : data['notes'];
    const isUnknown = !isDelete && unavailable.includes('notes');
    await client.query(sql.row, [key['id'], data['status'], notes, isDelete, sequence, isUnknown]);
  }
  await client.query('commit');
}

async function noteRun(sequence: string, { run, rows, where, partition }: Row): Promise<void> {
  if (where !== undefined || partition !== undefined) return;
  const isCompleted = rows !== undefined;
  const answer = await client.query<{ cut: string | null }>(sql.run, [run, isCompleted ? null : sequence, isCompleted]);
  const at = answer.rows[0]?.cut ?? undefined;
  if (at !== undefined) await cut(at);
}

async function cut(sequence: string): Promise<void> {
  for (const statement of sql.cut) await client.query(statement, [sequence]);
}

async function copy(): Promise<Row[]> {
  const { rows } = await client.query<Row>('select id, status, notes from orders_copy where not deleted order by id');
  return rows;
}

async function emptied(): Promise<void> {
  await client.query("truncate orders_copy, orders_run; update orders_cut set sequence = ''");
}

async function connected(): Promise<pg.Client> {
  const connection = new pg.Client({ connectionString: server.url() });
  await connection.connect();
  return connection;
}

function block(name: string): string {
  const text = new RegExp(`^\`\`\`sql ${name}\\n(.*?)^\`\`\`$`, 'ms').exec(document)?.[1];
  if (text === undefined) throw new Error(`docs/consuming.md has no SQL of the name ${name}`);
  return text;
}

function statements(text: string): string[] {
  return text.split(';\n').filter((statement) => statement.trim() !== '');
}
