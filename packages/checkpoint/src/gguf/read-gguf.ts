import { type FileHandle, open } from "node:fs/promises";
import { GGMLQuantizationType, gguf } from "@huggingface/gguf";
import { elementCount, LayerfoldError } from "@layerfold/core";
import { fileError } from "../file-error.js";
import { dequantize, type GgmlType, ggmlByteLength, ggmlTypes } from "./dequantize.js";

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
 * @throws FILE_MISSING, GGUF_INVALID (magic, version, metadata), GGUF_TYPE_UNKNOWN, GGUF_TRUNCATED (a tensor beyond the file's end)
 */
export async function readGguf(file: string): Promise<GgufFile> {
  const handle = await open(file, "r").catch((error) => {
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
        for (let done = 0; done < byteLength; ) {
          const { bytesRead } = await handle.read(
            bytes,
            done,
            Math.min(byteLength - done, 2 ** 30),
            offset + done,
          );
          if (bytesRead === 0) throw truncated(file, name, offset + byteLength, offset + done);
          done += bytesRead;
        }
        return dequantize(type, bytes);
      },
      close: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function parse(handle: FileHandle, file: string) {
  // The parser would wait for more data than there are in a stub of a file.
  const magic = new Uint8Array(4);
  await handle.read(magic, 0, 4, 0);
  if (Buffer.from(magic).toString("latin1") !== "GGUF") {
    throw new LayerfoldError("GGUF_INVALID", "not a GGUF file", {
      wanted: "the magic GGUF",
      where: `${file}, offset 0`,
    });
  }
  const parsed = await gguf(file, { allowLocalFile: true }).catch((cause: Error) => {
    throw new LayerfoldError("GGUF_INVALID", cause.message, { where: file, cause });
  });
  const { size } = await handle.stat();
  const dataStart = Number(parsed.tensorDataOffset);
  const tensors = new Map<string, GgufTensor & { offset: number }>();
  for (const { name, shape: reversed, dtype, offset: relative } of parsed.tensorInfos) {
    const where = `${file}, tensor ${name}`;
    const type = GGMLQuantizationType[dtype] as GgmlType | undefined;
    if (!type || !ggmlTypes.includes(type)) {
      throw new LayerfoldError("GGUF_TYPE_UNKNOWN", "unknown quantisation type", {
        wanted: ggmlTypes.join(", "),
        got: type ?? `${dtype}`,
        where,
      });
    }
    const shape = reversed.map(Number).reverse();
    const byteLength = ggmlByteLength(type, elementCount(shape), where);
    const offset = dataStart + Number(relative);
    if (offset + byteLength > size) throw truncated(file, name, offset + byteLength, size);
    tensors.set(name, { name, shape, type, offset });
  }
  return { metadata: parsed.metadata as Record<string, unknown>, tensors };
}

function truncated(file: string, name: string, wanted: number, got: number): LayerfoldError {
  return new LayerfoldError("GGUF_TRUNCATED", "a tensor lies beyond the end of the file", {
    wanted: `${wanted} bytes`,
    got: `${got}`,
    where: `${file}, tensor ${name}`,
  });
}
