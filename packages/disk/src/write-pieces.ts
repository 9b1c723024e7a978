import type { FileHandle } from "node:fs/promises";
import { type Awaitable, throwIfAborted } from "@layerfold/core";

/** Bytes that are made when their turn comes: at most `pieceBytes`, and not to be kept. */
export interface Piece {
  readonly length: number;
  /** Fills all of `target`, which has that length. */
  fill(target: Uint8Array): Awaitable<void>;
}

/** Largest piece: large enough that a call per piece costs little, small enough that those in work stay in the processor's caches. */
export const pieceBytes = 2 ** 20;

/** As many as Node has threads for the disk: one piece is written while others are read. */
const atOnce = 4;

/** Told to write early, the disk does not wait for the end of a large file. */
const syncEvery = 2 ** 27;

/**
 * Writes pieces one behind the other. Several are made and written at a time, so fills overlap; bytes that are there already are written
 * alone. Memory: four pieces. Of several errors the one of the foremost piece is thrown, when nothing is being written any more.
 *
 * @param pieces - asked for the next when there is room for it
 * @throws what pieces throw, INTERRUPTED, and what the file system says
 */
export async function writePieces(
  handle: FileHandle,
  pieces: AsyncIterable<Piece | Uint8Array>,
  signal?: AbortSignal,
): Promise<void> {
  const spare: Uint8Array[] = [];
  const running = new Set<Promise<void>>();
  const failures: { readonly position: number; readonly error: unknown }[] = [];
  let [position, unsynced] = [0, 0];
  let syncing: Promise<void> | undefined;

  const put = async (piece: Piece | Uint8Array, at: number) => {
    try {
      if (piece instanceof Uint8Array) {
        await writeFully(handle, piece, at);
      } else {
        const buffer = spare.pop() ?? new Uint8Array(pieceBytes);
        const target = buffer.subarray(0, piece.length);
        await piece.fill(target);
        await writeFully(handle, target, at);
        spare.push(buffer);
      }
      unsynced += piece.length;
      if (unsynced < syncEvery || syncing) return;
      unsynced = 0;
      await (syncing = handle.datasync());
      syncing = undefined;
    } catch (error) {
      failures.push({ position: at, error });
    }
  };
  const drain = async (left: number) => {
    while (running.size > left) await Promise.race(running);
  };

  try {
    for await (const piece of pieces) {
      throwIfAborted(signal);
      const alone = piece instanceof Uint8Array;
      await drain(alone ? 0 : atOnce - 1);
      if (failures.length > 0) break;
      const task = put(piece, position).finally(() => running.delete(task));
      running.add(task);
      position += piece.length;
      if (alone) await drain(0);
    }
  } catch (error) {
    failures.push({ position, error });
  }
  await drain(0);
  if (failures.length === 0) return;
  throw failures.reduce((first, other) => (other.position < first.position ? other : first)).error;
}

async function writeFully(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    // A single write(2) on Linux moves at most 2 GiB − 4 KiB.
    const length = Math.min(bytes.length - done, 2 ** 30);
    done += (await handle.write(bytes, done, length, position + done)).bytesWritten;
  }
}
