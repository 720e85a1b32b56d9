import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import type { Conflict, NewConflict } from '../../src/state/conflicts.ts';
import { openState, type State } from '../../src/state/state.ts';
import { banyan, type Finished } from '../support/banyan-process.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server.stop());

interface Place extends AsyncDisposable {
  readonly state: State;
  record(conflict: Partial<NewConflict>): Promise<number>;
  banyan(...args: readonly string[]): Promise<Finished>;
}

async function open(name: string): Promise<Place> {
  const url = await server.createDatabase(name);
  const env = {
    BANYAN_CONFIG_YAML: `
name: ${name}
legacy: { url: "${url}" }
bus: { type: local, port: 0 }
capture: [{ table: public.orders }]`,
  };
  const pool = new pg.Pool({ connectionString: url });
  const state = await openState({ pool, connector: name, schema: 'banyan' });
  let events = 0;
  return {
    state,
    async record(conflict) {
      const client = await pool.connect();
      try {
        return await state.conflicts.record(client, {
          table: 'public.orders',
          key: { id: '42' },
          kind: 'update_origin_differs',
          policy: 'park',
          resolution: 'parked',
          producer: 'shop.orders',
          eventId: `e-${events++}`,
          target: 'public.orders#abc',
          expected: undefined,
          proposed: { status: 'shipped' },
          current: { id: '42', status: 'cancelled', note: null },
          ...conflict,
        });
      } finally {
        client.release();
      }
    },
    banyan: (...args) => banyan(args, { env }),
    [Symbol.asyncDispose]: () => pool.end(),
  };
}

interface Listing {
  readonly open: number;
  readonly conflicts: readonly Conflict[];
}

describe('conflicts list', () => {
  test('says which rows, who won, and what waits for a person; by table, kind and state', async () => {
    await using place = await open('listed');
    const waits = await place.record({});
    const decided = await place.record({ resolution: 'legacy-wins', policy: 'legacy-wins', kind: 'insert_exists' });
    const other = await place.record({
      table: 'public.items',
      key: { id: '1', sku: 'a,b' },
      resolution: 'new-wins',
      policy: 'new-wins',
    });

    const text = await place.banyan('conflicts', 'list');
    expect(text.code).toBe(0);
    expect(text.stdout.split('\n')).toEqual([
      expect.stringMatching(/^ID +MET AT \(UTC\) +TABLE +KEY +KIND +POLICY +RESOLUTION$/),
      expect.stringMatching(/^3 +2\S+ \S+ +public\.items +id=1, sku="a,b" +update_origin_differs +new-wins +new-wins$/),
      expect.stringMatching(/^2 +\S+ \S+ +public\.orders +id=42 +insert_exists +legacy-wins +legacy-wins$/),
      expect.stringMatching(/^1 +\S+ \S+ +public\.orders +id=42 +update_origin_differs +park +open$/),
      '',
    ]);
    expect(text.stderr).toContain('1 conflict to decide');

    const listed = async (...options: readonly string[]): Promise<Listing> =>
      JSON.parse((await place.banyan('conflicts', 'list', '--json', ...options)).stdout) as Listing;
    expect(await listed('--open')).toMatchObject({ open: 1, conflicts: [{ id: waits }] });
    expect((await listed('--table', 'public.items')).conflicts.map(({ id }) => id)).toEqual([other]);
    expect((await listed('--kind', 'insert_exists')).conflicts.map(({ id }) => id)).toEqual([decided]);
    expect((await listed('--limit', '2')).conflicts.map(({ id }) => id)).toEqual([other, decided]);

    const none = await place.banyan('conflicts', 'list', '--kind', 'delete_missing');
    expect(none.stdout).toBe('✓ no conflict that was asked for\n');
    const unknown = await place.banyan('conflicts', 'list', '--table', 'public.nothing');
    expect([unknown.code, unknown.stdout]).toEqual([2, '']);
    expect(unknown.stderr).toContain('nothing is known of a table public.nothing');
  });

  test('takes no kind that there is not', async () => {
    const { code, stderr } = await banyan(['conflicts', 'list', '--kind', 'update_exists']);
    expect(code).toBe(2);
    expect(stderr).toContain('insert_exists');
  });
});

describe('conflicts show', () => {
  test('puts the rows side by side, and tells NULL from nothing', async () => {
    await using place = await open('shown');
    const id = await place.record({
      expected: { status: 'placed' },
      proposed: { status: 'shipped', note: '' },
      current: { id: '42', status: '\u001B[31mred', note: null },
    });
    const { code, stdout, stderr } = await place.banyan('conflicts', 'show', `${id}`);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^kind +update_origin_differs: the row was changed here/m);
    expect(stdout).toMatch(/^event +e-0 of shop\.orders$/m);
    expect(stdout).toMatch(/^ +EXPECTED +PROPOSED +CURRENT$/m);
    expect(stdout).toMatch(/^status +"placed" +"shipped" +"\\u001b\[31mred"$/m);
    expect(stdout).toMatch(/^note +- +"" +NULL$/m);
    expect(stdout).not.toContain('\u001B');
    expect(stderr).toContain(`banyan conflicts resolve ${id} --keep current|proposed`);

    const json = await place.banyan('conflicts', 'show', `${id}`, '--json');
    expect(JSON.parse(json.stdout)).toMatchObject({ id, current: { note: null }, expected: { status: 'placed' } });
  });

  test('says where there was no row, no before-image, and nothing to write', async () => {
    await using place = await open('shown_none');
    const id = await place.record({
      kind: 'delete_missing',
      expected: undefined,
      proposed: undefined,
      current: undefined,
    });
    const { stdout } = await place.banyan('conflicts', 'show', `${id}`);
    expect(stdout).toContain('EXPECTED (not said)  PROPOSED (delete)  CURRENT (no row)');
  });
});

describe('conflicts resolve', () => {
  test('needs a side, an open conflict that there is, and a worker', async () => {
    await using place = await open('refused');
    const waits = await place.record({});
    const decided = await place.record({ resolution: 'legacy-wins', policy: 'legacy-wins' });

    const sideless = await place.banyan('conflicts', 'resolve', `${waits}`);
    expect(sideless).toMatchObject({ code: 2 });
    expect(sideless.stderr).toContain('--keep');
    const unknown = await place.banyan('conflicts', 'resolve', '999', '--keep', 'current');
    expect(unknown.code).toBe(2);
    expect(unknown.stderr).toContain('there is no conflict 999');
    const twice = await place.banyan('conflicts', 'resolve', `${decided}`, '--keep', 'proposed');
    expect(twice.code).toBe(2);
    expect(twice.stderr).toContain('is resolved already: legacy-wins');

    const alone = await place.banyan('conflicts', 'resolve', `${waits}`, '--keep', 'proposed', '--timeout', '1');
    expect(alone.code).toBe(3);
    expect(alone.stderr).toContain('no worker took the request');
    expect(await place.state.conflicts.countOpen()).toBe(1);
    expect(await place.state.requests.claimNext()).toBeUndefined();
  });
});
