import { describe, expect, test } from 'vitest';
import { BanyanError } from '../../src/core/errors.ts';
import { decodeEnvelope } from '../../src/reverse/envelope.ts';
import { reverseMapper } from '../../src/reverse/mapper.ts';
import { compiledEntry, eventBody, intentOf } from '../support/reverse-bed.ts';
import { thrownBy } from '../support/thrown.ts';

const order = { id: 42, status: 'shipped' };

function refusalOf(changes: Record<string, unknown>, detail: unknown): BanyanError {
  return thrownBy(() => intentOf(changes, eventBody(detail)), BanyanError);
}

function idOf(detail: object, changes = {}): string {
  return intentOf(changes, eventBody({ ...order, ...detail })).eventId;
}

function versionOf(version: unknown, changes: Record<string, unknown> = { version: 'detail.version' }) {
  return intentOf(changes, eventBody({ ...order, version })).version;
}

/** The text of the only column that is set. */
function valueOf(detail: unknown, set: object, more = {}) {
  return intentOf({ set }, eventBody(detail, more)).values[0];
}

test('an event becomes what it asks of a row', () => {
  const body = eventBody(
    { ...order, version: 7, seen: '0001-00000001-0000000001A2B3C8-0000000003-00', before: { status: 'new' } },
    { 'replay-name': 'again' },
  );
  const intent = intentOf(
    {
      set: { status: 'detail.status', at: 'time', total: { value: '1.50' }, paid: { cel: 'detail.version > 6' } },
      version: 'detail.version',
      basedOn: 'detail.seen',
      expect: { status: 'detail.before.status' },
    },
    body,
  );
  const { target, ...rest } = intent;
  expect(rest).toEqual({
    producer: 'shop',
    eventId: 'envelope-1',
    hops: 0,
    eventTime: '2026-03-01T12:00:00Z',
    isReplay: true,
    key: ['42'],
    // In the order of the table.
    values: ['shipped', '1.50', 'true', '2026-03-01T12:00:00Z'],
    version: '7',
    basedOn: '0001-00000001-0000000001A2B3C8-0000000003-00',
    expected: ['new'],
    lane: 'public.orders:42',
    body,
  });
  expect(target).toMatchObject({ entry: 0, operation: 'update', hasBasedOn: true, replay: 'park' });
});

test('every entry that matches makes an intent, and what none takes makes none', () => {
  const mapper = reverseMapper([
    compiledEntry({}, 0),
    compiledEntry({ match: { 'detail-type': ['Other'] }, set: { total: 'detail.total' } }, 1),
    compiledEntry({ match: { detail: { status: [{ prefix: 'ship' }] } }, operation: 'delete', set: undefined }, 2),
  ]);
  const entries = (body: string) => mapper.map(decodeEnvelope(body)).map(({ target }) => target.entry);
  expect(entries(eventBody(order))).toEqual([0, 2]);
  expect(entries(eventBody({ id: 1 }, { source: 'elsewhere' }))).toEqual([]);
});

test('patterns see numbers as numbers, however many digits they have', () => {
  const changes = {
    match: { detail: { id: [{ numeric: ['>', 9007199254740992] }] } },
    set: { status: { value: 'x' } },
  };
  const body = eventBody({ id: 1 }).replace('{"id":1}', '{"id":9007199254740993}');
  expect(intentOf(changes, body).key).toEqual(['9007199254740993']);
  expect(reverseMapper([compiledEntry(changes)]).map(decodeEnvelope(eventBody({ id: 7 })))).toEqual([]);
});

test('two entries that would be one in the inbox are refused for the event that both take', () => {
  const mapper = reverseMapper([compiledEntry({}, 0), compiledEntry({ set: { status: 'detail.other' } }, 1)]);
  expect(() => mapper.map(decodeEnvelope(eventBody({ ...order, other: 'x' })))).toThrow(
    'reverse.apply[0] and reverse.apply[1] both take the event',
  );
});

describe('the id of an event', () => {
  test('is the producer’s where it gives one, else the envelope’s', () => {
    expect(idOf({ metadata: { id: 'change-1' } })).toBe('change-1');
    expect(idOf({ metadata: { id: null } })).toBe('envelope-1');
    expect(idOf({ metadata: 'none' })).toBe('envelope-1');
    expect(idOf({ change: 9 }, { id: 'detail.change' })).toBe('9');
    expect(idOf({ change: 9 }, { id: { cel: "'o-' + string(detail.change)" } })).toBe('o-9');
  });

  test.each([
    [{}, { id: 'detail.change' }, 'detail.change: missing'],
    [{ change: null }, { id: 'detail.change' }, 'detail.change: null'],
    [{ metadata: { id: { a: 1 } } }, {}, 'detail.metadata.id: an object'],
    [{ metadata: { id: '' } }, {}, 'detail.metadata.id: an empty text'],
    [{ metadata: { id: 'x'.repeat(501) } }, {}, 'detail.metadata.id: an id longer than 500 bytes'],
    [{ metadata: { id: 'a\0' } }, {}, 'detail.metadata.id: an id with characters'],
  ])('is refused, case %#', (detail, changes, message) => {
    const error = refusalOf(changes, { ...order, ...detail });
    expect([error.kind, error.message.includes(message)]).toEqual(['row-refused', true]);
  });
});

describe('a version', () => {
  test.each([
    [7, '7'],
    [-1, '-1'],
    ['007', '7'],
    ['12345678901234567890123', '12345678901234567890123'],
    ['1970-01-01T00:00:01Z', '1000000'],
    ['2026-03-01T12:00:00.123456Z', '1772366400123456'],
    ['2026-03-01T14:00:00.1234560+02:00', '1772366400123456'],
    ['2026-03-01 12:00:00.5+00', '1772366400500000'],
    ['1969-12-31T23:59:59.999999Z', '-1'],
    ['2016-12-31T23:59:60Z', '1483228800000000'],
  ])('%j is %s', (version, expected) => expect(versionOf(version)).toBe(expected));

  test('may be an expression', () => {
    expect(versionOf(7, { version: { cel: 'detail.version * 10' } })).toBe('70');
    expect(versionOf('x', { version: { cel: 'timestamp(time)' } })).toBe('1772366400000000');
  });

  test.each([
    [undefined, 'detail.version: missing'],
    [null, 'detail.version: null'],
    [1.5, 'detail.version: a number'],
    ['', 'detail.version: an empty text'],
    ['soon', 'detail.version: a text'],
    ['2026-03-01T12:00:00', 'a time with its offset'],
    // Two of them could become one, and the second would be taken for old.
    ['2026-03-01T12:00:00.123456789Z', 'at most six digits of second'],
    ['1'.repeat(41), 'detail.version: a text'],
    [true, 'detail.version: `true` or `false`'],
  ])('%j is refused', (version, message) => {
    expect(refusalOf({ version: 'detail.version' }, { ...order, version }).message).toContain(message);
  });
});

test.each([[0], [3], ['2'], [100]])('hops may be %j', (count) => {
  const { hops } = intentOf({}, eventBody({ ...order, metadata: { hops: count } }));
  expect(hops).toBe(Number(count));
});

test.each([[-1], [101], [1.5], ['many'], [{}]])('hops may not be %j', (count) => {
  expect(refusalOf({}, { ...order, metadata: { hops: count } }).message).toContain('detail.metadata.hops: ');
});

test('hops may stand elsewhere', () => {
  expect(intentOf({ hops: 'detail.crossed' }, eventBody({ ...order, crossed: 2 })).hops).toBe(2);
  expect(intentOf({ hops: 'detail.crossed' }, eventBody(order)).hops).toBe(0);
});

test('basedOn is a sequence of ours, or nothing', () => {
  const basedOn = (seen: unknown) => intentOf({ basedOn: 'detail.seen' }, eventBody({ ...order, seen })).basedOn;
  expect([basedOn(undefined), basedOn(null)]).toEqual([undefined, undefined]);
  expect(refusalOf({ basedOn: 'detail.seen' }, { ...order, seen: '9999' }).message).toContain('metadata.sequence');
  expect(refusalOf({ basedOn: 'detail.seen' }, { ...order, seen: 3 }).message).toContain('detail.seen: a number');
});

describe('a key', () => {
  test('is spelt as the server spells it, and its lane as lanes of capture are', () => {
    const changes = { key: { shop: 'detail.shop', id: 'detail.id' } };
    const intent = intentOf(changes, eventBody({ ...order, id: '+007', shop: 'a,b:c%/ü' }));
    expect(intent.key).toEqual(['7', 'a,b:c%/ü']);
    expect(intent.lane).toBe('public.orders:7,a%2Cb%3Ac%25%2F%C3%BC');
  });

  test.each([
    [{ id: null }, 'detail.id: null, and id is part of the key of public.orders'],
    [{}, 'detail.id: missing, and id of public.orders is set from it'],
    [{ id: 'x' }, 'detail.id: a text, and id of public.orders (int8) takes a whole number'],
    [{ id: 1, shop: 'x'.repeat(900) }, 'detail.id: the key of public.orders is longer than 800 bytes'],
  ])('is refused, case %#', (detail, message) => {
    const changes = 'shop' in detail ? { key: { id: 'detail.id', shop: 'detail.shop' } } : {};
    expect(refusalOf(changes, { ...detail, status: 'x' }).message).toContain(message);
  });
});

describe('a value', () => {
  test('that is null is NULL, and one that is missing is refused', () => {
    expect(valueOf({ id: 1, a: null }, { status: 'detail.a' })).toBeNull();
    expect(valueOf({ id: 1, a: null }, { doc: 'detail.a' })).toBeNull();
    expect(valueOf({ id: 1 }, { status: { value: null } })).toBeNull();
    const error = refusalOf({ set: { status: 'detail.a' } }, { id: 1 });
    expect(error.message).toBe('detail.a: missing, and status of public.orders is set from it');
    expect([error.kind, error.context['path']]).toEqual(['row-refused', 'detail.a']);
  });

  test('is never what the event only inherits', () => {
    for (const path of ['detail.constructor', 'detail.__proto__', 'detail.toString', 'detail.tags.length']) {
      const error = refusalOf({ set: { doc: path } }, { id: 1, tags: [1] });
      expect(error.message).toContain(`${path}: missing`);
    }
    expect(valueOf(JSON.parse('{"id":1,"__proto__":{"a":1}}'), { doc: 'detail.__proto__' })).toBe('{"a":1}');
  });

  test('is named by its place within the event', () => {
    const error = refusalOf(
      { set: { tags: 'detail.lines[0]["all tags"]' } },
      { id: 1, lines: [{ 'all tags': ['a', 3] }] },
    );
    expect(error.message).toContain(
      'detail.lines[0]["all tags"][1]: a number, and tags of public.orders (_text) takes a text',
    );
  });
});

describe('an expression', () => {
  test('computes exactly with what the event has', () => {
    const detail = { id: 1, price: 0.1, quantity: 3, lines: [{ sku: 'a' }, { sku: 'b' }], 'a b': 'x' };
    expect(valueOf(detail, { total: { cel: 'detail.price * detail.quantity' } })).toBe('0.3');
    expect(valueOf(detail, { tags: { cel: 'detail.lines.map(line, line.sku)' } })).toBe('{"a","b"}');
    expect(
      valueOf(detail, { status: { cel: "has(detail.note) ? detail.note : event['detail-type'] + detail['a b']" } }),
    ).toBe('Changedx');
    expect(valueOf(detail, { doc: { cel: 'detail.lines[0]' } })).toBe('{"sku":"a"}');
    expect(valueOf(detail, { at: { cel: 'timestamp(time) + duration("1h")' } })).toBe('2026-03-01T13:00:00+00:00');
    expect(
      valueOf(detail, { status: { cel: "detail.id == 1 && time == null ? 'none' : 'some'" } }, { time: null }),
    ).toBe('none');
  });

  test('keeps numbers beyond a double', () => {
    const body = eventBody({ id: 1 }).replace('"id":1', '"id":1,"big":9007199254740993,"long":1.00000000000000000001');
    expect(intentOf({ set: { total: { cel: 'detail.big + 1' } } }, body).values).toEqual(['9007199254740994']);
    expect(intentOf({ set: { total: { cel: 'detail.long * 2' } } }, body).values).toEqual(['2.00000000000000000002']);
  });

  test.each([
    ['detail.gone', 'reverse.apply[0].set.status: the expression needs what the event does not have'],
    ['detail.lines[9]', 'the expression needs what the event does not have'],
    ['detail.id + detail.word', 'the expression fails with no_such_overload'],
    ['int(detail.word)', 'the expression fails with int_conversion_error'],
    ['decimal(detail.word)', 'the expression fails: not a decimal number'],
    ['detail.id', 'reverse.apply[0].set.status: a number, and status of public.orders (text) takes a text'],
  ])('%s is refused with its place and never with a value', (cel, message) => {
    const error = refusalOf({ set: { status: { cel } } }, { id: 1, word: 'secret', lines: [] });
    expect([error.kind, error.reaction]).toEqual(['row-refused', 'park']);
    expect(error.message).toContain(message);
    expect(error.message).not.toContain('secret');
  });

  test('costs nothing where numbers are made to cost', () => {
    const body = eventBody({ id: 1 }).replace('"id":1', `"id":1,"n":[${Array(50_000).fill('1e99999').join(',')}]`);
    const before = performance.now();
    expect(intentOf({ set: { total: { cel: 'size(detail.n)' } } }, body).values).toEqual(['50000']);
    expect(performance.now() - before).toBeLessThan(2_000);
  });
});
