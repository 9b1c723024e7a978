import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bytesPerElement, type DType, elementCount, encodeFloats } from "@layerfold/core";
import { mountedDisk } from "@layerfold/testkit";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openSafetensors, type TensorSource, writeSafetensors } from "./safetensors.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "layerfold-safetensors-"));
});
afterAll(() => rm(folder, { recursive: true }));

const code = (wanted: string) => expect.objectContaining({ code: wanted });

/** A file with this header, as JSON or verbatim, and so many bytes of data. */
async function file(header: unknown, dataLength: number, headerLength?: bigint) {
  const text = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(headerLength ?? BigInt(text.length));
  const path = join(folder, "made.safetensors");
  await writeFile(path, Buffer.concat([length, text, Buffer.alloc(dataLength)]));
  return path;
}

const f32 = (shape: number[], begin: number, end: number) => ({
  dtype: "F32",
  shape,
  data_offsets: [begin, end],
});

function source(name: string, dtype: DType, shape: number[], fill = 1): TensorSource {
  const bytes = new Uint8Array(elementCount(shape) * bytesPerElement(dtype)).fill(fill);
  return { name, dtype, shape, bytes: () => bytes };
}

describe("openSafetensors", () => {
  it("reads any order, scalars, empty tensors and padding", async () => {
    const header = {
      __metadata__: { format: "pt" },
      b: f32([2], 4, 12),
      empty: f32([0, 3], 4, 4),
      a: f32([], 0, 4),
    };
    const opened = await openSafetensors(await file(`${JSON.stringify(header)}   `, 12));
    expect(opened.metadata).toEqual({ format: "pt" });
    expect([...opened.tensors.keys()].sort()).toEqual(["a", "b", "empty"]);
    expect((await opened.read("b")).shape).toEqual([2]);
    expect((await opened.read("a")).data).toEqual(new Float32Array(1));
    expect((await opened.read("empty")).data).toHaveLength(0);
    await expect(opened.read("c")).rejects.toThrow(code("TENSOR_MISSING"));
    await opened.close();
  });

  it.each([
    ["no such file", "FILE_MISSING", async () => join(folder, "nowhere.safetensors")],
    ["a header over the limit", "SAFETENSORS_HEADER", () => file("{}", 0, 100_000_001n)],
    ["a header beyond the file", "SAFETENSORS_TRUNCATED", () => file("{}", 0, 1000n)],
    ["a header that is no object", "SAFETENSORS_HEADER", () => file("[]", 0)],
    ["a header that is no JSON", "SAFETENSORS_HEADER", () => file("{a}", 0)],
    ["metadata that are no strings", "SAFETENSORS_HEADER", () => file({ __metadata__: { a: 1 } }, 0)],
    [
      "an entry that is nested too deeply to be quoted",
      "SAFETENSORS_HEADER",
      () => file(`{"a":${"[".repeat(20_000)}${"]".repeat(20_000)}}`, 0),
    ],
    [
      "an element type with a name that every object knows",
      "SAFETENSORS_DTYPE",
      () => file({ a: { ...f32([1], 0, 4), dtype: "constructor" } }, 4),
    ],
    ["an entry without a shape", "SAFETENSORS_HEADER", () => file({ a: { dtype: "F32" } }, 0)],
    ["a negative offset", "SAFETENSORS_HEADER", () => file({ a: f32([1], -4, 0) }, 0)],
    ["an unknown dtype", "SAFETENSORS_DTYPE", () => file({ a: { ...f32([1], 0, 4), dtype: "F13" } }, 4)],
    ["bytes that do not fit the shape", "SAFETENSORS_LENGTH", () => file({ a: f32([2], 0, 4) }, 4)],
    ["a name that stands twice", "SAFETENSORS_DUPLICATE", () => file('{"a":1,"\\u0061":2}', 0)],
    ["data that end early", "SAFETENSORS_TRUNCATED", () => file({ a: f32([2], 0, 8) }, 7)],
    ["bytes after the last tensor", "SAFETENSORS_LAYOUT", () => file({ a: f32([2], 0, 8) }, 9)],
    ["a hole", "SAFETENSORS_LAYOUT", () => file({ a: f32([1], 0, 4), b: f32([1], 8, 12) }, 12)],
    ["a hole at the start", "SAFETENSORS_LAYOUT", () => file({ a: f32([1], 4, 8) }, 8)],
    ["an overlap", "SAFETENSORS_LAYOUT", () => file({ a: f32([2], 0, 8), b: f32([1], 4, 8) }, 8)],
  ])("refuses %s", async (_, wanted, make) => {
    await expect(openSafetensors(await make())).rejects.toThrow(code(wanted));
  });

  it("says which tensor overlaps, in which file and where", async () => {
    const path = await file({ a: f32([2], 0, 8), b: f32([1], 4, 8) }, 8);
    await expect(openSafetensors(path)).rejects.toThrow(
      /overlap.*wanted offset \d+, got offset \d+.*made\.safetensors, tensor b/,
    );
  });
});

it.each([null, 3, "F32", [f32([1], 0, 4)]])("refuses %j where a tensor should stand", async (entry) => {
  await expect(openSafetensors(await file({ a: entry }, 4))).rejects.toThrow(code("SAFETENSORS_HEADER"));
  const metadata = await file({ __metadata__: entry === null ? 1 : entry, a: f32([1], 0, 4) }, 4);
  await expect(openSafetensors(metadata)).rejects.toThrow(code("SAFETENSORS_HEADER"));
});

describe("a hole between tensors", () => {
  // The format wants data_offsets without holes. In the second file the data end early by as much as the hole is long, so that the sizes
  // add up and only the offsets tell.
  it.each([
    ["in a whole file", 12],
    ["that the file's size hides", 8],
  ])("is refused %s, naming the tensor behind it", async (_, dataLength) => {
    const path = await file({ a: f32([1], 0, 4), b: f32([1], 8, 12) }, dataLength);
    await expect(openSafetensors(path)).rejects.toMatchObject({
      code: "SAFETENSORS_LAYOUT",
      message: expect.stringMatching(/hole between tensors.*tensor b/),
    });
  });
});

describe("writeSafetensors", () => {
  it("gives back what it wrote, through a symbolic link too", async () => {
    const dtypes = fc.constantFrom<DType>(
      "float32",
      "bfloat16",
      "float16",
      "int8",
      "int64",
      "bool",
      "float8_e4m3",
    );
    const tensors = fc.uniqueArray(
      fc.record({
        name: fc.string({ minLength: 1 }).filter((name) => name !== "__metadata__" && name !== "__proto__"),
        dtype: dtypes,
        shape: fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 3 }),
        fill: fc.integer({ min: 0, max: 255 }),
      }),
      { selector: ({ name }) => name, maxLength: 6 },
    );
    await fc.assert(
      fc.asyncProperty(tensors, async (wanted) => {
        const path = join(folder, "written.safetensors");
        await writeSafetensors(
          path,
          wanted.map(({ name, dtype, shape, fill }) => source(name, dtype, shape, fill)),
        );
        const link = join(folder, "link.safetensors");
        await rm(link, { force: true });
        await symlink(path, link);
        const opened = await openSafetensors(link);
        expect(opened.tensors.size).toBe(wanted.length);
        for (const { name, dtype, shape, fill } of wanted) {
          const stored = opened.tensors.get(name)!;
          expect(stored).toMatchObject({ dtype, shape, file: path });
          // Aligned to the element, so that a typed array can lie over the mapped file.
          if (stored.byteLength > 0) expect(stored.byteOffset % bytesPerElement(dtype)).toBe(0);
          const bytes = await opened.readBytes(name);
          expect(bytes).toEqual(new Uint8Array(stored.byteLength).fill(fill));
        }
        await opened.close();
      }),
      { numRuns: 30 },
    );
  });

  it("writes the bytes that the reference writer writes", async () => {
    // safetensors 0.8.0, torch.save_file({"w": bf16 [2], "b": f32 [1], "a": bf16 [1]}, metadata={"format": "pt"}).
    const header =
      '{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},' +
      '"a":{"dtype":"BF16","shape":[1],"data_offsets":[4,6]},"w":{"dtype":"BF16","shape":[2],"data_offsets":[6,10]}}';
    const path = join(folder, "reference.safetensors");
    const value = (numbers: number[], dtype: DType) => () => encodeFloats(Float32Array.from(numbers), dtype);
    await writeSafetensors(path, [
      { name: "w", dtype: "bfloat16", shape: [2], bytes: value([1, 2], "bfloat16") },
      { name: "b", dtype: "float32", shape: [1], bytes: value([3], "float32") },
      { name: "a", dtype: "bfloat16", shape: [1], bytes: value([4], "bfloat16") },
    ]);
    const bytes = await readFile(path);
    const length = Number(bytes.readBigUInt64LE());
    expect(length % 8).toBe(0);
    expect(bytes.subarray(8, 8 + length).toString()).toBe(header.padEnd(length));
    expect(bytes.subarray(8 + length)).toEqual(
      Buffer.from([0, 0, 0x40, 0x40, 0x80, 0x40, 0x80, 0x3f, 0, 0x40]),
    );
  });

  it("leaves nothing behind when a source fails, gives too few bytes or is interrupted", async () => {
    const inner = join(folder, "failing");
    const path = `${inner}.safetensors`;
    const failing = { ...source("b", "int8", [4]), bytes: () => Promise.reject(new Error("boom")) };
    await expect(writeSafetensors(path, [source("a", "float32", [4]), failing])).rejects.toThrow("boom");
    const large = {
      ...source("b", "float16", [1]),
      bytes: () => encodeFloats(Float32Array.of(7e4), "float16"),
    };
    await expect(writeSafetensors(path, [source("a", "float32", [4]), large])).rejects.toMatchObject({
      code: "FLOAT_OVERFLOW",
      where: "b",
    });
    const short = { ...source("b", "int8", [4]), bytes: () => new Uint8Array(3) };
    await expect(writeSafetensors(path, [short])).rejects.toThrow(code("TENSOR_BYTES"));
    await expect(
      writeSafetensors(path, [source("a", "int8", [1]), source("a", "int8", [1])]),
    ).rejects.toThrow(code("TENSOR_DUPLICATE"));
    const signal = AbortSignal.abort();
    await expect(writeSafetensors(path, [source("a", "int8", [1])], {}, signal)).rejects.toThrow(
      code("INTERRUPTED"),
    );
    expect((await readdir(folder)).filter((name) => name.startsWith("failing"))).toEqual([]);
  });

  it("says that the disk is full, and leaves nothing", async (context) => {
    const disk = mountedDisk("size=1m");
    if (!disk) return context.skip();
    try {
      const path = join(disk.folder, "full.safetensors");
      await expect(writeSafetensors(path, [source("a", "int8", [2 ** 21])])).rejects.toThrow(
        code("DISK_FULL"),
      );
      expect(await readdir(disk.folder)).toEqual([]);
    } finally {
      disk.unmount();
    }
  });
});
