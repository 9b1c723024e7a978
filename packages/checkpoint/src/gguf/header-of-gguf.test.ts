import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { headerOfGguf } from "./header-of-gguf.js";

const code = (wanted: string) => expect.objectContaining({ code: wanted });

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "layerfold-header-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function read(bytes: Buffer) {
  const file = join(folder, "x.gguf");
  await writeFile(file, bytes);
  const handle = await open(file);
  try {
    return await headerOfGguf(handle, bytes.length, file);
  } finally {
    await handle.close();
  }
}

// The layout is that of ggml's docs/gguf.md.
const u32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
const u64 = (value: number | bigint) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};
const text = (value: string) => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);
const entry = (key: string, type: number, ...value: Buffer[]) =>
  Buffer.concat([text(key), u32(type), ...value]);
const file = (entries: Buffer[], tensors: Buffer[] = [], version = 3) =>
  Buffer.concat([
    Buffer.from("GGUF"),
    u32(version),
    u64(tensors.length),
    u64(entries.length),
    ...entries,
    ...tensors,
  ]);
const tensor = (name: string, shape: number[], type: number, offset: number) =>
  Buffer.concat([text(name), u32(shape.length), ...shape.map(u64), u32(type), u64(offset)]);

const minusOne = Buffer.alloc(8, 255);
const whole = file(
  [
    entry("u8", 0, Buffer.of(200)),
    entry("i8", 1, minusOne.subarray(0, 1)),
    entry("u16", 2, Buffer.of(1, 2)),
    entry("i16", 3, minusOne.subarray(0, 2)),
    entry("u32", 4, u32(4e9)),
    entry("i32", 5, minusOne.subarray(0, 4)),
    entry("f32", 6, Buffer.from(Float32Array.of(1.5).buffer)),
    entry("bool", 7, Buffer.of(1)),
    entry("text", 8, text("naïve")),
    entry("u64", 10, u64(2 ** 40)),
    entry("i64", 11, minusOne),
    entry("f64", 12, Buffer.from(Float64Array.of(0.1).buffer)),
    entry("numbers", 9, u32(5), u64(2), u32(7), minusOne.subarray(0, 4)),
    entry("lists", 9, u32(9), u64(2), u32(8), u64(1), text("a"), u32(0), u64(0)),
    entry("__proto__", 0, Buffer.of(1)),
    entry("general.alignment", 4, u32(64)),
  ],
  [tensor("w", [3, 2], 30, 128), tensor("scalar", [], 0, 0)],
);

it("reads every type", async () => {
  const { metadata, tensors, dataStart } = await read(whole);
  expect({ ...metadata }).toEqual({
    u8: 200,
    i8: -1,
    u16: 513,
    i16: -1,
    u32: 4e9,
    i32: -1,
    f32: 1.5,
    bool: true,
    text: "naïve",
    u64: 2 ** 40,
    i64: -1,
    f64: 0.1,
    numbers: [7, -1],
    lists: [["a"], []],
    ["__proto__"]: 1,
    "general.alignment": 64,
  });
  expect(tensors).toEqual([
    { name: "w", shape: [3, 2], type: 30, offset: 128 },
    { name: "scalar", shape: [], type: 0, offset: 0 },
  ]);
  expect(dataStart).toBe(Math.ceil(whole.length / 64) * 64);
});

it("reads version 1, whose lengths have 32 bits", async () => {
  const key = Buffer.concat([u32(1), Buffer.from("k"), u32(8), u32(2), Buffer.from("hi")]);
  const bytes = Buffer.concat([Buffer.from("GGUF"), u32(1), u32(0), u32(1), key]);
  expect({ ...(await read(bytes)).metadata }).toEqual({ k: "hi" });
});

it("refuses a file that ends anywhere within its header", async () => {
  const path = join(folder, "whole.gguf");
  await writeFile(path, whole);
  const handle = await open(path);
  for (let size = 0; size < whole.length; size++)
    await expect(headerOfGguf(handle, size, path), `${size}`).rejects.toThrow(code("GGUF_INVALID"));
  await handle.close();
});

describe("without making what a lie asks for", () => {
  const huge = u64(2 ** 50);
  const nested = (depth: number): Buffer =>
    depth === 0 ? Buffer.concat([u32(0), u64(0)]) : Buffer.concat([u32(9), u64(1), nested(depth - 1)]);
  it.each<[string, Buffer]>([
    ["tensors", Buffer.concat([Buffer.from("GGUF"), u32(3), huge, u64(0)])],
    ["entries", Buffer.concat([Buffer.from("GGUF"), u32(3), u64(0), huge])],
    ["more than 2^53", Buffer.concat([Buffer.from("GGUF"), u32(3), minusOne, u64(0)])],
    ["letters of a key", file([Buffer.concat([huge, Buffer.alloc(99)])])],
    ["letters of a text", file([entry("k", 8, huge)])],
    ["numbers in a list", file([entry("k", 9, u32(0), huge)])],
    ["texts in a list", file([entry("k", 9, u32(8), huge)])],
    ["lists in a list", file([entry("k", 9, u32(9), huge)])],
    ["lists in lists without end", file([entry("k", 9, nested(5))])],
    ["axes", file([], [Buffer.concat([text("w"), u32(1e9), Buffer.alloc(99)])])],
    ["an unknown type", file([entry("k", 13, Buffer.alloc(99))])],
    ["an alignment of 0", file([entry("general.alignment", 4, u32(0))])],
    ["big-endian numbers", Buffer.concat([Buffer.from("GGUF"), Buffer.of(0, 0, 0, 3), Buffer.alloc(99)])],
  ])("refuses %s", async (_, bytes) => {
    await expect(read(bytes)).rejects.toThrow(code("GGUF_INVALID"));
  });
});
