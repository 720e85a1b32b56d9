import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import type { NewReverseLetter } from '../../src/state/reverse-letters.ts';
import { openState, type State } from '../../src/state/state.ts';
import { banyan, type Finished } from '../support/banyan-process.ts';

let server: EmbeddedPostgres;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
});
afterAll(() => server.stop());

interface Place extends AsyncDisposable {
  readonly state: State;
  banyan(...args: readonly string[]): Promise<Finished>;
}

const REVERSE = `
reverse:
  queue: http://127.0.0.1:9/000000000000/back
  apply:
    - { match: { source: [shop] }, table: public.orders, operation: update, key: { id: detail.id }, set: { s: detail.s } }`;

/** A change for the bus (1), an event for a row (2), one that waits for its row (3), and a message that is none (4). */
async function open(name: string, reverse = REVERSE, capture = '[{ table: public.orders }]'): Promise<Place> {
  const url = await server.createDatabase(name);
  const pool = new pg.Pool({ connectionString: url });
  const state = await openState({ pool, connector: name, schema: 'banyan' });
  await state.deadLetters.park([
    {
      eventId: 'e-1',
      entry: 0,
      group: 'public.orders:1',
      previousGroup: undefined,
      table: 'public.orders',
      sequence: '0001',
      kind: 'event-rejected',
      code: 'MalformedDetail',
      message: 'the bus refused it',
      behind: false,
      event: '{"source":"legacy.shop"}',
      change: undefined,
    },
  ]);
  const letter: NewReverseLetter = {
    eventId: 'shop.orders e-2 public.orders#1',
    entry: 0,
    group: 'public.orders:7',
    table: 'public.orders',
    sequence: '2-1',
    kind: 'row-refused',
    code: '23514',
    message: 'public.orders: refused by the constraint positive (SQLSTATE 23514)',
    behind: false,
    waitForMs: undefined,
    event: '{"source":"shop.orders","detail":{"id":7}}',
  };
  await state.reverseLetters.park([letter]);
  await state.reverseLetters.park([
    {
      ...letter,
      eventId: 'shop.orders e-3 public.orders#1',
      group: 'public.orders:8',
      kind: 'row-missing',
      code: undefined,
      message: 'public.orders has no such row yet',
      waitForMs: 600_000,
    },
  ]);
  await state.reverseLetters.park([
    {
      ...letter,
      eventId: 'message m-4',
      entry: -1,
      group: undefined,
      table: 'queue back',
      kind: 'envelope-invalid',
      code: undefined,
      message: 'the body is no JSON',
      event: 'no \u0007 JSON',
    },
  ]);
  const env = {
    BANYAN_CONFIG_YAML: `
name: ${name}
legacy: { url: "${url}" }
bus: { type: local, port: 0 }
capture: ${capture}${reverse}`,
  };
  return { state, banyan: (...args) => banyan(args, { env }), [Symbol.asyncDispose]: () => pool.end() };
}

describe('dead-letters of both directions', () => {
  test('list shows both, each with its direction, and until when one waits for what', async () => {
    await using place = await open('both_listed');
    const { code, stdout, stderr } = await place.banyan('dead-letters', 'list');
    expect(code).toBe(0);
    const [head, ...lines] = stdout.trimEnd().split('\n');
    expect(head).toMatch(/^ID +PARKED AT \(UTC\) +DIRECTION +TABLE +GROUP +WHY$/);
    expect(lines).toEqual([
      expect.stringMatching(/^4 .* reverse +queue back +- +envelope-invalid +the body is no JSON$/),
      expect.stringMatching(
        /^3 .* reverse +public\.orders +public\.orders:8 +row-missing +waits until 2\S+ \S+: public\.orders has no such row yet$/,
      ),
      expect.stringMatching(/^2 .* reverse +public\.orders +public\.orders:7 +row-refused /),
      expect.stringMatching(/^1 .* forward +public\.orders +public\.orders:1 +event-rejected +the bus refused it$/),
    ]);
    expect(stderr).toContain('3 letters parked in 2 groups');
    expect(stderr).toContain('1 event waits for something to come');

    const ids = async (...options: readonly string[]): Promise<number[]> => {
      const json = await place.banyan('dead-letters', 'list', '--json', ...options);
      return (JSON.parse(json.stdout) as { letters: { id: number }[] }).letters.map(({ id }) => id);
    };
    expect(await ids('--direction', 'forward')).toEqual([1]);
    expect(await ids('--direction', 'reverse')).toEqual([4, 3, 2]);
    expect(await ids('--table', 'public.orders')).toEqual([3, 2, 1]);
    expect(await ids('--limit', '2')).toEqual([4, 3]);
    expect(await ids('--group', 'public.orders:7')).toEqual([2]);
  });

  test('show finds a letter by its number alone', async () => {
    await using place = await open('both_shown');
    const forward = await place.banyan('dead-letters', 'show', '1');
    expect(forward.stdout).toMatch(/^direction +forward$/m);
    expect(forward.stdout).toMatch(/^entry +capture\[0\]$/m);
    const back = await place.banyan('dead-letters', 'show', '2');
    expect(back.stdout).toMatch(/^direction +reverse$/m);
    expect(back.stdout).toMatch(/^entry +reverse\.apply\[0\]$/m);
    expect(back.stdout).toMatch(/^why +row-refused 23514$/m);
    expect(back.stdout).toContain('"source": "shop.orders"');
    const waiting = await place.banyan('dead-letters', 'show', '3');
    expect(waiting.stdout).toMatch(/^ +waits until \S+ \S+ \(UTC\), tried again until then$/m);
    const broken = await place.banyan('dead-letters', 'show', '4');
    expect(broken.code).toBe(0);
    expect(broken.stdout).toContain('"no \\u0007 JSON"');
    expect((await place.banyan('dead-letters', 'show', '5')).code).toBe(2);
  });

  test('neither shows the key of a row where the table’s own events mask it', async () => {
    const masked = '[{ table: public.orders, mask: { id: redact } }]';
    await using place = await open('both_masked', REVERSE, masked);
    for (const args of [['list'], ['list', '--json'], ['show', '2'], ['show', '2', '--json']]) {
      const { stdout } = await place.banyan('dead-letters', ...args);
      expect(stdout).toContain('public.orders:%5Bredacted%5D');
      expect(stdout).not.toMatch(/public\.orders:[78]\b/);
    }
  });

  test('neither lets an id or an event write on the terminal', async () => {
    await using place = await open('both_escaped');
    const escape = '\u001B[2J\u009B\u202E';
    const outside = {
      eventId: `shop.orders e-5${escape} public.orders#1`,
      entry: 0,
      group: 'public.orders:9',
      table: 'public.orders',
      sequence: '2-5',
      kind: 'row-refused' as const,
      code: undefined,
      message: `refused ${escape}`,
      behind: false,
      waitForMs: undefined,
      event: JSON.stringify({ id: escape }),
    };
    await place.state.reverseLetters.park([outside]);
    for (const args of [['list'], ['show', '5']]) {
      const { stdout } = await place.banyan('dead-letters', ...args);
      expect(stdout).toContain('\\u001b[2J\\u009b\\u202e');
      expect(stdout.split('\n').join('')).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    }
  });

  test('redrive asks the worker for the direction that the letters have', async () => {
    await using place = await open('both_redriven');
    const asked = async (...args: readonly string[]): Promise<object[]> => {
      expect(await place.banyan('dead-letters', 'redrive', '--no-wait', ...args)).toMatchObject({ code: 0 });
      const requests: object[] = [];
      for (;;) {
        const request = await place.state.requests.claimNext();
        if (request === undefined) return requests;
        requests.push(request.arguments);
      }
    };
    expect(await asked('1')).toEqual([{ ids: [1] }]);
    expect(await asked('2')).toEqual([{ ids: [2], direction: 'reverse' }]);
    expect(await asked('--all')).toEqual([{ all: true }, { all: true, direction: 'reverse' }]);
    expect(await asked('--table', 'public.orders', '--direction', 'reverse')).toEqual([
      { table: 'public.orders', direction: 'reverse' },
    ]);
  });

  test('discard without a worker gives up what was chosen, and says what that means', async () => {
    await using place = await open('both_discarded');
    const loss = await place.banyan('dead-letters', 'discard', '--direction', 'reverse', '--all');
    expect(loss.code).toBe(2);
    expect(loss.stderr).toContain('3 parked events would be lost for good');
    expect(loss.stderr).toContain('the legacy tables never get them');
    const both = await place.banyan('dead-letters', 'discard', '--table', 'public.orders');
    expect(both.stderr).toContain('3 parked letters would be lost for good (3 of public.orders)');
    const done = await place.banyan('dead-letters', 'discard', '2', '--yes');
    expect(done).toMatchObject({ code: 0, stdout: '✓ discarded 1 letter\n' });
    expect(done.stderr).toBe('the worker tries events that wait behind them within a minute\n');
    expect(await place.state.reverseLetters.counts()).toMatchObject({ parked: 1, waiting: 1 });
    expect(await place.state.deadLetters.counts()).toMatchObject({ parked: 1 });
    expect((await place.banyan('dead-letters', 'redrive', '2')).stderr).toContain('is discarded already');
    const change = await place.banyan('dead-letters', 'discard', '1', '--yes');
    expect(change.stderr).toBe('changes that wait behind them stay parked until they are redriven\n');
  });

  test('what is left of a way back that is configured no more can be given up, and not applied', async () => {
    await using place = await open('no_way_back', '');
    const redrive = await place.banyan('dead-letters', 'redrive', '2');
    expect(redrive.code).toBe(2);
    expect(redrive.stderr).toContain('the configuration has no `reverse`');
    const done = await place.banyan('dead-letters', 'discard', '--direction', 'reverse', '--all', '--yes');
    expect(done).toMatchObject({ code: 0, stdout: '✓ discarded 3 letters\n' });
    // No request waits for a worker that would not know it.
    expect(await place.state.requests.claimNext()).toBeUndefined();
  });
});
