import { mkdtemp, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodeFloats, encodeFloats } from "@layerfold/core";
import { pieceBytes } from "@layerfold/disk";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openSafetensors, type SafetensorsFile, writeSafetensors } from "./safetensors.js";
import { type StoredReader, storedReader } from "./stored-reader.js";

const dtypes = ["float16", "bfloat16", "float32", "float64"] as const;
const columns = 1000;
/** So many that every type but the narrowest takes more than two pieces. */
const rows = Math.ceil((5.5 * pieceBytes) / 4 / columns);
const values = Float32Array.from(
  { length: rows * columns },
  (_, i) => Math.sin(i * 12.9898) * (1 + (i % 77)),
);

let folder: string;
let file: SafetensorsFile;
let reader: StoredReader;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "layerfold-reader-"));
  const path = join(folder, "file.safetensors");
  await writeSafetensors(path, [
    ...dtypes.map((dtype) => ({
      name: dtype,
      dtype,
      shape: [rows, columns],
      bytes: () => encodeFloats(values, dtype),
    })),
    { name: "codes", dtype: "int8", shape: [3], bytes: () => Uint8Array.of(1, 2, 3) },
    { name: "no codes", dtype: "int8", shape: [0], bytes: () => new Uint8Array(0) },
  ]);
  file = await openSafetensors(path);
  reader = storedReader();
});
afterAll(async () => {
  await reader.close();
  await file.close();
  await rm(folder, { recursive: true });
});
const stored = (name: string) => file.tensors.get(name)!;

describe.each(dtypes)("of %s", (dtype) => {
  it("a whole tensor is what its bytes say", async () => {
    const wanted = decodeFloats(encodeFloats(values, dtype), dtype);
    const { data, shape } = await file.read(dtype);
    expect(shape).toEqual([rows, columns]);
    expect(Buffer.compare(new Uint8Array(data.buffer), new Uint8Array(wanted.buffer))).toBe(0);
  });

  it("rows are decoded into the caller's array, and nothing around them is touched", async () => {
    const all = (await file.read(dtype)).data;
    for (const [row, count] of [
      [0, 1],
      [rows - 1, 1],
      [5, 0],
      [1, rows - 2],
      [17, rows - 100],
    ]) {
      const array = new Float32Array(count * columns + 2).fill(-7);
      await reader.floats(stored(dtype), array.subarray(1, -1), row * columns);
      expect([array[0], array[array.length - 1]]).toEqual([-7, -7]);
      const wanted = all.subarray(row * columns, (row + count) * columns);
      expect(
        Buffer.compare(new Uint8Array(array.slice(1, -1).buffer), new Uint8Array(wanted.slice().buffer)),
      ).toBe(0);
    }
  });

  it("bytes are those of the file", async () => {
    const bytes = new Uint8Array(1001);
    await reader.bytes(stored(dtype), bytes, 999);
    expect(bytes).toEqual(await file.readBytes(dtype, 999, 1001));
  });
});

it("refuses numbers that are codes, even none of them", async () => {
  const refused = expect.objectContaining({ code: "DTYPE_UNSUPPORTED" });
  await expect(reader.floats(stored("codes"), new Float32Array(3))).rejects.toThrow(refused);
  await expect(file.read("codes")).rejects.toThrow(refused);
  await expect(file.read("no codes")).rejects.toThrow(refused);
});

it("names the file that is gone, or has become shorter", async () => {
  const other = storedReader();
  const nowhere = { ...stored("float16"), file: join(folder, "nowhere") };
  await expect(other.bytes(nowhere, new Uint8Array(1))).rejects.toMatchObject({
    code: "FILE_MISSING",
    where: nowhere.file,
  });
  const path = join(folder, "short.safetensors");
  const shape = [3 * pieceBytes];
  await writeSafetensors(path, [
    { name: "a", dtype: "bfloat16", shape, fill: (target) => void target.fill(0) },
  ]);
  const opened = await openSafetensors(path);
  await truncate(path, 5 * pieceBytes);
  const truncated = { code: "SAFETENSORS_TRUNCATED", where: path };
  await expect(opened.read("a")).rejects.toMatchObject(truncated);
  await expect(
    other.floats(opened.tensors.get("a")!, new Float32Array(3 * pieceBytes)),
  ).rejects.toMatchObject(truncated);
  await opened.close();
  await other.close();
});
