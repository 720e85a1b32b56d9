import type { Cell } from '../../src/core/change.ts';
import { WireRows } from '../../src/postgres/wire-rows.ts';

/** Rows as if the server had sent them: each value with its length before it, as a DataRow message has them. */
export function wireRows(rows: readonly (readonly Cell[])[]): WireRows {
  const wire = new WireRows(rows[0]?.length ?? 0);
  for (const row of rows) {
    const values = row.map((cell) => (typeof cell === 'string' ? Buffer.from(cell) : undefined));
    const parts = values.flatMap((value) => [int32(value?.length ?? -1), value ?? Buffer.alloc(0)]);
    const bytes = Buffer.concat([int16(row.length), ...parts]);
    wire.receive(bytes);
    const { start, end } = wire.unread;
    wire.keep(start, end);
  }
  return wire;
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}
