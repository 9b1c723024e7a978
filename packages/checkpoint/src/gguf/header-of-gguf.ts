import type { FileHandle } from "node:fs/promises";
import { LayerfoldError } from "@layerfold/core";
import { readFully } from "@layerfold/disk";
import { defaultAlignment, entryTypes } from "./header-types.js";

/** A tensor as the header names it. */
export interface GgufTensorInfo {
  readonly name: string;
  /** As stored: the fastest axis first. */
  readonly shape: readonly number[];
  /** Number of its ggml type. */
  readonly type: number;
  /** Bytes from the start of the data. */
  readonly offset: number;
}

export interface GgufHeader {
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly tensors: readonly GgufTensorInfo[];
  /** Where the data start, bytes from the file's start. */
  readonly dataStart: number;
}

/** More than any header has (a vocabulary of 262,144 tokens takes some 10 MB), and little enough to hold. */
const longestHeader = 64 * 2 ** 20;
const deepestList = 4;
const mostAxes = 4;

/** Width and reader of every metadata type that has a fixed size, by its number. */
const numbers: Readonly<Record<number, readonly [bytes: number, (data: DataView, at: number) => unknown]>> = {
  0: [1, (data, at) => data.getUint8(at)],
  1: [1, (data, at) => data.getInt8(at)],
  2: [2, (data, at) => data.getUint16(at, true)],
  3: [2, (data, at) => data.getInt16(at, true)],
  4: [4, (data, at) => data.getUint32(at, true)],
  5: [4, (data, at) => data.getInt32(at, true)],
  6: [4, (data, at) => data.getFloat32(at, true)],
  7: [1, (data, at) => data.getUint8(at) !== 0],
  10: [8, (data, at) => Number(data.getBigUint64(at, true))],
  11: [8, (data, at) => Number(data.getBigInt64(at, true))],
  12: [8, (data, at) => data.getFloat64(at, true)],
};

/**
 * Reads the header of a GGUF file, versions 1 to 3 (ggml's docs/gguf.md). Every count and length is held against what is left of the
 * file before anything is made of it. Whole numbers of 64 bits become numbers.
 * @throws GGUF_INVALID, with the offset
 */
export async function headerOfGguf(handle: FileHandle, size: number, file: string): Promise<GgufHeader> {
  const reader = new HeaderReader(handle, size, file);
  const magic = await reader.take(4, "the magic GGUF");
  if (Buffer.from(magic.buffer, magic.byteOffset, 4).toString("latin1") !== "GGUF")
    throw reader.invalid("not a GGUF file", "the magic GGUF");
  const version = (await reader.take(4, "a version")).getUint32(0, true);
  if (version < 1 || version > 3) {
    const swapped = version % 65_536 === 0 && version > 0;
    throw reader.invalid(
      swapped ? "a big-endian GGUF file; gguf-py's gguf-convert-endian turns it" : "unknown version",
      "version 1, 2 or 3, little-endian",
      version,
    );
  }
  const wide = version > 1;
  const tensorCount = await reader.count(wide, wide ? 24 : 20, "tensors");
  const entryCount = await reader.count(wide, wide ? 13 : 9, "metadata entries");
  const metadata: Record<string, unknown> = Object.create(null);
  for (let i = 0; i < entryCount; i++) {
    const key = await reader.string(wide);
    metadata[key] = await reader.value(await reader.type(), wide);
  }
  const tensors: GgufTensorInfo[] = [];
  for (let i = 0; i < tensorCount; i++) {
    const name = await reader.string(wide);
    const axes = (await reader.take(4, "a number of axes")).getUint32(0, true);
    if (axes > mostAxes) throw reader.invalid(`tensor ${name}`, `at most ${mostAxes} axes`, axes);
    const shape: number[] = [];
    for (let axis = 0; axis < axes; axis++) shape.push(await reader.length(wide));
    const type = await reader.type();
    const offset = await reader.length(true);
    tensors.push({ name, shape, type, offset });
  }
  const alignment = metadata["general.alignment"] ?? defaultAlignment;
  if (typeof alignment !== "number" || !Number.isSafeInteger(alignment) || alignment < 1)
    throw reader.invalid("cannot use general.alignment", "a whole number ≥ 1", alignment);
  return { metadata, tensors, dataStart: Math.ceil(reader.offset / alignment) * alignment };
}

/** The header's bytes one after another, of which only a window is in memory. */
class HeaderReader {
  private window = Buffer.alloc(0);
  private at = 0;
  private windowStart = 0;

  private readonly handle: FileHandle;
  private readonly size: number;
  private readonly file: string;

  constructor(handle: FileHandle, size: number, file: string) {
    this.handle = handle;
    this.size = size;
    this.file = file;
  }

  get offset(): number {
    return this.windowStart + this.at;
  }

  invalid(reason: string, wanted: string, got?: unknown): LayerfoldError {
    return new LayerfoldError("GGUF_INVALID", reason, {
      wanted,
      ...(got !== undefined && { got: String(got).slice(0, 80) }),
      where: `${this.file}, before offset ${this.offset}`,
    });
  }

  /** The next `count` bytes. */
  async take(count: number, what: string): Promise<DataView> {
    if (this.at + count > this.window.length) await this.fill(count, what);
    const view = new DataView(this.window.buffer, this.window.byteOffset + this.at, count);
    this.at += count;
    return view;
  }

  private async fill(count: number, what: string): Promise<void> {
    const start = this.offset;
    if (start + count > this.size)
      throw this.invalid("the file ends within its header", what, `${this.size} bytes`);
    if (start + count > longestHeader)
      throw this.invalid("the header is too long", `at most ${longestHeader} bytes`, start + count);
    const window = Buffer.alloc(Math.min(Math.max(count, 2 ** 20), this.size - start));
    await readFully(this.handle, window, start, () => this.invalid("the file became shorter", what));
    this.window = window;
    this.windowStart = start;
    this.at = 0;
  }

  async type(): Promise<number> {
    return (await this.take(4, "a type")).getUint32(0, true);
  }

  async length(wide: boolean): Promise<number> {
    if (!wide) return (await this.take(4, "a length")).getUint32(0, true);
    const value = Number((await this.take(8, "a length")).getBigUint64(0, true));
    if (!Number.isSafeInteger(value)) throw this.invalid("cannot use a length", "less than 2^53", value);
    return value;
  }

  /** A number of things of which each takes `leastBytes` or more. */
  async count(wide: boolean, leastBytes: number, what: string): Promise<number> {
    const count = await this.length(wide);
    const left = Math.min(this.size, longestHeader) - this.offset;
    if (count * leastBytes > left)
      throw this.invalid(`too many ${what}`, `what ${left} bytes can hold`, count);
    return count;
  }

  async string(wide: boolean): Promise<string> {
    const bytes = await this.take(await this.count(wide, 1, "bytes of text"), "a text");
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8");
  }

  async value(type: number, wide: boolean, depth = 0): Promise<unknown> {
    if (type === entryTypes.string) return this.string(wide);
    const fixed = numbers[type];
    if (fixed) return fixed[1](await this.take(fixed[0], "a number"), 0);
    if (type !== entryTypes.list || depth === deepestList)
      throw this.invalid(
        "cannot read a metadata entry",
        `a type from 0 to 12, lists at most ${deepestList} deep`,
        type,
      );
    const elementType = await this.type();
    const element = numbers[elementType];
    const least = element?.[0] ?? (elementType === entryTypes.list ? 4 : 0) + (wide ? 8 : 4);
    const count = await this.count(wide, least, "list elements");
    if (element) {
      const [width, read] = element;
      const data = await this.take(count * width, "a list");
      return Array.from({ length: count }, (_, i) => read(data, i * width));
    }
    const list: unknown[] = [];
    for (let i = 0; i < count; i++) list.push(await this.value(elementType, wide, depth + 1));
    return list;
  }
}
