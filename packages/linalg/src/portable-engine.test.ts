import { type Matrix, tensor } from "@layerfold/core";
import { randomMatrix } from "@layerfold/testkit";
import fc from "fast-check";
import { expect, it } from "vitest";
import { portableEngine } from "./portable-engine.js";
import { seededRng } from "./seeded-rng.js";

const engine = portableEngine();
const size = fc.integer({ min: 1, max: 9 });

function naive(a: Matrix, b: Matrix): Float64Array {
  const [m, inner] = a.shape;
  const n = b.shape[1];
  const at = (t: Matrix, i: number, j: number) => t.data[t.offset + i * t.stride[0] + j * t.stride[1]];
  return Float64Array.from({ length: m * n }, (_, index) => {
    let sum = 0;
    for (let k = 0; k < inner; k++) sum += at(a, Math.floor(index / n), k) * at(b, k, index % n);
    return sum;
  });
}

const transposed = (m: Matrix): Matrix =>
  tensor(m.data, [m.shape[1], m.shape[0]], [m.stride[1], m.stride[0]], m.offset);

it.each([
  { dtype: "float64", unit: 2 ** -52 },
  { dtype: "float32", unit: 2 ** -24 },
] as const)("multiplies as the definition says, transposed or not, $dtype", async ({ dtype, unit }) => {
  await fc.assert(
    // Inner sizes around the packing depth of 256 as well.
    fc.asyncProperty(
      size,
      size,
      fc.oneof(size, fc.integer({ min: 250, max: 520 })),
      fc.nat(),
      async (m, n, k, seed) => {
        const rng = seededRng(seed);
        const a: Matrix = randomMatrix<"float32" | "float64">(m, k, rng, dtype);
        const b: Matrix = randomMatrix<"float32" | "float64">(k, n, rng, dtype);
        const wanted = naive(a, b);
        const bound = unit * (1 + k) * 40;
        for (const transposeA of [false, true]) {
          for (const transposeB of [false, true]) {
            const left: Matrix = transposeA ? transposed(a) : a;
            const right: Matrix = transposeB ? transposed(b) : b;
            const c = await engine.matmul(left, right, { transposeA, transposeB });
            expect(c.shape).toEqual([m, n]);
            expect(c.data.constructor).toBe(a.data.constructor);
            c.data.forEach((value, i) => {
              expect(Math.abs(value - wanted[i])).toBeLessThanOrEqual(bound);
            });
          }
        }
      },
    ),
    { numRuns: 30 },
  );
});

it("gives zeros for an empty inner size", async () => {
  const c = await engine.matmul(tensor(new Float64Array(0), [2, 0]), tensor(new Float64Array(0), [0, 3]));
  expect([...c.data]).toEqual([0, 0, 0, 0, 0, 0]);
});

it("refuses inner sizes that differ and mixed dtypes", async () => {
  const a: Matrix = tensor(new Float32Array(6), [2, 3]);
  await expect(engine.matmul(a, a)).rejects.toMatchObject({ code: "TENSOR_SHAPE" });
  await expect(engine.matmul(a, tensor(new Float64Array(6), [3, 2]))).rejects.toMatchObject({
    code: "ENGINE_DTYPE",
  });
});
