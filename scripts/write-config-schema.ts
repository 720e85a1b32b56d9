/**
 * Writes config/banyan.schema.json from the zod schema; with `--check` it only compares and fails where the file is stale.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { configJsonSchemaText } from '../src/config/json-schema.ts';

const file = new URL('../config/banyan.schema.json', import.meta.url);
const text = configJsonSchemaText();

if (process.argv.includes('--check')) {
  const current = await readFile(file, 'utf8').catch(() => undefined);
  if (current !== text) {
    console.error(
      'config/banyan.schema.json is not what src/config/schema.ts says: run `npm run schema` and commit it',
    );
    process.exitCode = 1;
  }
} else {
  await writeFile(file, text);
}
