import { readFile } from 'node:fs/promises';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import { policies } from '../../src/core/errors.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { compileReverse } from '../../src/reverse/compile.ts';
import { decodeEnvelope } from '../../src/reverse/envelope.ts';
import { reverseMapper } from '../../src/reverse/mapper.ts';
import { CONFLICT_KINDS } from '../../src/state/conflicts.ts';

const document = await readFile(new URL('../../docs/reverse.md', import.meta.url), 'utf8');

function block(language: string): string {
  const found = document.split(`\`\`\`${language}\n`)[1]?.split('\n```')[0];
  if (found === undefined) throw new Error(`docs/reverse.md has no block of ${language}`);
  return found;
}

let server: EmbeddedPostgres;
let client: pg.Client;
let url: string;
beforeAll(async () => {
  server = await EmbeddedPostgres.start();
  url = await server.createDatabase('documented');
  client = new pg.Client(url);
  await client.connect();
  await client.query(block('sql setup'));
});
afterAll(async () => {
  await client.end();
  await server.stop();
});

describe('docs/reverse.md', () => {
  test('shows a configuration that compiles, and the event that it takes', async () => {
    const env = { LEGACY_DATABASE_URL: url };
    const { config } = await parseConfig(block('yaml config'), { file: undefined, env });
    const apply = config.reverse?.apply ?? [];
    const compiled = await compileReverse(client, apply, { stateSchema: config.state.schema });
    expect(compiled.findings).toEqual([]);
    expect(compiled.targets.map(({ operation, carries }) => [operation, carries])).toEqual([
      ['upsert', 'full'],
      ['update', 'patch'],
      ['delete', 'full'],
    ]);
    const intents = reverseMapper(compiled.entries).map(decodeEnvelope(block('json event')));
    expect(intents).toMatchObject([
      {
        producer: 'shop.orders',
        eventId: 'order-42-v7',
        hops: 1,
        key: ['42'],
        version: '7',
        basedOn: '0001-00000001-0000000001A2B3C8-0000000003-00',
      },
    ]);
    const [intent] = intents;
    const written = intent?.target.set.map(({ name }, index) => [name, intent.values[index]]);
    expect(Object.fromEntries(written ?? [])).toMatchObject({
      status: 'shipped',
      total: '59.80',
      changed_by: 'new-shop',
    });
  });

  test('names every kind of conflict, and every reason to set an event aside', () => {
    const inCode = [...document.matchAll(/`([a-z_-]+)`/g)].map(([, word]) => word);
    expect(inCode).toEqual(expect.arrayContaining([...CONFLICT_KINDS]));
    for (const kind of [
      'envelope-invalid',
      'parent-missing',
      'version-gap',
      'row-missing',
      'row-refused',
      'replayed',
    ]) {
      expect(Object.keys(policies)).toContain(kind);
      expect(inCode).toContain(kind);
    }
  });

  test('its links lead somewhere', () => {
    const headings = [...document.matchAll(/^## (.+)$/gm)].map(
      ([, title = '']) =>
        `#${title
          .toLowerCase()
          .replaceAll(/[^a-z ]/g, '')
          .replaceAll(' ', '-')}`,
    );
    const links = [...document.matchAll(/\]\((#[^)]+)\)/g)].map(([, link]) => link);
    expect(links.length).toBeGreaterThan(10);
    expect(links.filter((link) => !headings.includes(link ?? ''))).toEqual([]);
  });
});
