import { defaultAlignment, entryTypes } from "./header-types.js";

/** An entry of a GGUF file's metadata, with the type that llama.cpp asks for it: one value, or a list. */
export type GgufEntry =
  | { readonly type: "uint32" | "int32" | "float32"; readonly value: number | readonly number[] }
  | { readonly type: "bool"; readonly value: boolean | readonly boolean[] }
  | { readonly type: "string"; readonly value: string | readonly string[] };

/** A tensor as the header names it. */
export interface WrittenTensorInfo {
  readonly name: string;
  /** Row-major, as in PyTorch. */
  readonly shape: readonly number[];
  /** Number of its ggml type. */
  readonly type: number;
  readonly byteLength: number;
}

/**
 * The header of a GGUF file, version 3, little-endian, padded to where the data begin: what `headerOfGguf` reads.
 *
 * @param tensors - in the order in which their bytes follow, each at the next multiple of 32 bytes
 * @returns the bytes, and of every tensor the bytes from the start of the data to its own
 */
export function ggufHeader(
  metadata: ReadonlyMap<string, GgufEntry>,
  tensors: readonly WrittenTensorInfo[],
): { readonly bytes: Uint8Array; readonly offsets: readonly number[] } {
  const header = new HeaderBytes();
  header.raw("GGUF");
  header.uint32(3);
  header.uint64(tensors.length);
  header.uint64(metadata.size);
  for (const [key, { type, value }] of metadata) {
    header.string(key);
    const elements = Array.isArray(value) ? value : [value];
    if (Array.isArray(value)) {
      header.uint32(entryTypes.list);
      header.uint32(entryTypes[type]);
      header.uint64(elements.length);
    } else header.uint32(entryTypes[type]);
    for (const element of elements) header[type](element as never);
  }
  const offsets: number[] = [];
  let end = 0;
  for (const { name, shape, type, byteLength } of tensors) {
    header.string(name);
    header.uint32(shape.length);
    for (const size of shape.toReversed()) header.uint64(size);
    header.uint32(type);
    header.uint64(end);
    offsets.push(end);
    end = aligned(end + byteLength);
  }
  return { bytes: header.finish(), offsets };
}

/** The next multiple of the alignment. */
export function aligned(offset: number): number {
  return Math.ceil(offset / defaultAlignment) * defaultAlignment;
}

/** Bytes that grow. */
class HeaderBytes {
  private bytes = Buffer.alloc(2 ** 16);
  private length = 0;

  /** Where the next `count` bytes go. */
  private next(count: number): number {
    const at = this.length;
    this.length += count;
    if (this.length > this.bytes.length)
      this.bytes = Buffer.concat([this.bytes], Math.max(2 * this.bytes.length, this.length));
    return at;
  }

  raw(text: string): void {
    const count = Buffer.byteLength(text);
    const at = this.next(count);
    this.bytes.write(text, at);
  }

  uint32(value: number): void {
    const at = this.next(4);
    this.bytes.writeUInt32LE(value, at);
  }

  int32(value: number): void {
    const at = this.next(4);
    this.bytes.writeInt32LE(value, at);
  }

  uint64(value: number): void {
    const at = this.next(8);
    this.bytes.writeBigUInt64LE(BigInt(value), at);
  }

  float32(value: number): void {
    const at = this.next(4);
    this.bytes.writeFloatLE(value, at);
  }

  bool(value: boolean): void {
    const at = this.next(1);
    this.bytes.writeUInt8(value ? 1 : 0, at);
  }

  string(value: string): void {
    this.uint64(Buffer.byteLength(value));
    this.raw(value);
  }

  finish(): Uint8Array {
    this.next(aligned(this.length) - this.length);
    return new Uint8Array(this.bytes.subarray(0, this.length));
  }
}
