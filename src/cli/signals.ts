/** The exit code of a process that a signal ended: 128 and the signal's number. */
const CODES = { SIGINT: 130, SIGTERM: 143 } as const;

export interface Shutdown {
  /** Aborts with the first SIGTERM or SIGINT; a second one ends the process at once. */
  readonly signal: AbortSignal;
  /** Gives the signals back to Node.js. */
  [Symbol.dispose](): void;
}

/** For commands that stay: the first signal asks them to stop, the second does not ask. */
export function shutdownOnSignal(): Shutdown {
  const controller = new AbortController();
  const listeners = Object.entries(CODES).map(([name, code]) => {
    const listener = () => {
      if (controller.signal.aborted) process.exit(code);
      controller.abort(new DOMException(`stopped by ${name}`, 'AbortError'));
    };
    process.on(name, listener);
    return { name, listener };
  });
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      for (const { name, listener } of listeners) process.off(name, listener);
    },
  };
}
