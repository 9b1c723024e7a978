import { type FileHandle, open, realpath } from "node:fs/promises";
import {
  type Awaitable,
  bytesPerElement,
  type DType,
  elementCount,
  errorWithin,
  isLayerfoldError,
  LayerfoldError,
  quoted,
  type Tensor,
  tensor,
  throwIfAborted,
} from "@layerfold/core";
import {
  cloneWholeFile,
  fileError,
  type Piece,
  pieceBytes,
  requireRegularFile,
  writePieces,
  writeWholeFile,
} from "@layerfold/disk";
import type { StoredTensor } from "./checkpoint.js";
import { duplicateKey } from "./duplicate-key.js";
import { lfsPointerBytes, refuseLfsPointer } from "./lfs-pointer.js";
import { readAt, readStored, readStoredFloats } from "./stored-reader.js";

// The reference reader's own bound.
const headerLimit = 100_000_000;

/** Names in the file, in the order in which the reference writer sorts: widest elements first. */
const dtypeNames = {
  U64: "uint64",
  I64: "int64",
  F64: "float64",
  F32: "float32",
  U32: "uint32",
  I32: "int32",
  BF16: "bfloat16",
  F16: "float16",
  U16: "uint16",
  I16: "int16",
  F8_E4M3: "float8_e4m3",
  F8_E5M2: "float8_e5m2",
  I8: "int8",
  U8: "uint8",
  BOOL: "bool",
} as const satisfies Record<string, DType>;
const writtenNames = Object.fromEntries(Object.entries(dtypeNames).map(([name, dtype]) => [dtype, name]));
const dtypeOrder: readonly DType[] = Object.values(dtypeNames);

/** One safetensors file, of which only the header is in memory. */
export interface SafetensorsFile {
  /** Absolute path with symbolic links resolved. */
  readonly file: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Values as float32. @throws TENSOR_MISSING, DTYPE_UNSUPPORTED */
  read(name: string): Promise<Tensor<Float32Array>>;
  /** The stored bytes, or `length` of them from `start` on. @throws TENSOR_MISSING */
  readBytes(name: string, start?: number, length?: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/**
 * Opens a safetensors file: reads and checks the header, nothing else. Bytes are read by position when asked.
 *
 * @throws FILE_MISSING, SAFETENSORS_TRUNCATED, SAFETENSORS_HEADER (limit, JSON, fields), SAFETENSORS_DUPLICATE, SAFETENSORS_DTYPE,
 * SAFETENSORS_LENGTH (bytes against shape), SAFETENSORS_LAYOUT (hole, overlap, uncovered bytes), each naming file, tensor and offset
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  let handle: FileHandle | undefined;
  try {
    const file = await realpath(path);
    await requireRegularFile(file);
    handle = await open(file, "r");
    const { metadata, tensors } = await readHeader(handle, file);
    return reader(file, handle, metadata, tensors);
  } catch (error) {
    await handle?.close();
    throw fileError(error, path);
  }
}

function reader(
  file: string,
  handle: FileHandle,
  metadata: Record<string, string>,
  tensors: ReadonlyMap<string, StoredTensor>,
): SafetensorsFile {
  const find = (name: string) => {
    const stored = tensors.get(name);
    if (!stored) throw new LayerfoldError("TENSOR_MISSING", `no tensor ${name}`, { where: file });
    return stored;
  };
  async function readBytes(name: string, start = 0, length = find(name).byteLength - start) {
    const bytes = new Uint8Array(length);
    await readStored(handle, find(name), bytes, start);
    return bytes;
  }
  return {
    file,
    metadata,
    tensors,
    readBytes,
    async read(name) {
      const stored = find(name);
      const values = new Float32Array(elementCount(stored.shape));
      await readStoredFloats(handle, stored, values);
      return tensor(values, stored.shape);
    },
    close: () => handle.close(),
  };
}

async function readHeader(handle: FileHandle, file: string) {
  const { size } = await handle.stat();
  const lengthBytes = new Uint8Array(8);
  await readAt(handle, lengthBytes, 0, file);
  const headerLength = new DataView(lengthBytes.buffer).getBigUint64(0, true);
  if (headerLength > headerLimit) {
    const begin = new Uint8Array(Math.min(size, lfsPointerBytes));
    await readAt(handle, begin, 0, file);
    refuseLfsPointer(begin, file);
    throw new LayerfoldError("SAFETENSORS_HEADER", "the header is larger than the format allows", {
      wanted: `at most ${headerLimit} bytes`,
      got: `${headerLength}`,
      where: `${file}, offset 0`,
    });
  }
  const headerBytes = new Uint8Array(Number(headerLength));
  await readAt(handle, headerBytes, 8, file);
  const dataStart = 8 + headerBytes.length;
  const { metadata, entries } = parseHeader(headerBytes, file);
  const tensors = new Map<string, StoredTensor>();
  for (const [name, entry] of entries) tensors.set(name, parseEntry(name, entry, file, dataStart));
  checkLayout(tensors, dataStart, size, file);
  return { metadata, tensors };
}

function parseHeader(bytes: Uint8Array, file: string) {
  const bad = (message: string, got?: string, cause?: unknown) =>
    new LayerfoldError("SAFETENSORS_HEADER", message, { got, where: `${file}, offset 8`, cause });
  if (bytes[0] !== 0x7b) throw bad("the header does not begin with {");
  let text: string;
  let header: Record<string, unknown>;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    header = JSON.parse(text);
  } catch (cause) {
    throw bad("the header is not JSON", (cause as Error).message, cause);
  }
  const twice = duplicateKey(text);
  if (twice !== undefined) {
    throw new LayerfoldError("SAFETENSORS_DUPLICATE", `the header names ${twice} twice`, { where: file });
  }
  const { __metadata__: metadata = {}, ...rest } = header;
  if (!isRecord(metadata) || !Object.values(metadata).every((value) => typeof value === "string")) {
    throw bad("__metadata__ must map strings to strings", quoted(metadata));
  }
  return { metadata: metadata as Record<string, string>, entries: Object.entries(rest) };
}

function parseEntry(name: string, entry: unknown, file: string, dataStart: number): StoredTensor {
  const where = `${file}, tensor ${name}`;
  const natural = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
  const { dtype: dtypeName, shape, data_offsets: offsets } = isRecord(entry) ? entry : {};
  const complete = typeof dtypeName === "string" && Array.isArray(shape) && Array.isArray(offsets);
  if (!complete || !shape.every(natural) || offsets.length !== 2 || !offsets.every(natural)) {
    throw new LayerfoldError("SAFETENSORS_HEADER", "a tensor needs a dtype, a shape and two data_offsets", {
      got: quoted(entry),
      where,
    });
  }
  // Own names only: every object has a "constructor".
  const dtype = Object.hasOwn(dtypeNames, dtypeName) && dtypeNames[dtypeName as keyof typeof dtypeNames];
  if (!dtype) {
    throw new LayerfoldError("SAFETENSORS_DTYPE", "unknown element type", {
      wanted: Object.keys(dtypeNames).join(", "),
      got: dtypeName,
      where,
    });
  }
  const [begin, end] = offsets as [number, number];
  const byteLength = elementCount(shape) * bytesPerElement(dtype);
  if (end - begin !== byteLength) {
    throw new LayerfoldError("SAFETENSORS_LENGTH", "the tensor's bytes do not fit its shape", {
      wanted: `${byteLength} bytes for ${dtypeName} [${shape.join(", ")}]`,
      got: `${end - begin}`,
      where: `${where}, offset ${dataStart + begin}`,
    });
  }
  return { name, dtype, shape, file, byteOffset: dataStart + begin, byteLength };
}

/** The tensors must tile the data: no hole, no overlap, nothing left over. */
function checkLayout(
  tensors: ReadonlyMap<string, StoredTensor>,
  dataStart: number,
  size: number,
  file: string,
) {
  const sorted = [...tensors.values()].sort(
    (a, b) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength,
  );
  let next = dataStart;
  for (const { name, byteOffset, byteLength } of sorted) {
    if (byteOffset !== next) {
      throw new LayerfoldError(
        "SAFETENSORS_LAYOUT",
        byteOffset < next ? "two tensors overlap" : "a hole between tensors",
        { wanted: `offset ${next}`, got: `offset ${byteOffset}`, where: `${file}, tensor ${name}` },
      );
    }
    next += byteLength;
  }
  if (size < next) {
    throw new LayerfoldError("SAFETENSORS_TRUNCATED", "the file ends too early", {
      wanted: `${next} bytes`,
      got: `${size}`,
      where: `${file}, tensor ${sorted.find((t) => t.byteOffset + t.byteLength > size)?.name}`,
    });
  }
  if (size > next) {
    throw new LayerfoldError("SAFETENSORS_LAYOUT", "bytes after the last tensor", {
      wanted: `${next} bytes`,
      got: `${size}`,
      where: `${file}, offset ${next}`,
    });
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A tensor to be written: all at once, or piece by piece. Values are row-major and little-endian, exactly as many as the shape asks for. */
export type TensorSource = WholeTensor | PiecewiseTensor;

interface TensorHead {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** Its bytes are asked for once, when its turn comes; no two such tensors are in memory. */
export interface WholeTensor extends TensorHead {
  bytes(): Awaitable<Uint8Array>;
}

/** Several pieces are asked for at a time, each once; memory does not depend on the tensor's size. */
export interface PiecewiseTensor extends TensorHead {
  /** Fills `target` with the bytes from `start` on: of whole elements. */
  fill(target: Uint8Array, start: number): Awaitable<void>;
  /** The stored tensor that has these very bytes: a file that another holds whole is shared with it where the disk can. */
  readonly copyOf?: StoredTensor | undefined;
}

/** An error that names no place is about this tensor. */
async function named<T>(source: TensorHead, make: () => Awaitable<T>): Promise<T> {
  try {
    return await make();
  } catch (error) {
    throw isLayerfoldError(error) && error.where === undefined ? errorWithin(error, source.name) : error;
  }
}

/** Header and tensors one behind the other. */
async function* piecesOf(
  header: Uint8Array,
  sources: readonly TensorSource[],
  file: string,
): AsyncGenerator<Piece | Uint8Array> {
  yield header;
  for (const source of sources) {
    const length = byteLengthOf(source);
    if (!("fill" in source)) {
      yield await wholeBytes(source, file);
      continue;
    }
    for (let start = 0; start < length; start += pieceBytes) {
      yield {
        length: Math.min(pieceBytes, length - start),
        fill: (target: Uint8Array) => named(source, () => source.fill(target, start)),
      };
    }
  }
}

/** @throws TENSOR_BYTES */
async function wholeBytes(source: WholeTensor, file: string): Promise<Uint8Array> {
  const bytes = await named(source, () => source.bytes());
  if (bytes.byteLength === byteLengthOf(source)) return bytes;
  throw new LayerfoldError("TENSOR_BYTES", "a tensor's bytes do not fit its shape", {
    wanted: `${byteLengthOf(source)} bytes for ${source.dtype} [${source.shape.join(", ")}]`,
    got: `${bytes.byteLength}`,
    where: `${file}, tensor ${source.name}`,
  });
}

/** Size in bytes of a tensor that is to be written. */
export function byteLengthOf({ dtype, shape }: Pick<TensorHead, "dtype" | "shape">): number {
  return elementCount(shape) * bytesPerElement(dtype);
}

/** In the reference writer's order: widest elements first, then by name; so every tensor lies aligned to its element. */
function inWritingOrder<T extends Pick<TensorHead, "dtype" | "name">>(tensors: readonly T[]): T[] {
  return [...tensors].sort(
    (a, b) => dtypeOrder.indexOf(a.dtype) - dtypeOrder.indexOf(b.dtype) || (a.name < b.name ? -1 : 1),
  );
}

/**
 * Writes a safetensors file as `writeWholeFile` does: a file of that name is always whole. In memory are one tensor that is made whole, or the
 * few pieces that `writePieces` works on. What another file holds just so is shared with it where the disk can, and nothing is copied. The header is
 * padded so that the data starts at a multiple of 8.
 *
 * @param metadata - transformers before 5 refuse files without `format`
 * @throws TENSOR_DUPLICATE, TENSOR_BYTES (a source gave another number of bytes), FLOAT_OVERFLOW (naming the tensor), DISK_FULL, INTERRUPTED
 */
export async function writeSafetensors(
  file: string,
  tensors: readonly TensorSource[],
  metadata: Readonly<Record<string, string>> = { format: "pt" },
  signal?: AbortSignal,
): Promise<void> {
  const sorted = inWritingOrder(tensors);
  const header: Record<string, unknown> = { __metadata__: metadata };
  let offset = 0;
  for (const source of sorted) {
    const { name, dtype, shape } = source;
    if (Object.hasOwn(header, name)) {
      throw new LayerfoldError("TENSOR_DUPLICATE", `tensor ${name} is given twice`, { where: file });
    }
    const end = offset + byteLengthOf(source);
    header[name] = { dtype: writtenNames[dtype], shape, data_offsets: [offset, end] };
    offset = end;
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const padded = new Uint8Array(Math.ceil(json.length / 8) * 8).fill(0x20);
  padded.set(json);
  if (padded.length > headerLimit) {
    throw new LayerfoldError("SAFETENSORS_HEADER", "too many tensors for one file", {
      wanted: `a header of at most ${headerLimit} bytes`,
      got: `${padded.length}`,
      where: file,
    });
  }
  const begin = new Uint8Array(8 + padded.length);
  new DataView(begin.buffer).setBigUint64(0, BigInt(padded.length), true);
  begin.set(padded, 8);
  throwIfAborted(signal);
  const twin = await twinOf(begin, sorted);
  if (twin !== undefined && (await cloneWholeFile(twin, file))) return;
  await writeWholeFile(file, (handle) => writePieces(handle, piecesOf(begin, sorted, file), signal));
}

/** The file that already stands somewhere with this header and these tensors, and nothing else. */
async function twinOf(header: Uint8Array, sources: readonly TensorSource[]): Promise<string | undefined> {
  const [first] = sources;
  const file = first && copyOf(first)?.file;
  if (file === undefined) return undefined;
  let end = header.length;
  for (const source of sources) {
    const stored = copyOf(source);
    if (stored?.file !== file || stored.byteOffset !== end) return undefined;
    end += byteLengthOf(source);
  }
  const handle = await open(file, "r").catch(() => undefined);
  try {
    if (!handle || (await handle.stat()).size !== end) return undefined;
    const standing = new Uint8Array(header.length);
    await readAt(handle, standing, 0, file);
    return Buffer.compare(standing, header) === 0 ? file : undefined;
  } finally {
    await handle?.close();
  }
}

/** The stored tensor whose bytes a source merely copies. */
export function copyOf(source: TensorSource): StoredTensor | undefined {
  return "fill" in source ? source.copyOf : undefined;
}
