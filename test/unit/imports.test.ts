import { readdir, readFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { describe, expect, test } from 'vitest';

/**
 * Folders of src by floor. Imports point down; within a floor a folder imports only itself, but for `BESIDE`. Of the files that stand in src itself,
 * those of the composition root are `worker`, the others go by their name.
 */
const FLOORS: Readonly<Record<string, number>> = {
  core: 0,
  'version.ts': 0,
  flow: 1,
  config: 1,
  'local-bus': 1,
  postgres: 2,
  mapping: 2,
  bus: 2,
  state: 2,
  capture: 3,
  reverse: 3,
  progress: 3,
  http: 4,
  worker: 5,
  cli: 6,
  demo: 6,
  'index.ts': 6,
};

const ROOT = /^(worker(-[a-z-]+)?|status-board)\.ts$/;

/** Imports between folders of one floor that are meant. */
const BESIDE: ReadonlySet<string> = new Set(['mapping -> postgres', 'state -> postgres', 'demo -> cli']);

/** Packages that belong to one place. */
const OWNERS: readonly { readonly package: RegExp; readonly owner: RegExp }[] = [
  { package: /^pg-logical-replication$/, owner: /^postgres\/replication-stream\.ts$/ },
  { package: /^fauxqs/, owner: /^local-bus\// },
  { package: /^fastify/, owner: /^(http|local-bus)\// },
  { package: /^prom-client$/, owner: /^http\// },
  { package: /^commander$/, owner: /^(cli|demo)\// },
  { package: /^@aws-sdk\/client-(eventbridge|sqs)$/, owner: /^(bus|demo|cli)\// },
];

const MAX_LINES = 320;

interface Source {
  /** From src on, with `/`. */
  readonly path: string;
  readonly text: string;
}

interface Import {
  readonly from: string;
  /** A path from src on, or the name of a package. */
  readonly to: string;
  readonly isPackage: boolean;
  readonly typeOnly: boolean;
}

const src = join(import.meta.dirname, '..', '..', 'src');
const sources = await readSources();
const imports = sources.flatMap(importsOf);

async function readSources(): Promise<Source[]> {
  const files = await readdir(src, { recursive: true });
  const paths = files.filter((file) => file.endsWith('.ts')).map((file) => file.replaceAll('\\', '/'));
  return Promise.all(paths.map(async (path) => ({ path, text: await readFile(join(src, path), 'utf8') })));
}

/** Static and dynamic imports and re-exports, read from the text: the code has one form of each. */
function importsOf({ path, text }: Source): Import[] {
  const found: Import[] = [];
  const statement = /^(?:import|export)\s+(?:(type)\s+)?(?:[^'";]*?\sfrom\s+)?'([^']+)'/gm;
  const dynamic = /\bimport\(\s*'([^']+)'/g;
  for (const [, type, to] of text.matchAll(statement)) found.push(resolved(path, to ?? '', type === 'type'));
  for (const [, to] of text.matchAll(dynamic)) found.push(resolved(path, to ?? '', false));
  return found;
}

function resolved(from: string, to: string, typeOnly: boolean): Import {
  const isPackage = !to.startsWith('.');
  return { from, to: isPackage ? to : posix.normalize(posix.join(posix.dirname(from), to)), isPackage, typeOnly };
}

function folderOf(path: string): string {
  const [first = ''] = path.split('/');
  return first === path && ROOT.test(path) ? 'worker' : first;
}

function show({ from, to }: Import): string {
  return `${from} -> ${to}`;
}

function pointsDown({ from, to }: Import): boolean {
  const [here, there] = [folderOf(from), folderOf(to)];
  if (here === there || BESIDE.has(`${here} -> ${there}`)) return true;
  const [floor, below] = [FLOORS[here], FLOORS[there]];
  if (floor === undefined || below === undefined) return false;
  if (here === 'local-bus') return there === 'core';
  return below < floor;
}

describe('the source', () => {
  test('is read by this test: it finds the imports that are known to be there', () => {
    expect(sources.length).toBeGreaterThan(20);
    const known = imports.map(show);
    expect(known).toContain('core/event.ts -> core/lsn.ts');
    expect(known).toContain('state/state.ts -> state/migrate.ts');
    expect(known).toContain('http/server.ts -> fastify');
    expect(
      importsOf({ path: 'a/b.ts', text: "import type { A } from './c.ts';\nimport {\n  D,\n} from '../e/f.ts';\n" }),
    ).toEqual([
      { from: 'a/b.ts', to: 'a/c.ts', isPackage: false, typeOnly: true },
      { from: 'a/b.ts', to: 'e/f.ts', isPackage: false, typeOnly: false },
    ]);
    expect(
      importsOf({ path: 'a/b.ts', text: "import './g.ts';\nexport { h } from 'pg';\nawait import('fauxqs');" }),
    ).toHaveLength(3);
  });

  test('stands on known floors', () => {
    const unknown = new Set(sources.map(({ path }) => folderOf(path)).filter((folder) => FLOORS[folder] === undefined));
    expect([...unknown]).toEqual([]);
  });

  test('imports only downwards', () => {
    const upwards = imports.filter((each) => !each.isPackage && !pointsDown(each));
    expect(upwards.map(show)).toEqual([]);
  });

  test('has a core that needs nothing but the language', () => {
    const needs = imports.filter(
      ({ from, isPackage, typeOnly }) => folderOf(from) === 'core' && isPackage && !typeOnly,
    );
    expect(needs.map(show)).toEqual([]);
  });

  test('keeps each foreign package in its place', () => {
    const strays = imports.filter(({ from, to, isPackage, typeOnly }) =>
      OWNERS.some(({ package: name, owner }) => isPackage && !typeOnly && name.test(to) && !owner.test(from)),
    );
    expect(strays.map(show)).toEqual([]);
  });

  test('imports files that exist, with their suffix', () => {
    // A script of the page that the worker uses too has its types beside it.
    const paths = new Set(sources.map(({ path }) => path.replace(/\.d\.ts$/, '.js')));
    expect(imports.filter(({ to, isPackage }) => !isPackage && !paths.has(to)).map(show)).toEqual([]);
  });

  test('has no file that grew past reading', () => {
    const long = sources.filter(({ text }) => text.split('\n').length > MAX_LINES).map(({ path }) => path);
    expect(long).toEqual([]);
  });
});
