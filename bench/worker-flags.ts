/**
 * As the image and `npm run banyan` start the worker. V8 takes a share of the machine's memory as leave to grow, and collects late on a large
 * one: with these limits the peak says what the worker needs. The young generation must hold what is on its way (measured: with
 * semi-spaces of 8 MB instead of 16, rows survive into the old one, and CPU time per row doubles).
 */
export const WORKER_FLAGS = ['--max-old-space-size=256', '--max-semi-space-size=16'] as const;
