/** What `run` throws, of the class that it must be; another error passes, and so does the failure to throw any. */
export function thrownBy<T extends Error>(run: () => unknown, expected: new (...args: never[]) => T): T {
  try {
    run();
  } catch (error) {
    if (error instanceof expected) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}
