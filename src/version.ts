import { readFileSync } from 'node:fs';

/** As package.json has it, which stands one folder above both `src` and `dist`. */
export const version = (
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { readonly version: string }
).version;
