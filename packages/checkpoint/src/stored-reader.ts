import { type FileHandle, open } from "node:fs/promises";
import { bytesPerElement, decodeFloatsInto, LayerfoldError } from "@layerfold/core";
import { fileError, pieceBytes, readFully } from "@layerfold/disk";
import type { StoredTensor } from "./checkpoint.js";

/** Reads tensors from where they lie, into arrays that the caller has: nothing is allocated that is as large as a tensor. */
export interface StoredReader {
  /**
   * Fills `target` with the tensor's bytes from byte `start` on.
   * @throws SAFETENSORS_TRUNCATED where the file has become shorter; `fileError`'s codes
   */
  bytes(stored: StoredTensor, target: Uint8Array, start?: number): Promise<void>;
  /**
   * Fills `target` with the tensor's values from element `start` on, as float32: of a matrix [rows, columns] the rows from r on where `start`
   * is r · columns. Reading and decoding overlap.
   * @throws as `bytes`; DTYPE_UNSUPPORTED
   */
  floats(stored: StoredTensor, target: Float32Array, start?: number): Promise<void>;
  close(): Promise<void>;
}

/** Opens each file when a tensor of it is first asked for, and once. */
export function storedReader(): StoredReader {
  const handles = new Map<string, Promise<FileHandle>>();
  const handleOf = (file: string) => {
    const known = handles.get(file);
    if (known) return known;
    const opened = open(file, "r").catch((error) => {
      throw fileError(error, file);
    });
    handles.set(file, opened);
    return opened;
  };
  return {
    bytes: async (stored, target, start) => readStored(await handleOf(stored.file), stored, target, start),
    floats: async (stored, target, start) =>
      readStoredFloats(await handleOf(stored.file), stored, target, start),
    async close() {
      for (const opened of await Promise.allSettled(handles.values())) {
        if (opened.status === "fulfilled") await opened.value.close();
      }
      handles.clear();
    },
  };
}

/** Bytes at a position of a safetensors file. @throws SAFETENSORS_TRUNCATED */
export function readAt(handle: FileHandle, bytes: Uint8Array, position: number, file: string): Promise<void> {
  return readFully(handle, bytes, position, (end) => {
    const wanted = `${position + bytes.length} bytes`;
    return new LayerfoldError("SAFETENSORS_TRUNCATED", "the file ends too early", {
      wanted,
      got: `${end}`,
      where: file,
    });
  });
}

/** `StoredReader.bytes`, of an open file. */
export function readStored(
  handle: FileHandle,
  { file, byteOffset }: StoredTensor,
  target: Uint8Array,
  start = 0,
): Promise<void> {
  return readAt(handle, target, byteOffset + start, file);
}

/** Pieces that are read while one is decoded. */
const ahead = 2;

/** `StoredReader.floats`, of an open file. */
export async function readStoredFloats(
  handle: FileHandle,
  stored: StoredTensor,
  target: Float32Array,
  start = 0,
): Promise<void> {
  const { dtype } = stored;
  const size = bytesPerElement(dtype);
  if (dtype === "float32") {
    await readStored(
      handle,
      stored,
      new Uint8Array(target.buffer, target.byteOffset, target.byteLength),
      4 * start,
    );
    return;
  }
  const step = pieceBytes / size;
  let next = 0;
  const decode = async () => {
    const buffer = new Uint8Array(Math.min(target.length - next, step) * size);
    do {
      const at = next;
      next += step;
      const part = target.subarray(at, at + step);
      const bytes = buffer.subarray(0, part.length * size);
      await readStored(handle, stored, bytes, (start + at) * size);
      decodeFloatsInto(bytes, dtype, part);
    } while (next < target.length);
  };
  const tasks = [decode()];
  while (tasks.length <= ahead && next < target.length) tasks.push(decode());
  // The file may be closed once this returns, so nothing may still be reading.
  const failed = (await Promise.allSettled(tasks)).find(({ status }) => status === "rejected");
  if (failed) throw (failed as PromiseRejectedResult).reason;
}
