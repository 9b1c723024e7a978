import { type Floats, type Matrix, tensor } from "@layerfold/core";
import { portableEngine } from "@layerfold/linalg";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { onnxEngine } from "./onnx-engine.js";

const engine = onnxEngine();
const portable = portableEngine();
afterAll(() => engine.close());

/** A matrix of small integers, whose products are exact in either dtype, in one of four layouts. */
function integers(dtype: "float32" | "float64", rows: number, columns: number, layout: number, seed: number) {
  const wide = columns + 2;
  const make = (count: number): Floats => {
    const values = Array.from({ length: count }, (_, i) => ((i * 7 + seed * 13) % 11) - 5);
    return dtype === "float32" ? Float32Array.from(values) : Float64Array.from(values);
  };
  switch (layout) {
    case 0:
      return tensor(make(rows * columns), [rows, columns]);
    case 1:
      return tensor(make(rows * columns), [rows, columns], [1, rows]);
    case 2:
      return tensor(make(rows * wide + 1), [rows, columns], [wide, 1], 1);
    default:
      return tensor(make(2 * rows * columns), [rows, columns], [2 * columns, 2]);
  }
}

describe("onnxEngine", () => {
  it("multiplies as the portable engine does, in every layout, transposition and dtype", async () => {
    const size = fc.integer({ min: 0, max: 5 });
    const layout = fc.integer({ min: 0, max: 3 });
    await fc.assert(
      fc.asyncProperty(
        fc.tuple(size, size, size),
        fc.tuple(layout, layout),
        fc.constantFrom("float32" as const, "float64" as const),
        fc.boolean(),
        fc.boolean(),
        async ([m, k, n], [la, lb], dtype, transposeA, transposeB) => {
          const a: Matrix = transposeA ? integers(dtype, k, m, la, 1) : integers(dtype, m, k, la, 1);
          const b: Matrix = transposeB ? integers(dtype, n, k, lb, 2) : integers(dtype, k, n, lb, 2);
          const got = await engine.matmul(a, b, { transposeA, transposeB });
          const wanted = await portable.matmul(a, b, { transposeA, transposeB });
          expect(got.shape).toEqual([m, n]);
          expect(Array.from(got.data, (x) => x + 0)).toEqual(Array.from(wanted.data, (x) => x + 0));
          expect(got.data.constructor).toBe(a.data.constructor);
        },
      ),
      { numRuns: 300 },
    );
  });

  it("keeps float64 precision", async () => {
    const a = tensor(new Float64Array([1 + 2 ** -40, 1]), [1, 2]);
    const b = tensor(new Float64Array([1, -1]), [2, 1]);
    expect((await engine.matmul(a, b)).data[0]).toBe(2 ** -40);
  });

  it("refuses what does not fit together", async () => {
    const a = tensor(new Float32Array(6), [2, 3]);
    await expect(engine.matmul(a, a)).rejects.toMatchObject({ code: "TENSOR_SHAPE", wanted: "3", got: "2" });
    const b: Matrix = tensor(new Float64Array(6), [3, 2]);
    await expect(engine.matmul<Matrix>(a, b)).rejects.toMatchObject({ code: "ENGINE_DTYPE" });
    await expect(engine.matmul(tensor(new Float32Array(6)), a)).rejects.toMatchObject({
      code: "TENSOR_SHAPE",
    });
  });
});
