import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { headerOfGguf } from "./header-of-gguf.js";
import { type GgufEntry, ggufHeader } from "./write-header.js";

it("is what the reader reads, however long", async () => {
  const entries: [string, GgufEntry][] = [
    ["count", { type: "uint32", value: 4e9 }],
    ["whole", { type: "int32", value: -1 }],
    ["number", { type: "float32", value: 0.1 }],
    ["truth", { type: "bool", value: true }],
    ["text", { type: "string", value: "naïve 🦙" }],
    ["counts", { type: "int32", value: [3, -2] }],
    ["scores", { type: "float32", value: [0.5, -1e4] }],
    ["pattern", { type: "bool", value: [true, false] }],
    ["none", { type: "string", value: [] }],
    // More than the first buffer holds.
    ["tokens", { type: "string", value: Array.from({ length: 30_000 }, (_, i) => `token ${i}`) }],
  ];
  const tensors = [
    { name: "a.weight", shape: [3, 2], type: 0, byteLength: 24 },
    { name: "b.weight", shape: [64], type: 8, byteLength: 68 },
    { name: "c", shape: [2, 1, 5], type: 1, byteLength: 20 },
  ];
  const { bytes, offsets } = ggufHeader(new Map(entries), tensors);
  expect(offsets).toEqual([0, 32, 128]);
  const folder = await mkdtemp(join(tmpdir(), "layerfold-header-"));
  const file = join(folder, "x.gguf");
  await writeFile(file, bytes);
  const handle = await open(file);
  try {
    const read = await headerOfGguf(handle, bytes.length, file);
    expect(read.dataStart).toBe(bytes.length);
    expect(Object.entries(read.metadata)).toEqual(
      entries.map(([key, { value }]) => [key, key === "number" ? Math.fround(0.1) : value]),
    );
    expect(read.tensors).toEqual(
      tensors.map(({ name, shape, type }, i) => ({
        name,
        shape: shape.toReversed(),
        type,
        offset: offsets[i],
      })),
    );
  } finally {
    await handle.close();
    await rm(folder, { recursive: true });
  }
});
