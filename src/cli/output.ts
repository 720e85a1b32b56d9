import { styleText } from 'node:util';

export type Style = 'bold' | 'dim' | 'red' | 'yellow' | 'green' | 'cyan';

/** Where a command writes. Results go to stdout, what is said about them to stderr, so that pipes carry results only. */
export interface Output {
  /** `--json`: results as JSON, no prose. */
  readonly json: boolean;
  /** Writes text as it is, where stdout is a terminal that can be drawn over; undefined elsewhere. */
  readonly draw?: ((text: string) => void) | undefined;
  /** A line of a result. */
  line(text?: string): void;
  /** A result as one line of JSON. */
  value(value: unknown): void;
  /** A line about the result; silent with `--json`. */
  note(text?: string): void;
  /** Colours text where stdout is a terminal that wants them (NO_COLOR is heeded). */
  paint(style: Style | readonly Style[], text: string): string;
}

export function createOutput(options: {
  readonly json: boolean;
  readonly stdout: NodeJS.WritableStream;
  readonly stderr: NodeJS.WritableStream;
}): Output {
  const { json, stdout, stderr } = options;
  return {
    json,
    draw: 'isTTY' in stdout && stdout.isTTY === true ? (text) => void stdout.write(text) : undefined,
    line: (text = '') => void stdout.write(`${text}\n`),
    value: (value) => void stdout.write(`${JSON.stringify(value)}\n`),
    note: (text = '') => void (json || stderr.write(`${text}\n`)),
    paint: (style, text) => styleText(typeof style === 'string' ? style : [...style], text, { stream: stdout }),
  };
}

/** Indents every line of a text. */
export function indent(text: string, by: number): string {
  return text
    .split('\n')
    .map((line) => (line === '' ? line : ' '.repeat(by) + line))
    .join('\n');
}

/** Columns as wide as their widest cell; the last one is not padded. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, column) => (widths[column] = Math.max(widths[column] ?? 0, cell.length)));
  }
  return rows.map((row) =>
    row
      .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
}

/** `1 row`, `2 rows`, `1,234 rows`. */
export function count(number: number, singular: string, plural = `${singular}s`): string {
  return `${number.toLocaleString('en-US')} ${number === 1 ? singular : plural}`;
}
