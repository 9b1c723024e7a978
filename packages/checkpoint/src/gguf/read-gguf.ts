import { type FileHandle, open } from "node:fs/promises";
import { elementCount, LayerfoldError } from "@layerfold/core";
import { fileError, readFully, requireRegularFile } from "@layerfold/disk";
import { lfsPointerBytes, refuseLfsPointer } from "../lfs-pointer.js";
import { dequantize, type GgmlType, ggmlByteLength, ggmlTypeOf } from "./dequantize.js";
import { headerOfGguf } from "./header-of-gguf.js";

/** One tensor of a GGUF file. */
export interface GgufTensor {
  readonly name: string;
  /** Row-major, as in PyTorch (GGUF writes it the other way round). */
  readonly shape: readonly number[];
  readonly type: GgmlType;
}

/** A GGUF file of which only the metadata are in memory. */
export interface GgufFile {
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
  /** Values as float32, row-major: all, or `count` from element `first` on, which are whole blocks of the tensor's type. */
  read(name: string, first?: number, count?: number): Promise<Float32Array>;
  close(): Promise<void>;
}

/**
 * Opens a GGUF file.
 * @throws FILE_MISSING, FILE_IS_FOLDER, GGUF_INVALID (magic, version, header), GGUF_TYPE_UNKNOWN, GGUF_TRUNCATED (a tensor beyond the file's end)
 */
export async function readGguf(file: string): Promise<GgufFile> {
  const handle = await requireRegularFile(file)
    .then(() => open(file, "r"))
    .catch((error) => {
      throw fileError(error, file);
    });
  try {
    const { metadata, tensors } = await parse(handle, file);
    return {
      metadata,
      tensors,
      async read(name, first = 0, count) {
        const { type, shape, offset: start } = tensors.get(name)!;
        const where = `${file}, tensor ${name}`;
        const offset = start + ggmlByteLength(type, first, where);
        const byteLength = ggmlByteLength(type, count ?? elementCount(shape) - first, where);
        const bytes = new Uint8Array(byteLength);
        await readFully(handle, bytes, offset, (end) => truncated(file, name, offset + byteLength, end));
        return dequantize(type, bytes);
      },
      close: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw fileError(error, file);
  }
}

async function parse(handle: FileHandle, file: string) {
  const begin = Buffer.alloc(lfsPointerBytes);
  await handle.read(begin, 0, begin.length, 0);
  refuseLfsPointer(begin, file);
  const { size } = await handle.stat();
  const { metadata, tensors: infos, dataStart } = await headerOfGguf(handle, size, file);
  const tensors = new Map<string, GgufTensor & { offset: number }>();
  for (const { name, shape: reversed, type: number, offset: relative } of infos) {
    const where = `${file}, tensor ${name}`;
    if (tensors.has(name)) throw new LayerfoldError("GGUF_INVALID", "a tensor is there twice", { where });
    const type = ggmlTypeOf(number, where);
    const shape = reversed.toReversed();
    const byteLength = ggmlByteLength(type, elementCount(shape), where);
    const offset = dataStart + relative;
    if (offset + byteLength > size) throw truncated(file, name, offset + byteLength, size);
    tensors.set(name, { name, shape, type, offset });
  }
  return { metadata, tensors };
}

function truncated(file: string, name: string, wanted: number, got: number): LayerfoldError {
  return new LayerfoldError("GGUF_TRUNCATED", "a tensor lies beyond the end of the file", {
    wanted: `${wanted} bytes`,
    got: `${got}`,
    where: `${file}, tensor ${name}`,
  });
}
