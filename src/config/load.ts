import { constants } from 'node:fs';
import { access, readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { BanyanError } from '../core/errors.ts';
import { substitute, type Environment, type Substituted } from './environment.ts';
import { explain, MISSING } from './explain.ts';
import { fit } from './fit.ts';
import { formatPath, pathKey, type Path, type Problem } from './problem.ts';
import { queueRegion, type ReverseParts } from './reverse-rules.ts';
import { reverse as reverseSchema } from './reverse-schema.ts';
import { busRegion, checkRules, type Parts } from './rules.ts';
import { configSchema, isTableCapture, type Config } from './schema.ts';
import { isObject } from './shape.ts';
import { parseYaml } from './yaml.ts';

export interface LoadedConfig {
  /** Complete: substituted, with defaults, `bus.region` and `reverse.region` resolved. */
  readonly config: Config;
  /** undefined: the text came from BANYAN_CONFIG_YAML. */
  readonly file: string | undefined;
  /** Where the relative paths of `transform` and `emit[].schema` start: the file's folder, or the working directory. */
  readonly directory: string;
}

export interface LoadOptions {
  /** `--config`. */
  readonly file?: string | undefined;
  readonly env: Environment;
}

export const DEFAULT_CONFIG_FILE = 'config/banyan.yaml';

/**
 * Reads the configuration from `file`, else the file that BANYAN_CONFIG names, else the text in BANYAN_CONFIG_YAML, else
 * `config/banyan.yaml`.
 *
 * @throws BanyanError `config` that lists every problem at once, each with path, line, what is wrong and what to do. Values are never
 * quoted: they may be secrets.
 */
export async function loadConfig(options: LoadOptions): Promise<LoadedConfig> {
  const source = await readSource(options);
  return parseConfig(source.text, { file: source.file, env: options.env });
}

/** As `loadConfig`, of a text that is there already. */
export async function parseConfig(
  text: string,
  source: { file: string | undefined; env: Environment },
): Promise<LoadedConfig> {
  const { file, env } = source;
  const directory = file === undefined ? process.cwd() : dirname(resolve(file));
  const yaml = parseYaml(text);
  if (yaml.syntax.length > 0) throw refusal(yaml.syntax, file);
  if (!isObject(yaml.document)) {
    throw refusal([`the text is ${yaml.document === null ? 'empty' : 'not an object (`key: value`)'}`], file);
  }
  const substituted = substitute(yaml.document, env);
  const document = withEnvironment(
    fit(configSchema, substituted.value, { touched: substituted.touched }) as Record<string, unknown>,
    env,
  );
  const parsed = configSchema.safeParse(document);
  const problems = [
    ...yaml.problems,
    ...substituted.problems,
    ...(parsed.success ? [] : blameEnvironment(explain(configSchema, document, parsed.error.issues), substituted)),
    ...checkRules(parts(document), env),
  ];
  const config = parsed.success ? finish(parsed.data, { directory, env }) : undefined;
  if (config !== undefined) problems.push(...(await missingFiles(config, directory)));
  if (config === undefined || problems.length > 0) {
    const placed = problems.map((problem) => ({ problem, line: yaml.lineOf(problem.path) }));
    placed.sort((a, b) => (a.line ?? 0) - (b.line ?? 0));
    throw refusal(
      placed.map(({ problem, line }) => sentence(problem, line)),
      file,
    );
  }
  return { config, file, directory };
}

async function readSource(options: LoadOptions): Promise<{ text: string; file: string | undefined }> {
  const { env } = options;
  const inline = env['BANYAN_CONFIG_YAML'];
  const named = options.file ?? (env['BANYAN_CONFIG'] === '' ? undefined : env['BANYAN_CONFIG']);
  if (named === undefined && inline !== undefined && inline !== '') return { text: inline, file: undefined };
  const file = named ?? DEFAULT_CONFIG_FILE;
  try {
    return { text: await readFile(file, 'utf8'), file };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable';
    const why = code === 'ENOENT' ? 'it does not exist' : code === 'EISDIR' ? 'it is a folder' : code;
    const by =
      options.file === undefined && named !== undefined
        ? ' (named by BANYAN_CONFIG)'
        : named === undefined
          ? ' (read by default)'
          : '';
    throw new BanyanError('config', `the configuration file ${file}${by} can not be read: ${why}`, {
      cause: error,
      remedy: '`banyan init` writes a first one; or name yours with `--config FILE` or BANYAN_CONFIG',
    });
  }
}

/** The image sets BANYAN_HTTP_HOST, since inside a container loopback is nobody's network. */
function withEnvironment(document: Record<string, unknown>, env: Environment): Record<string, unknown> {
  const host = env['BANYAN_HTTP_HOST'];
  const http = document['http'] ?? {};
  return host === undefined || host === '' || !isObject(http) ? document : { ...document, http: { ...http, host } };
}

function parts(document: Readonly<Record<string, unknown>>): Parts {
  const { legacy, state, bus, http, capture } = configSchema.shape;
  const entries = Array.isArray(document['capture']) ? (document['capture'] as unknown[]) : [];
  return {
    legacy: legacy.safeParse(document['legacy']).data,
    state: state.safeParse(document['state']).data,
    bus: bus.safeParse(document['bus']).data,
    http: http.safeParse(document['http']).data,
    capture: entries.map((entry) => capture.element.safeParse(entry).data),
    reverse: reverseParts(document['reverse']),
    hasMaskKey: document['maskKey'] !== undefined,
  };
}

function reverseParts(section: unknown): ReverseParts | undefined {
  if (!isObject(section)) return undefined;
  const { queue, region, endpoint, apply } = reverseSchema.shape;
  const entries = Array.isArray(section['apply']) ? (section['apply'] as unknown[]) : [];
  return {
    queue: queue.safeParse(section['queue']).data,
    region: region.safeParse(section['region']).data,
    endpoint: endpoint.safeParse(section['endpoint']).data,
    apply: entries.map((entry) => apply.element.safeParse(entry).data),
  };
}

/** Where an option is missing because of the environment, the variable is the news. */
function blameEnvironment(problems: readonly Problem[], substituted: Substituted): Problem[] {
  return problems.flatMap((problem) => {
    const key = pathKey(problem.path);
    if (substituted.unresolved.has(key)) return [];
    const names = substituted.emptied.get(key);
    if (names === undefined || problem.message !== MISSING) return [problem];
    const message = `missing, since the environment variable ${names.join(', ')} is empty or not set`;
    return [{ path: problem.path, message, remedy: `set ${names.join(', ')}` }];
  });
}

/**
 * The regions are settled, and the CA's file is absolute, so that whoever connects need not know where the configuration came from. The files of
 * mappings stay as they are written, since messages name them; who reads them starts at `directory`.
 */
function finish(config: Config, place: { directory: string; env: Environment }): Config {
  const region = busRegion(config.bus, place.env);
  const { tls } = config.legacy;
  const { reverse } = config;
  const backRegion = reverse === undefined ? undefined : queueRegion(reverse, region);
  return {
    ...config,
    legacy:
      tls?.ca === undefined
        ? config.legacy
        : { ...config.legacy, tls: { ...tls, ca: resolve(place.directory, tls.ca) } },
    bus: region === undefined ? config.bus : { ...config.bus, region },
    ...(reverse === undefined || backRegion === undefined ? {} : { reverse: { ...reverse, region: backRegion } }),
  };
}

async function missingFiles(config: Config, directory: string): Promise<Problem[]> {
  const files: { path: Path; file: string }[] = [];
  const add = (path: Path, file: string | undefined) => {
    if (file !== undefined) files.push({ path, file: resolve(directory, file) });
  };
  add(['legacy', 'tls', 'ca'], config.legacy.tls?.ca);
  config.capture.forEach((entry, index) => {
    if (!isTableCapture(entry)) return;
    add(['capture', index, 'transform'], entry.transform);
    entry.emit?.forEach((rule, number) => add(['capture', index, 'emit', number, 'schema'], rule.schema));
  });
  const problems = await Promise.all(
    files.map(async ({ path, file }) => {
      const readable = await access(file, constants.R_OK).then(
        () => true,
        () => false,
      );
      return readable
        ? []
        : [{ path, message: 'a file that can not be read', remedy: `put it at ${file}, or mend the path` }];
    }),
  );
  return problems.flat();
}

function sentence(problem: Problem, line: number | undefined): string {
  const path = formatPath(problem.path);
  const place = [path === '' ? 'the file' : path, line === undefined ? '' : ` (line ${line})`].join('');
  return problem.remedy === undefined
    ? `${place}: ${problem.message}`
    : `${place}: ${problem.message}\n      ${problem.remedy}`;
}

function refusal(sentences: readonly string[], file: string | undefined): BanyanError {
  const what = file ?? 'BANYAN_CONFIG_YAML';
  const count = sentences.length === 1 ? 'a problem' : `${sentences.length} problems`;
  return new BanyanError('config', `${what} has ${count}:\n${sentences.map((line) => `  - ${line}`).join('\n')}`, {
    context: { file: what, problems: sentences.length },
    remedy: `mend ${what} and start again`,
  });
}
