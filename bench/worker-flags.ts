/**
 * As the image and `npm run banyan` start the worker. V8 takes a share of the machine's memory as leave to grow, and collects late on a large
 * one: with these limits the peak says what the worker needs. The young generation must hold what is on its way (measured: with
 * semi-spaces of 8 MB instead of 16, rows survive into the old one, and CPU time per row doubles). The old one may grow by 60 %
 * before it is marked again: V8's own choice for a heap this small is a third, and then it marks all loaded code four times a second on
 * other threads (measured: a tenth of all CPU time more; with 100 % instead, 20 MB more memory for next to nothing).
 */
export const WORKER_FLAGS = [
  '--max-old-space-size=256',
  '--max-semi-space-size=16',
  '--heap-growing-percent=60',
] as const;
