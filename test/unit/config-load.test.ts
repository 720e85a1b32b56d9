import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadConfig, parseConfig, type LoadedConfig } from '../../src/config/load.ts';
import { BanyanError } from '../../src/core/errors.ts';

const MINIMAL = `
name: shop
legacy: { url: "postgresql://u@h/db" }
bus: { type: local }
capture: [{ table: public.orders }]
`;

let folder: string;
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'banyan-config-'))));
afterAll(() => rm(folder, { recursive: true }));

function parse(text: string, env: Record<string, string> = {}): Promise<LoadedConfig> {
  return parseConfig(text, { file: undefined, env });
}

async function refusal(text: string, env: Record<string, string> = {}): Promise<string> {
  const error = await parse(text, env).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(BanyanError);
  expect((error as BanyanError).kind).toBe('config');
  return (error as BanyanError).message;
}

async function file(name: string, connector: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, MINIMAL.replace('shop', connector));
  return path;
}

describe('where the configuration comes from', () => {
  test('--config goes before BANYAN_CONFIG, which goes before BANYAN_CONFIG_YAML', async () => {
    const named = await file('named.yaml', 'named');
    const byEnvironment = await file('environment.yaml', 'environment');
    const env = { BANYAN_CONFIG: byEnvironment, BANYAN_CONFIG_YAML: MINIMAL.replace('shop', 'inline') };
    expect((await loadConfig({ file: named, env })).config.name).toBe('named');
    expect((await loadConfig({ env })).config.name).toBe('environment');
    const inline = await loadConfig({ env: { ...env, BANYAN_CONFIG: '' } });
    expect(inline.config.name).toBe('inline');
    expect(inline.file).toBeUndefined();
    expect(inline.directory).toBe(process.cwd());
  });

  test('a missing file is named, with how it came to be read', async () => {
    const home = process.cwd();
    process.chdir(folder);
    try {
      await expect(loadConfig({ env: {} })).rejects.toThrow(/config\/banyan\.yaml \(read by default\) can not/);
    } finally {
      process.chdir(home);
    }
    await expect(loadConfig({ env: { BANYAN_CONFIG: '/nowhere.yaml' } })).rejects.toThrow(/named by BANYAN_CONFIG/);
    await expect(loadConfig({ file: folder, env: {} })).rejects.toThrow(/it is a folder/);
  });

  test('relative files start at the configuration file', async () => {
    const path = join(folder, 'relative.yaml');
    await writeFile(join(folder, 'placed.json'), '{}');
    await writeFile(join(folder, 'ca.pem'), '');
    await writeFile(
      path,
      `name: shop
legacy: { url: "postgresql://u@h/db", tls: { mode: verify-ca, ca: ca.pem } }
bus: { type: local }
capture:
  - { table: public.orders, emit: [{ on: insert, detailType: Placed, schema: ./placed.json }] }`,
    );
    const { config, directory } = await loadConfig({ file: path, env: {} });
    expect(directory).toBe(folder);
    expect(config.legacy.tls?.ca).toBe(join(folder, 'ca.pem'));
    expect(config.capture[0]).toMatchObject({ emit: [{ schema: './placed.json' }] });
  });

  test('a file that is not there is a problem of its path', async () => {
    const message = await refusal(`${MINIMAL}  `.replace('orders }', 'orders, transform: ./gone.ts }'));
    expect(message).toContain('capture[0].transform (line 5): a file that can not be read');
    expect(message).toContain(resolve('gone.ts'));
  });
});

describe('the environment', () => {
  test('a value from the environment becomes the number or boolean that the option wants', async () => {
    const { config } = await parse(
      `name: shop
legacy: { url: "\${URL}", slot: { manage: "\${MANAGE}" } }
bus: { type: local, concurrency: "\${N}", linger: "\${N}ms" }
http: { token: "\${TOKEN}" }
capture: [{ table: public.orders, detail: { version: { value: "\${N}" } } }]`,
      { URL: 'postgresql://u@h/db', MANAGE: 'false', N: '7', TOKEN: '1234567890123456' },
    );
    expect(config.legacy.slot.manage).toBe(false);
    expect(config.bus.concurrency).toBe(7);
    expect(config.bus.linger).toBe(7);
    // An option that is a text stays one, however much it looks like a number; so does a constant.
    expect(config.http.token).toBe('1234567890123456');
    expect(config.capture[0]).toMatchObject({ detail: { version: { value: '7' } } });
  });

  test('a quoted number in the file itself is not coerced', async () => {
    expect(await refusal(MINIMAL.replace('type: local', 'type: local, concurrency: "7"'))).toContain(
      'bus.concurrency (line 4): a text\n      write a number: PutEvents calls in flight',
    );
  });

  test('a default is taken where a variable is unset or empty', async () => {
    const text = MINIMAL.replace('shop', '${NAME:-fallback}');
    expect((await parse(text)).config.name).toBe('fallback');
    expect((await parse(text, { NAME: '' })).config.name).toBe('fallback');
    expect((await parse(text, { NAME: 'given' })).config.name).toBe('given');
  });

  test('what becomes empty is as if it were not written', async () => {
    const { config } = await parse(`${MINIMAL}maskKey: \${KEY:-}\nstate: { url: "\${STATE}" }\n`, { STATE: '' });
    expect(config.maskKey).toBeUndefined();
    expect(config.state).toEqual({ schema: 'banyan' });
  });

  test('every missing variable is named once, at its place', async () => {
    const message = await refusal(
      MINIMAL.replace('"postgresql://u@h/db"', '"${LEGACY_URL}"').replace('shop', '${A}-${B}'),
    );
    expect(message).toContain('has 2 problems');
    expect(message).toContain('name (line 2): the environment variable A, B is not set');
    expect(message).toContain('legacy.url (line 3): the environment variable LEGACY_URL is not set');
  });

  test('a required option that an empty variable took away names the variable', async () => {
    const message = await refusal(MINIMAL.replace('"postgresql://u@h/db"', '"${LEGACY_URL}"'), { LEGACY_URL: '' });
    expect(message).toContain('legacy.url (line 3): missing, since the environment variable LEGACY_URL is empty');
  });

  test('values are not substituted twice, and $${ is a literal ${', async () => {
    const { config } = await parse(
      MINIMAL.replace('orders }', () => 'orders, detail: { a: { value: "${A}" }, b: { value: "x$${A}" } } }'),
      { A: '${B}' },
    );
    expect(config.capture[0]).toMatchObject({ detail: { a: { value: '${B}' }, b: { value: 'x${A}' } } });
  });

  test('a broken placeholder is a problem of its path', async () => {
    expect(await refusal(MINIMAL.replace('shop', '"${A B}"'))).toContain('name (line 2): a `${` that is not followed');
  });

  test('BANYAN_HTTP_HOST overrides http.host, and a host beyond loopback needs a token', async () => {
    const env = { BANYAN_HTTP_HOST: '0.0.0.0' };
    expect(await refusal(MINIMAL, env)).toContain('http.token: missing, while BANYAN_HTTP_HOST opens the port');
    const { config } = await parse(`${MINIMAL}http: { token: "0123456789abcdef" }`, env);
    expect(config.http.host).toBe('0.0.0.0');
    expect(await refusal(`${MINIMAL}http: { host: "::" }`)).toContain('while http.host opens the port');
  });
});

describe('the file that is delivered as an example', () => {
  const example = resolve('config/banyan.example.yaml');

  test('loads without an error', async () => {
    const { config } = await loadConfig({ file: example, env: {} });
    expect(config.capture).toHaveLength(4);
  });

  test('names every option of the schema', async () => {
    const text = await readFile(example, 'utf8');
    const { configJsonSchema } = await import('../../src/config/json-schema.ts');
    const missing = [...optionNames(configJsonSchema())].filter((name) => !new RegExp(`\\b${name}:`).test(text));
    expect(missing).toEqual([]);
  });

  test('says the defaults where it says that it does', async () => {
    const minimal = (await parse(MINIMAL)).config;
    const { config } = await loadConfig({ file: example, env: {} });
    const { type: _type, name: _name, region: _region, ...bus } = minimal.bus;
    expect(config.bus).toMatchObject(bus);
    expect(config.http).toEqual(minimal.http);
    expect(config.state).toEqual(minimal.state);
    expect(config.capture[1]).toMatchObject({ holdLimit: (minimal.capture[0] as { holdLimit: object }).holdLimit });
  });
});

/** `$schema` is a comment in YAML files, and `rows` and the like are named as any option is. */
function optionNames(schema: unknown, names = new Set<string>()): Set<string> {
  if (Array.isArray(schema)) for (const item of schema) optionNames(item, names);
  if (typeof schema !== 'object' || schema === null) return names;
  for (const [key, value] of Object.entries(schema)) {
    if (key === 'properties') for (const name of Object.keys(value as object)) if (name !== '$schema') names.add(name);
    optionNames(value, names);
  }
  return names;
}

test('the JSON Schema beside it is fresh', async () => {
  const { configJsonSchemaText } = await import('../../src/config/json-schema.ts');
  expect(await readFile('config/banyan.schema.json', 'utf8')).toBe(configJsonSchemaText());
});

test('the JSON Schema takes the example and refuses a misspelt option', async () => {
  const [{ Ajv2020 }, { parse: parseYamlText }] = await Promise.all([import('ajv/dist/2020.js'), import('yaml')]);
  const schema = JSON.parse(await readFile('config/banyan.schema.json', 'utf8')) as object;
  const validate = new Ajv2020({ strict: false }).compile(schema);
  const example = parseYamlText(await readFile('config/banyan.example.yaml', 'utf8')) as Record<string, unknown>;
  expect(validate(example) ? [] : validate.errors).toEqual([]);
  expect(validate({ ...example, shutdownTimeot: '20s' })).toBe(false);
  expect(validate({ ...example, http: { port: '${PORT:-8080}' } })).toBe(true);
  expect(validate({ ...example, http: { port: 'eighty' } })).toBe(false);
});
