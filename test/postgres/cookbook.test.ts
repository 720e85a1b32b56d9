import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import type { Event } from '../../src/core/event.ts';
import { EmbeddedPostgres } from '../../src/demo/embedded-postgres.ts';
import { ScriptedPublisher } from '../support/scripted-publisher.ts';
import { makeBed } from '../support/worker-harness.ts';

interface Documented {
  readonly bus?: string;
  readonly detail: { readonly metadata: Readonly<Record<string, unknown>>; readonly previous?: unknown };
}

const document = await readFile(new URL('../../docs/cookbook.md', import.meta.url), 'utf8');
/** Every section but the last, which is about expressions and has nothing to run. */
const recipes = document
  .split(/^## /m)
  .slice(1)
  .map((section) => ({ title: section.slice(0, section.indexOf('\n')), section }))
  .filter(({ title }) => title !== 'Expressions');

let server: EmbeddedPostgres;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'banyan-cookbook-'));
  server = await EmbeddedPostgres.start();
});

afterAll(async () => {
  await server?.stop();
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
});

describe('the cookbook', () => {
  test('has the ten usual mappings, transform modules and outbox messages', () => {
    expect(recipes).toHaveLength(12);
  });

  test.each(recipes)('shows the events of: $title', async ({ title, section }) => {
    const documented = blocks(section, 'json').map((text) => JSON.parse(text) as Documented);
    expect(documented.length).toBeGreaterThan(0);
    const capture = parse(onlyBlock(section, 'yaml')) as Record<string, unknown>[];
    for (const entry of capture) {
      if (entry['transform'] === undefined) continue;
      const path = join(folder, 'transform.mjs');
      await writeFile(path, onlyBlock(section, 'js'));
      entry['transform'] = path;
    }
    const name = title.toLowerCase().replaceAll(/[^a-z]+/g, '_');
    await using bed = await makeBed(server, { name, setup: onlyBlock(section, 'sql setup') });
    const publisher = new ScriptedPublisher();
    await bed.start({ capture }, { publisher });
    await bed.sql(onlyBlock(section, 'sql change'));
    await bed.confirmed();
    const events = publisher.accepted.toSorted((a, b) => (a.sequence < b.sequence ? -1 : 1));
    expect(events.map((event, index) => abridged(event, documented[index]))).toEqual(documented);
  });
});

/** The event as the document has it: all of `data`, and of the rest what is documented. */
function abridged(event: Event, as: Documented | undefined): object {
  const detail = JSON.parse(event.detail) as { metadata: Record<string, unknown>; data: unknown; previous?: unknown };
  const metadata = Object.keys(as?.detail.metadata ?? {}).map((field) => [field, detail.metadata[field]] as const);
  return {
    source: event.source,
    'detail-type': event.detailType,
    ...(event.bus === undefined ? {} : { bus: event.bus }),
    detail: {
      metadata: Object.fromEntries(metadata),
      data: detail.data,
      ...(as?.detail.previous === undefined ? {} : { previous: detail.previous }),
    },
  };
}

function blocks(section: string, kind: string): string[] {
  return section
    .split(/^```/m)
    .filter((part, index) => index % 2 === 1 && part.startsWith(`${kind}\n`))
    .map((part) => part.slice(kind.length + 1));
}

function onlyBlock(section: string, kind: string): string {
  const [text, ...more] = blocks(section, kind);
  if (text === undefined || more.length > 0) throw new Error(`a recipe has one block of ${kind}`);
  return text;
}
