import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Ajv, type AnySchema, type ErrorObject, type ValidateFunction } from 'ajv';
import { Ajv2019 } from 'ajv/dist/2019.js';
import { Ajv2020 } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import { BanyanError } from '../core/errors.ts';
import { isTableCapture, type Config } from '../config/schema.ts';

/** A JSON Schema that an event's `data` must satisfy. */
export interface Contract {
  /** As the configuration names it. */
  readonly path: string;
  /** What is violated, by place in schema and data and never by value; undefined where nothing is. */
  violation(data: unknown): string | undefined;
}

/** The contracts of a configuration by the path that `emit[].schema` has, and what is wrong with those that could not be loaded. */
export interface ContractSet {
  readonly contracts: ReadonlyMap<string, Contract>;
  readonly problems: ReadonlyMap<string, string>;
}

export const noContracts: ContractSet = { contracts: new Map(), problems: new Map() };

/** Reads every schema that the entries name; `directory` is the one of the configuration file. */
export async function loadContracts(capture: Config['capture'], directory: string): Promise<ContractSet> {
  const contracts = new Map<string, Contract>();
  const problems = new Map<string, string>();
  const paths = new Set(
    capture.flatMap((entry) => (isTableCapture(entry) ? (entry.emit ?? []).flatMap(({ schema }) => schema ?? []) : [])),
  );
  for (const path of paths) {
    const loaded = await loadContract(path, directory);
    if (typeof loaded === 'string') problems.set(path, loaded);
    else contracts.set(path, loaded);
  }
  return { contracts, problems };
}

/** The contract, or what is wrong with its file. */
async function loadContract(path: string, directory: string): Promise<Contract | string> {
  let text: string;
  try {
    text = await readFile(resolve(directory, path), 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
    return `${path} can not be read (${code}); the path starts at the configuration file`;
  }
  let schema: unknown;
  try {
    schema = JSON.parse(text);
  } catch {
    return `${path} is not JSON`;
  }
  try {
    return contractOf(path, schema);
  } catch (error) {
    return `${path} is not a valid JSON Schema: ${error instanceof Error ? error.message : 'it does not compile'}`;
  }
}

/** Throws an Error where the schema is none. `$schema` says which draft it is of; without one it is the newest. */
export function contractOf(path: string, schema: unknown): Contract {
  const validate = validatorOf(schema);
  return {
    path,
    violation(data) {
      if (validate(data)) return undefined;
      const error = validate.errors?.[0];
      return error === undefined ? 'the data does not satisfy the schema' : describe(error);
    },
  };
}

export function contractViolated(contract: Contract, violation: string): BanyanError {
  return new BanyanError('contract-violated', `${contract.path}: ${violation}`, { context: { schema: contract.path } });
}

function validatorOf(schema: unknown): ValidateFunction {
  if (typeof schema !== 'boolean' && (typeof schema !== 'object' || schema === null || Array.isArray(schema)))
    throw new TypeError('a schema is an object, or true or false');
  const draft = typeof schema === 'object' && '$schema' in schema ? schema.$schema : undefined;
  const options = { strict: false, allErrors: false };
  const ajv = draftOf(draft, options);
  formats.default(ajv);
  return ajv.compile(schema as AnySchema);
}

function draftOf(draft: unknown, options: { strict: boolean; allErrors: boolean }): Ajv {
  if (draft === undefined) return new Ajv2020(options);
  const name = typeof draft === 'string' ? draft.replace(/#$/, '') : '';
  switch (name) {
    case 'https://json-schema.org/draft/2020-12/schema':
      return new Ajv2020(options);
    case 'https://json-schema.org/draft/2019-09/schema':
      return new Ajv2019(options);
    case 'http://json-schema.org/draft-07/schema':
    case 'https://json-schema.org/draft-07/schema':
      return new Ajv(options);
    default:
      throw new TypeError('its $schema is neither draft 2020-12, 2019-09 nor draft-07');
  }
}

/** Ajv's messages name what the schema says, never what the data holds. */
function describe(error: ErrorObject): string {
  const place = error.instancePath === '' ? 'data' : `data${error.instancePath}`;
  return `${place} ${error.message ?? 'is not valid'} (${error.schemaPath})`;
}
