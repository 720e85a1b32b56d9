import { stringify } from 'yaml';
import { displayName, isPattern, parseTableName } from '../postgres/identifier.ts';
import type { CatalogTable } from '../postgres/table.ts';
import { count } from './output.ts';
import type { SurveyedTable } from './survey.ts';

export interface StarterOptions {
  readonly name: string;
  readonly database: string;
  readonly tables: readonly SurveyedTable[];
  /** Path of the JSON Schema from the file, for editors. */
  readonly schemaPath: string | undefined;
}

/** Values that nobody wants on a bus; such columns begin excluded. */
const SECRET = /passw(or)?d|passphrase|secret|api_?key|private_?key|token|salt|otp/i;
/** Values about a person; such columns are pointed at, since whether they may leave is not ours to say. */
const PERSONAL =
  /e?mail|phone|mobile|birth|iban|card|ssn|passport|tax_?id|street|address|first_?name|last_?name|full_?name/i;

const COMMENT_WIDTH = 112;

/** The text of a first configuration: short, with what can be said about each table beside it. */
export function starterConfig(options: StarterOptions): string {
  const { name, database, tables, schemaPath } = options;
  const usable = tables.filter(({ obstacle }) => obstacle === undefined);
  const others = tables.filter(({ obstacle }) => obstacle !== undefined);
  const first = firstToLookAt(tables);
  return [
    ...(schemaPath === undefined ? [] : [`# yaml-language-server: $schema=${schemaPath}`]),
    `# Written by \`banyan init\` from the catalog of database ${database}. Every option: config/banyan.example.yaml.`,
    '',
    `name: ${name} # slot and publication (banyan_${name.replaceAll('-', '_')}) and the source of events follow from it`,
    '',
    'legacy:',
    '  url: ${LEGACY_DATABASE_URL}',
    '  walBudget: 10GB # how much WAL our slot may hold on the server before it is reported',
    '',
    '# An EventBridge on this machine, started with the worker: nothing leaves it. Later, after `banyan infra`:',
    `#   bus: { type: eventbridge, name: ${name}-legacy, region: eu-west-1 }`,
    'bus:',
    '  type: local',
    `  name: ${name}-legacy`,
    '',
    '# Key of `mask: hash`, 16 or more random characters.',
    '# maskKey: ${BANYAN_MASK_KEY}',
    '',
    '# Without `detail` and `emit`, an entry makes <Name>Inserted, <Name>Updated and <Name>Deleted with every column under its own name.',
    `# See what rows become: banyan preview ${first === undefined ? 'TABLE' : shellWord(displayName(first))}`,
    'capture:',
    ...usable.flatMap(entryLines),
    ...others.flatMap(obstacleLines),
    '  # Ready-made events, which the application writes with pg_logical_emit_message(true, \'outbox\', \'{"detail-type": …, "detail": …}\'):',
    '  # - messages: outbox',
    '',
  ].join('\n');
}

/** The table with the most rows: its preview shows something. */
export function firstToLookAt(tables: readonly SurveyedTable[]): CatalogTable | undefined {
  const usable = tables.filter(({ obstacle }) => obstacle === undefined);
  return usable.toSorted((a, b) => (b.rows ?? 0) - (a.rows ?? 0))[0]?.table;
}

/** As one word of a shell's command line. */
export function shellWord(text: string): string {
  return /^[\w.:/@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** `Shop 2` becomes `shop-2`: what a connector may be called. */
export function connectorName(database: string): string {
  const name = database
    .toLowerCase()
    .replaceAll(/[^a-z0-9_]+/g, '-')
    .replaceAll(/^[^a-z]+|-+$/g, '')
    .slice(0, 41);
  return name === '' ? 'legacy' : name;
}

/** The name as `capture` has to have it: quoted where SQL would fold it, or where `*` would stand for others. */
export function captureName(table: Pick<CatalogTable, 'schema' | 'name'>): string {
  const shown = displayName(table);
  return isPattern(parseTableName(shown)) ? `"${table.schema}"."${table.name}"` : shown;
}

function entryLines({ table, rows }: SurveyedTable): string[] {
  const key = table.identityColumns;
  const names = table.columns.map(({ name }) => name).filter((name) => !key.includes(name));
  const secret = names.filter((name) => SECRET.test(name));
  const personal = names.filter((name) => PERSONAL.test(name) && !secret.includes(name));
  const size = rows === undefined ? 'never analysed' : `about ${count(Math.round(rows), 'row')}`;
  const kind = table.kind === 'partitioned' ? ', partitioned' : '';
  const identity =
    table.replicaIdentity === 'full'
      ? `replica identity full${table.primaryKey.length > 0 ? `, key ${table.primaryKey.join(', ')}` : ''}`
      : `key ${key.join(', ')}`;
  return [
    `  - table: ${inlineYaml(captureName(table))} # ${size}${kind}, ${identity}`,
    ...wrap(table.columns.map((column) => `${column.name} ${column.typeName}`)).map((line) => `    # ${line}`),
    ...(secret.length === 0 ? [] : [`    exclude: ${inlineYaml(secret)} # never sent: looks like a secret`]),
    ...(personal.length === 0
      ? []
      : [
          `    # Personal data? Sent but masked everywhere (last4 | hash | redact):`,
          `    # mask: ${inlineYaml(Object.fromEntries(personal.map((name) => [name, 'redact'])))}`,
        ]),
  ];
}

function obstacleLines({ table, obstacle }: SurveyedTable): string[] {
  return [
    ...wrap((obstacle?.message ?? '').split(' '), ' ').map((line) => `  # ${line}`),
    ...(obstacle?.remedy ?? '').split('\n').map((line) => `  #   ${line}`),
    `  # - table: ${inlineYaml(captureName(table))}`,
  ];
}

/** One line of YAML, quoted where it must be. */
function inlineYaml(value: unknown): string {
  return stringify(value, { collectionStyle: 'flow', lineWidth: 0, flowCollectionPadding: false }).trimEnd();
}

function wrap(words: readonly string[], separator = ', '): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of words) {
    const longer = line === '' ? word : line + separator + word;
    if (longer.length > COMMENT_WIDTH && line !== '') {
      lines.push(line + separator.trimEnd());
      line = word;
    } else {
      line = longer;
    }
  }
  return line === '' ? lines : [...lines, line];
}
