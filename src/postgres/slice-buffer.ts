/** Buffer's own methods without the argument handling of `toString` and `write`; Node.js has them on every Buffer, its types do not. */
export interface SliceBuffer extends Buffer {
  latin1Slice(start: number, end: number): string;
  utf8Slice(start: number, end: number): string;
  latin1Write(text: string, start: number, length: number): number;
  utf8Write(text: string, start: number, length: number): number;
}

/** Up to this size a loop over the bytes of a value is faster than the UTF-8 decoder, whose vector instructions win above it. */
export const SCANNED_BYTES = 96;

/** As `readInt32BE`, without its checks. */
export function int32At(bytes: Buffer, offset: number): number {
  return (
    ((bytes[offset] as number) << 24) |
    ((bytes[offset + 1] as number) << 16) |
    ((bytes[offset + 2] as number) << 8) |
    (bytes[offset + 3] as number)
  );
}
