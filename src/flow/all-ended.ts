/** Waits for the end of all tasks, also where one of them failed: none may go on behind the answer. Throws what failed first in their order. */
export async function allEnded(tasks: readonly Promise<void>[]): Promise<void> {
  const ends = await Promise.allSettled(tasks);
  const failed = ends.find((end) => end.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}
