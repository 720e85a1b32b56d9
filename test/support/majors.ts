import { binariesOf, type PostgresMajor } from '../../src/demo/embedded-postgres.ts';

/** Whether no binaries of it are installed on this platform; says so, since its tests are skipped then. */
export function isMissing(major: PostgresMajor): boolean {
  const missing = binariesOf(major) === undefined;
  if (missing) console.warn(`PostgreSQL ${major} is skipped: its binaries are not installed on this platform`);
  return missing;
}
