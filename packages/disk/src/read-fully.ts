import type { FileHandle } from "node:fs/promises";

/** A single read(2) on Linux moves at most 2 GiB − 4 KiB. */
const readLimit = 2 ** 30;

/**
 * Fills `bytes` with what stands in an open file from a position on.
 * @param tooShort - the error for a file that ends at this offset
 * @throws what `tooShort` gives, and what the file system says
 */
export async function readFully(
  handle: FileHandle,
  bytes: Uint8Array,
  position: number,
  tooShort: (end: number) => Error,
): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const length = Math.min(bytes.length - done, readLimit);
    const { bytesRead } = await handle.read(bytes, done, length, position + done);
    if (bytesRead === 0) throw tooShort(position + done);
    done += bytesRead;
  }
}
