import { cp, glob } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * What `tsc` leaves behind: files that the code reads beside itself at run time. They keep their place under `dist`, so that
 * `new URL('./…', import.meta.url)` finds them in both.
 */
const ASSETS: Readonly<Record<string, string>> = {
  'the migrations': '**/*.sql',
  'the page': 'http/page/*.{html,js,css,svg,woff2}',
};

const root = join(import.meta.dirname, '..');
let copied = 0;
for (const [what, pattern] of Object.entries(ASSETS)) {
  const before = copied;
  for await (const file of glob(pattern, { cwd: join(root, 'src') })) {
    await cp(join(root, 'src', file), join(root, 'dist', file));
    copied += 1;
  }
  if (copied === before) throw new Error(`${what}: no ${pattern} under src, which means that the build is broken`);
}
console.log(`copied ${copied} ${copied === 1 ? 'asset' : 'assets'} to dist`);
