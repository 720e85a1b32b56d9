import { cp, glob } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * What `tsc` leaves behind: files that the code reads beside itself at run time. They keep their place under `dist`, so that
 * `new URL('./…', import.meta.url)` finds them in both.
 */
const root = join(import.meta.dirname, '..');
let copied = 0;
for await (const file of glob('**/*.sql', { cwd: join(root, 'src') })) {
  await cp(join(root, 'src', file), join(root, 'dist', file));
  copied += 1;
}
if (copied === 0) throw new Error('no migration found under src: nothing to copy means that the build is broken');
console.log(`copied ${copied} ${copied === 1 ? 'asset' : 'assets'} to dist`);
