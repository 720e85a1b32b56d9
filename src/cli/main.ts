#!/usr/bin/env node
import { runCli } from './program.ts';

// `banyan preview … | head` closes the pipe: that is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

process.exitCode = await runCli(process.argv.slice(2), process);

// Whatever still holds the process when its command has ended (a kept-alive socket) must not hold it for long.
setTimeout(() => process.exit(), 1_000).unref();
