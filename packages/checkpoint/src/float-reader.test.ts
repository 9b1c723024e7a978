import { mkdtempSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type DType, encodeFloats } from "@layerfold/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { floatReader } from "./float-reader.js";
import { openSafetensors, writeSafetensors } from "./safetensors.js";

const dtypes = ["float64", "float32", "float16", "bfloat16"] as const satisfies readonly DType[];
// Several chunks, the last one short.
const shape = [1201, 333];
const values = Float32Array.from(
  { length: shape[0] * shape[1] },
  (_, i) => Math.sin(i) * 2 ** ((i % 21) - 10),
);
let folder: string;
let file: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "layerfold-reader-"));
  file = join(folder, "weights.safetensors");
  await writeSafetensors(file, [
    ...dtypes.map((dtype) => ({ name: dtype, dtype, shape, bytes: () => encodeFloats(values, dtype) })),
    { name: "ids", dtype: "int32", shape: [2], bytes: () => new Uint8Array(8) },
  ]);
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Comparing so many values one by one takes seconds. */
function same(a: Float32Array, b: Float32Array): boolean {
  const bytes = ({ buffer, byteOffset, byteLength }: Float32Array) =>
    Buffer.from(buffer, byteOffset, byteLength);
  return bytes(a).equals(bytes(b));
}

describe("floatReader", () => {
  it.each(dtypes)("reads %s as the checkpoint's own reader does, whole and by rows", async (dtype) => {
    const opened = await openSafetensors(file);
    const reader = floatReader();
    const tensor = opened.tensors.get(dtype)!;
    const expected = (await opened.read(dtype)).data;
    const [whole] = await reader.read([{ tensor }]);
    expect(same(whole, expected)).toBe(true);
    // Memory that is used again holds nothing of what was there.
    reader.recycle([whole]);
    expect(whole).toHaveLength(0);
    const [again, rows, last] = await reader.read([
      { tensor },
      { tensor, firstRow: 7, rows: 20 },
      { tensor, firstRow: 1200 },
    ]);
    expect(same(again, expected)).toBe(true);
    expect(same(rows, expected.subarray(7 * 333, 27 * 333))).toBe(true);
    expect(same(last, expected.subarray(1200 * 333))).toBe(true);
    await reader.close();
    await opened.close();
  });

  it("says what cannot be read, and reads on", async () => {
    const opened = await openSafetensors(file);
    const reader = floatReader();
    const tensor = opened.tensors.get("bfloat16")!;
    await expect(reader.read([{ tensor: opened.tensors.get("ids")! }])).rejects.toMatchObject({
      code: "DTYPE_UNSUPPORTED",
      where: expect.stringContaining("ids"),
    });
    const gone = join(folder, "gone.safetensors");
    await expect(reader.read([{ tensor: { ...tensor, file: gone } }])).rejects.toMatchObject({
      code: "FILE_MISSING",
      where: gone,
    });
    await opened.close();
    const cut = join(folder, "cut.safetensors");
    await writeSafetensors(cut, [
      { name: "x", dtype: "bfloat16", shape, bytes: () => encodeFloats(values, "bfloat16") },
    ]);
    const short = await openSafetensors(cut);
    truncateSync(cut, 1000);
    await expect(reader.read([{ tensor: short.tensors.get("x")! }])).rejects.toMatchObject({
      code: "SAFETENSORS_TRUNCATED",
    });
    await short.close();
    expect((await reader.read([{ tensor }]))[0]).toHaveLength(values.length);
    await reader.close();
  });
});
