import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventRange } from '../../src/core/event.ts';
import { contractOf, loadContracts } from '../../src/mapping/contract.ts';
import { loadTransforms } from '../../src/mapping/transform.ts';
import type { Transform } from '../../src/mapping/transform-types.ts';
import { detailOf, mappingBed, tableEntry, transaction } from '../support/mapping-bed.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'banyan-mapping-'));
});
afterAll(async () => rm(folder, { recursive: true, force: true }));

describe('a contract', () => {
  const columns = { id: 'int4', status: 'text' } as const;
  const schema = { type: 'object', required: ['id'], properties: { status: { enum: ['placed', 'shipped'] } } };

  async function mapperWith(content: unknown, name = 'schema.json') {
    await writeFile(join(folder, name), typeof content === 'string' ? content : JSON.stringify(content));
    const entry = { emit: [{ on: 'insert', detailType: 'X', schema: name }] };
    const contracts = await loadContracts([tableEntry(entry)], folder);
    return { bed: mappingBed({ columns, entry, contracts }), contracts };
  }

  test('lets through what satisfies it, and names the places of what does not, never the value', async () => {
    const { bed } = await mapperWith(schema);
    const mapper = bed.compile();
    expect(mapper.map(bed.insert({ id: '1', status: 'placed' }))).toHaveLength(1);
    expect(() => mapper.map(bed.insert({ id: '1', status: 'secret' }))).toThrow(
      expect.objectContaining({
        kind: 'contract-violated',
        message: 'schema.json: data/status must be equal to one of the allowed values (#/properties/status/enum)',
      }),
    );
  });

  test.each([
    [
      'https://json-schema.org/draft/2020-12/schema',
      { $defs: { a: { type: 'string' } }, properties: { x: { $ref: '#/$defs/a' } } },
    ],
    [
      'https://json-schema.org/draft/2019-09/schema',
      { properties: { x: { type: 'string' } }, unevaluatedProperties: false },
    ],
    [
      'http://json-schema.org/draft-07/schema#',
      { definitions: { a: { type: 'string' } }, properties: { x: { $ref: '#/definitions/a' } } },
    ],
  ])('is read as %s says', ($schema, rest) => {
    const contract = contractOf('s.json', { $schema, ...rest });
    expect(contract.violation({ x: 'text' })).toBeUndefined();
    expect(contract.violation({ x: 1 })).toContain('data/x must be string');
  });

  test('checks formats', () => {
    expect(contractOf('s.json', { format: 'date' }).violation('2026-13-01')).toContain('must match format');
  });

  test.each([
    ['is not JSON', '{'],
    ['is not a valid JSON Schema', { type: 'nonsense' }],
    ['neither draft 2020-12', { $schema: 'https://json-schema.org/draft/2030/schema' }],
    ['a schema is an object', [1]],
  ])('that %s is a problem with the path', async (message, content) => {
    const { contracts, bed } = await mapperWith(content, 'broken.json');
    expect(contracts.problems.get('broken.json')).toContain(message);
    expect(() => bed.compile()).toThrow(
      expect.objectContaining({ kind: 'config', message: expect.stringContaining(message) as string }),
    );
  });

  test('that is not there is a problem with the path', async () => {
    const contracts = await loadContracts(
      [tableEntry({ emit: [{ on: 'insert', detailType: 'X', schema: 'absent.json' }] })],
      folder,
    );
    expect(contracts.problems.get('absent.json')).toContain('can not be read (ENOENT)');
  });
});

const throwing: Transform = () => {
  throw new TypeError('secret');
};

const prolific: Transform = () => Array.from({ length: 34 }, () => ({ detailType: 'X', data: 1 }));

describe('a transform module', () => {
  const columns = { id: 'int8', tags: 'textArray', pin: 'text' } as const;
  const row = { id: '7', tags: '{a,own}', pin: '0000' };

  test('makes the events of a change, in order and numbered', async () => {
    const entry = { transform: 'mappings/lines.ts' };
    const transforms = await loadTransforms([tableEntry(entry)], import.meta.dirname);
    const bed = mappingBed({
      columns,
      entry,
      identity: 'full',
      transform: transforms.get('mappings/lines.ts'),
      range: { first: 2, size: 2 },
    });
    const mapper = bed.compile();
    const events = mapper.map(bed.update({ ...row, tags: '{a,own}' }, { ...row, tags: '{a}' }));
    expect(
      events.map((event) => [event.id.split('-').at(-1), event.detailType, event.source, event.bus, event.resources]),
    ).toEqual([
      ['0.2', 'Tagupdate', 'legacy.shop', undefined, ['banyan:shop:public.orders:7']],
      ['0.3', 'Tagupdate', 'legacy.own', 'own-bus', ['own']],
    ]);
    expect(events.map((event) => event.group)).toEqual(['public.orders:7', 'public.orders:7']);
    expect(detailOf(events[0])).toMatchObject({
      metadata: { operation: 'update', key: { id: '7' }, changed: ['tags'] },
      data: { id: '7', tag: 'a', before: ['a'] },
    });
    expect(mapper.map({ operation: 'truncate', relation: bed.relation, transaction, ordinal: 1 })).toEqual([]);
    expect(mapper.counters.dropped).toBe(1);
  });

  test('of one of several entries has a share of the numbers, and says where it makes more', () => {
    const bed = mappingBed({ columns, entry: { transform: 'x' }, transform: prolific, range: eventRange(0, 3) });
    expect(() => bed.compile().map(bed.insert(row))).toThrow(
      expect.objectContaining({
        kind: 'mapping-failed',
        message: 'capture[0] makes more than 33 events of one change of public.orders',
      }),
    );
  });

  test('sees masked columns masked and excluded ones not at all', () => {
    let seen: unknown;
    const transform: Transform = (change) => {
      seen = change;
      return undefined;
    };
    const bed = mappingBed({
      columns,
      entry: { transform: 'x', exclude: ['pin'], mask: { tags: 'redact' } },
      transform,
    });
    bed.compile().map(bed.insert(row));
    expect(seen).toEqual({
      operation: 'insert',
      table: 'public.orders',
      key: { id: '7' },
      row: { id: '7', tags: '[redacted]' },
      old: undefined,
      transaction: { id: 740, lsn: '0/1A2B3C8', committedAt: '2026-03-01T12:00:00.123456Z' },
    });
  });

  test.each<[string, unknown]>([
    ['is no object', 'text'],
    ['is a promise', Promise.resolve()],
    ['has no detailType', { data: 1 }],
    ['has no data', { detailType: 'X' }],
    ['no JSON form', { detailType: 'X', data: { big: 1n } }],
    ['no JSON form', { detailType: 'X', data: () => 1 }],
    ['begins with aws.', { detailType: 'X', data: 1, source: 'aws.x' }],
    ['is no list of texts', { detailType: 'X', data: 1, resources: 'x' }],
    ['more than 100 events', Array.from({ length: 101 }, () => ({ detailType: 'X', data: 1 }))],
  ])('whose result %s parks the change', (message, result) => {
    const bed = mappingBed({ columns, entry: { transform: 'x' }, transform: (() => result) as Transform });
    expect(() => bed.compile().map(bed.insert(row))).toThrow(
      expect.objectContaining({ kind: 'mapping-failed', message: expect.stringContaining(message) as string }),
    );
  });

  test('that throws parks the change without its message, which may hold values', () => {
    const bed = mappingBed({ columns, entry: { transform: 'x' }, transform: throwing });
    expect(() => bed.compile().map(bed.insert(row))).toThrow(
      expect.objectContaining({ kind: 'mapping-failed', message: 'the transform module threw a TypeError' }),
    );
  });

  test.each([
    ['no default export', 'export const a = 1;'],
    ['can not be loaded', 'export default ('],
  ])('with %s is a mistake of the configuration', async (message, code) => {
    const name = `${message.replaceAll(' ', '-')}.mjs`;
    await writeFile(join(folder, name), code);
    await expect(loadTransforms([tableEntry({ transform: name })], folder)).rejects.toMatchObject({
      kind: 'config',
      message: expect.stringContaining(message) as string,
    });
  });
});
