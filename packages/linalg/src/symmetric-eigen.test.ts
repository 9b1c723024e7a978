import { type Matrix, tensor } from "@layerfold/core";
import { randomMatrix, testContext } from "@layerfold/testkit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { largestEigenpairs, type SymmetricOperator } from "./largest-eigenpairs.js";
import { portableEngine } from "./portable-engine.js";
import { seededRng } from "./seeded-rng.js";
import { type Eigenpairs, symmetricEigen } from "./symmetric-eigen.js";

const ctx = testContext(1, { engine: portableEngine() });

/** V·diag(values)·Vᵀ with V from the reflection I − 2wwᵀ: a dense matrix whose eigenvalues are known in closed form. */
function withSpectrum(values: readonly number[], seed = 3): Matrix<Float64Array> {
  const size = values.length;
  const w = Float64Array.from(randomMatrix(size, 1, seededRng(seed)).data);
  const norm = Math.sqrt(w.reduce((sum, x) => sum + x * x, 0));
  // V D V = D − 2(w(Dw)ᵀ + (Dw)wᵀ) + 4(wᵀDw) w wᵀ for unit w.
  const u = w.map((x) => x / norm);
  const du = u.map((x, i) => x * values[i]);
  const inner = u.reduce((sum, x, i) => sum + x * du[i], 0);
  const data = Float64Array.from({ length: size * size }, (_, at) => {
    const [i, j] = [Math.floor(at / size), at % size];
    return (i === j ? values[i] : 0) - 2 * (u[i] * du[j] + du[i] * u[j]) + 4 * inner * u[i] * u[j];
  });
  return tensor(data, [size, size]);
}

/** Asserts A·U = U·diag(λ) and UᵀU = I within the bound. */
async function expectEigenpairs(a: Matrix<Float64Array>, { values, vectors }: Eigenpairs, bound: number) {
  const count = values.length;
  const image = await ctx.engine.matmul(a, vectors);
  image.data.forEach((value, at) => {
    expect(Math.abs(value - values[at % count] * vectors.data[at])).toBeLessThanOrEqual(bound);
  });
  const gram = await ctx.engine.matmul(vectors, vectors, { transposeA: true });
  gram.data.forEach((value, at) => {
    expect(Math.abs(value - Number(at % (count + 1) === 0))).toBeLessThanOrEqual(1e-12);
  });
}

describe("symmetricEigen", () => {
  it("decomposes any symmetric matrix, descending", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 24 }),
        fc.nat(),
        fc.integer({ min: -200, max: 200 }),
        async (size, seed, exponent) => {
          const b = randomMatrix(size, size, seededRng(seed));
          const scale = 10 ** exponent;
          const a = tensor(
            Float64Array.from(
              { length: size * size },
              (_, at) => scale * (b.data[at] + b.data[(at % size) * size + Math.floor(at / size)]),
            ),
            [size, size],
          );
          const pairs = symmetricEigen(a);
          await expectEigenpairs(a, pairs, 1e-13 * size * scale * 4);
          pairs.values.forEach((value, k) => {
            if (k > 0) expect(value).toBeLessThanOrEqual(pairs.values[k - 1]);
          });
        },
      ),
      { numRuns: 60 },
    );
  });

  it("knows the path graph's eigenvalues 2 cos(πk/(n+1))", () => {
    const size = 50;
    const path = tensor(new Float64Array(size * size), [size, size]);
    for (let i = 0; i + 1 < size; i++) path.data[i * size + i + 1] = path.data[(i + 1) * size + i] = 1;
    symmetricEigen(path).values.forEach((value, k) => {
      expect(value).toBeCloseTo(2 * Math.cos((Math.PI * (k + 1)) / (size + 1)), 13);
    });
  });

  it("refuses what is not square or not finite", () => {
    expect(() => symmetricEigen(tensor(new Float64Array(2), [1, 2]))).toThrow(
      expect.objectContaining({ code: "TENSOR_SHAPE" }),
    );
    const bad = tensor(Float64Array.of(1, Number.NaN, Number.NaN, 1), [2, 2]);
    expect(() => symmetricEigen(bad)).toThrow(expect.objectContaining({ code: "EIGENPAIRS_NOT_CONVERGED" }));
  });
});

describe("largestEigenpairs", () => {
  // 100 is decomposed whole, 400 by Lanczos.
  it.each([100, 400])("finds the top of a known spectrum, size %i", async (size) => {
    const values = Array.from({ length: size }, (_, k) => 0.97 ** k - 0.2);
    const a = withSpectrum(values);
    const found = await largestEigenpairs(a, 5, ctx);
    found.values.forEach((value, k) => {
      expect(Math.abs(value - values[k])).toBeLessThanOrEqual(1e-12);
    });
    await expectEigenpairs(a, found, 1e-9);
    expect(Math.max(...found.residuals)).toBeLessThanOrEqual(1e-9);
  });

  it.each([100, 400])("leaves known eigenvectors out, size %i", async (size) => {
    const a = withSpectrum(Array.from({ length: size }, (_, k) => 1 / (1 + k)));
    const all = await largestEigenpairs(a, 4, ctx);
    const known = tensor(
      all.vectors.data.filter((_, at) => at % 4 < 2),
      [size, 2],
    );
    const rest = await largestEigenpairs(a, 2, ctx, { known });
    expect(rest.values[0]).toBeCloseTo(1 / 3, 12);
    expect(rest.values[1]).toBeCloseTo(1 / 4, 12);
  });

  it("stays orthonormal where all eigenvalues share a large part, over many restarts", async () => {
    // As the MKA kernel has it in many dimensions: a multiple of the identity and a narrow spread.
    const values = Array.from({ length: 400 }, (_, k) => 1 + 1e-3 * (1 - k / 400) ** 2);
    const a = withSpectrum(values);
    const found = await largestEigenpairs(a, 3, ctx);
    found.values.forEach((value, k) => {
      expect(Math.abs(value - values[k])).toBeLessThanOrEqual(1e-13);
    });
    await expectEigenpairs(a, found, 1e-12);
  });

  it("finds every copy of a multiple eigenvalue, beyond its block size too", async () => {
    const a = withSpectrum(Array.from({ length: 300 }, (_, k) => (k < 20 ? 2 : k < 40 ? 1 : 0)));
    const { values } = await largestEigenpairs(a, 16, ctx, { blockSize: 4 });
    values.forEach((value) => {
      expect(value).toBeCloseTo(2, 11);
    });
  });

  it("is right to float32's digits for a float32 matrix", async () => {
    const values = Array.from({ length: 300 }, (_, k) => 0.9 ** k);
    const a = withSpectrum(values);
    const { values: found } = await largestEigenpairs(tensor(Float32Array.from(a.data), a.shape), 4, ctx);
    found.forEach((value, k) => {
      expect(Math.abs(value - values[k])).toBeLessThanOrEqual(1e-6);
    });
  });

  it("gives the same numbers again under the same seed", async () => {
    const a = withSpectrum(Array.from({ length: 200 }, (_, k) => Math.cos(k)));
    const first = await largestEigenpairs(a, 3, testContext(9, { engine: portableEngine() }));
    expect(
      (await largestEigenpairs(a, 3, testContext(9, { engine: portableEngine() }))).vectors.data,
    ).toEqual(first.vectors.data);
  });

  it("reports what has not converged", async () => {
    const codes: string[] = [];
    const a = withSpectrum(Array.from({ length: 400 }, (_, k) => 1 - k * 1e-4));
    const { residuals } = await largestEigenpairs(
      a,
      3,
      { ...ctx, report: (event) => event.type === "diagnostic" && codes.push(event.code) },
      { maximumProducts: 3 },
    );
    expect(codes).toEqual(["EIGENPAIRS_NOT_CONVERGED"]);
    expect(Math.max(...residuals)).toBeGreaterThan(1e-10);
  });

  it("refuses more pairs than there are", async () => {
    const operator: SymmetricOperator = { size: 2, apply: (block) => block };
    await expect(largestEigenpairs(operator, 3, ctx)).rejects.toMatchObject({ code: "EIGENPAIRS_TOO_MANY" });
  });
});
