import { type FileHandle, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LayerfoldError } from "@layerfold/core";
import { checkFreeSpace } from "./free-space.js";
import { readFully } from "./read-fully.js";
import { scratchFolder } from "./temporary.js";

/** Float32 arrays by number: the first of them in memory, and the others in a temporary file. */
export interface FloatSpill {
  /** An array that replaces another must have its length. What is kept in memory is not copied. */
  put(index: number, values: Float32Array): Promise<void>;
  /** The array, or so many of its values from one on. Do not change it. */
  get(index: number, from?: number, count?: number): Promise<Float32Array>;
  /** Removes the file. */
  close(): Promise<void>;
}

export interface FloatSpillOptions {
  /** Bytes that are kept in memory; default 0. */
  readonly memoryBytes?: number | undefined;
  /** Bytes that will be put, to be sure that the disk has room for them; default: not known. */
  readonly expectedBytes?: number | undefined;
  /** What the values are, for whoever finds the file; default "streams". */
  readonly name?: string | undefined;
  /** Where the file lies; default: the system's folder for temporary files. */
  readonly folder?: string | undefined;
}

/**
 * Bytes of streams that a pass keeps in memory, of all that it may use: 256 MiB, and a quarter of what lies beyond 4 GiB.
 * @param memory - `RunContext.memory`
 */
export function streamMemory(memory = 0): number {
  return Math.max(2 ** 28, (memory - 2 ** 32) / 4);
}

/**
 * A new, empty spill. Close it whatever happens.
 * @throws DISK_FULL where what is expected finds no room; when values are put, too
 *
 * @example
 * ```ts
 * const spill = await openFloatSpill({ memoryBytes: 2 ** 20 });
 * await spill.put(0, Float32Array.of(1, 2, 3));
 * assert((await spill.get(0, 1, 2))[0] === 2);
 * await spill.close();
 * ```
 */
export async function openFloatSpill({
  memoryBytes = 0,
  expectedBytes = 0,
  name = "streams",
  folder: parent = tmpdir(),
}: FloatSpillOptions = {}): Promise<FloatSpill> {
  if (expectedBytes > memoryBytes) await checkFreeSpace(parent, expectedBytes - memoryBytes);
  const inMemory = new Map<number, Float32Array>();
  const onDisk = new Map<number, { readonly start: number; readonly length: number }>();
  let held = 0;
  let end = 0;
  let file: Promise<{ readonly folder: string; readonly handle: FileHandle }> | undefined;

  async function openFile() {
    const folder = await scratchFolder(name, parent);
    return { folder, handle: await open(join(folder, "values"), "w+") };
  }

  return {
    async put(index, values) {
      const known = inMemory.get(index)?.length ?? onDisk.get(index)?.length;
      if (known !== undefined && known !== values.length) {
        throw new LayerfoldError("TENSOR_SHAPE", `array ${index} has another length than before`, {
          wanted: `${known}`,
          got: `${values.length}`,
        });
      }
      if (inMemory.has(index) || (known === undefined && held + values.byteLength <= memoryBytes)) {
        if (known === undefined) held += values.byteLength;
        inMemory.set(index, values);
        return;
      }
      const slot = onDisk.get(index) ?? { start: end, length: values.length };
      if (known === undefined) {
        onDisk.set(index, slot);
        end += values.byteLength;
      }
      const { handle, folder } = await (file ??= openFile());
      const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      for (let written = 0; written < bytes.length; ) {
        const step = await handle
          .write(bytes, written, bytes.length - written, slot.start + written)
          .catch((cause: NodeJS.ErrnoException) => {
            if (cause.code !== "ENOSPC") throw cause;
            throw new LayerfoldError("DISK_FULL", "there is no room for what models leave between blocks", {
              wanted: `${end} bytes`,
              where: folder,
              fault: "environment",
              cause,
            });
          });
        written += step.bytesWritten;
      }
    },
    async get(index, from = 0, count) {
      const found = inMemory.get(index);
      if (found) {
        return from === 0 && count === undefined
          ? found
          : found.subarray(from, from + (count ?? found.length));
      }
      const slot = onDisk.get(index);
      if (!slot || !file) throw new LayerfoldError("TENSOR_MISSING", `no array ${index}`);
      const values = new Float32Array(count ?? slot.length - from);
      await readFully(
        (await file).handle,
        new Uint8Array(values.buffer),
        slot.start + 4 * from,
        (at) => new LayerfoldError("DISK_FAULT", "a temporary file became shorter", { got: `${at} bytes` }),
      );
      return values;
    },
    async close() {
      inMemory.clear();
      const opened = await file?.catch(() => undefined);
      file = undefined;
      if (!opened) return;
      await opened.handle.close();
      await rm(opened.folder, { recursive: true, force: true });
    },
  };
}
