import { type Matrix, tensor } from "@layerfold/core";
import {
  ridgeLeastSquares,
  type SymmetricTiles,
  symmetricDiagonal,
  symmetricFrom,
  symmetricInverse,
  symmetricPart,
} from "@layerfold/linalg";
import { onnxEngine } from "@layerfold/onnx";
import { testContext } from "@layerfold/testkit";
import fc from "fast-check";
import { expect, it } from "vitest";
import {
  addRows,
  bestRidge,
  blockSaliency,
  componentFit,
  emptyEquations,
  featureSaliency,
  gatherRows,
  type NormalEquations,
  ofFeatures,
  pickRows,
  withoutFeatures,
} from "./normal-equations.js";

type Float64Matrix = Matrix<Float64Array>;

const ridge = 0.01;

function whole(matrix: SymmetricTiles): Float64Matrix {
  const all = Array.from({ length: matrix.size }, (_, i) => i);
  return symmetricPart(matrix, all, all);
}

function normals(seed: number, rows: number, columns: number): Float64Matrix {
  const { rng } = testContext(seed);
  return tensor(
    Float64Array.from({ length: rows * columns }, () => rng.normal()),
    [rows, columns],
  );
}

/** ‖AW − T‖² + λ‖W − W₀‖² up to ‖T‖², with a λ that does not depend on how many features there are. */
function objective({ gram, cross }: NormalEquations, weights: Matrix, prior: Matrix, lambda: number) {
  const [features, targets] = weights.shape;
  const { data: g } = whole(gram);
  let value = 0;
  for (let t = 0; t < targets; t++) {
    for (let i = 0; i < features; i++) {
      const w = weights.data[i * targets + t];
      for (let j = 0; j < features; j++) value += w * g[i * features + j] * weights.data[j * targets + t];
      value -= 2 * w * cross.data[i * targets + t];
      value += lambda * (w - prior.data[i * targets + t]) ** 2;
    }
  }
  return value;
}

async function problem(seed: number, features = 6, targets = 3) {
  const ctx = testContext(seed);
  const equations = emptyEquations(features, targets);
  const prior = normals(seed + 1, features, targets);
  // Two batches, as a stream of calibration text comes.
  for (const part of [2, 3]) {
    await addRows(equations, normals(seed + part, 20, features), normals(seed + 10 + part, 20, targets), ctx);
  }
  const fit = await componentFit(equations, prior, ridge, ctx);
  const diagonal = symmetricDiagonal(equations.gram);
  let lambda = 0;
  for (let i = 0; i < features; i++) lambda += (ridge * diagonal[i]) / features;
  return { ctx, equations, prior, fit, lambda };
}

const close = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).forEach((value, i) => {
    expect(value).toBeCloseTo(b[i], 9);
  });

const fitAgain = ({ equations, prior, ctx }: Awaited<ReturnType<typeof problem>>) =>
  componentFit(equations, prior, ridge, ctx);

/** The fit on some features, with λ given as such instead of as a share of the diagonal. */
async function fitOf(
  features: readonly number[],
  { ctx, equations, prior, lambda }: Awaited<ReturnType<typeof problem>>,
) {
  const some = ofFeatures(equations, features);
  const mean = symmetricDiagonal(some.gram).reduce((sum, value) => sum + value / features.length, 0);
  return ridgeLeastSquares({ ...some, ridge: lambda / mean, prior: pickRows(prior, features) }, ctx);
}

it("fits as ridge least squares does", async () => {
  const p = await problem(3);
  close(p.fit.weights.data, (await fitOf([0, 1, 2, 3, 4, 5], p)).data);
});

it("takes features away as if they had never been there, whatever the order", async () => {
  const subsets = fc.subarray([0, 1, 2, 3, 4, 5], { minLength: 1, maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(fc.nat(1000), subsets, async (seed, gone) => {
      const p = await problem(seed);
      const stay = [0, 1, 2, 3, 4, 5].filter((i) => !gone.includes(i));
      const once = await withoutFeatures(await fitAgain(p), gone, p.ctx);
      expect(once.features).toEqual(stay);
      close(once.weights.data, (await fitOf(stay, p)).data);
      let step = p.fit;
      for (const feature of gone) step = await withoutFeatures(step, [step.features.indexOf(feature)], p.ctx);
      close(step.weights.data, once.weights.data);
      close(whole(step.inverse).data, whole(once.inverse).data);
    }),
    { numRuns: 20 },
  );
});

it("knows beforehand what a feature or a block of features is worth", async () => {
  const p = await problem(8);
  // A feature that is gone has weight 0, and so still pays λ·prior².
  const cost = async (gone: readonly number[]) => {
    const stay = [0, 1, 2, 3, 4, 5].filter((i) => !gone.includes(i));
    const weights = await fitOf(stay, p);
    const full = tensor(new Float64Array(18), [6, 3]);
    stay.forEach((feature, i) => {
      full.data.set(weights.data.subarray(i * 3, i * 3 + 3), feature * 3);
    });
    const best = objective(p.equations, p.fit.weights, p.prior, p.lambda);
    return objective(p.equations, full, p.prior, p.lambda) - best;
  };
  const saliency = featureSaliency(p.fit);
  for (let j = 0; j < 6; j++) expect(saliency[j]).toBeCloseTo(await cost([j]), 9);
  expect(await blockSaliency(p.fit, [1, 2, 4], p.ctx)).toBeCloseTo(await cost([1, 2, 4]), 9);
});

it("chooses the ridge that unseen rows ask for", async () => {
  const ctx = testContext(5);
  const truth = normals(1, 4, 2);
  const away = normals(2, 4, 2);
  const rows = async (seed: number, weights: Float64Matrix) => {
    const equations = emptyEquations(4, 2);
    const features = normals(seed, 50, 4);
    await addRows(equations, features, await ctx.engine.matmul(features, weights), ctx);
    return equations;
  };
  const ridges = [1e-4, 1, 1e4];
  // Rows that follow the fit want no pull towards the prior; rows that follow the prior want as much as there is.
  expect(await bestRidge(await rows(3, truth), await rows(4, truth), away, ridges, ctx)).toBe(1e-4);
  expect(await bestRidge(await rows(3, truth), await rows(4, away), away, ridges, ctx)).toBe(1e4);
});

it("makes the Gram of many features panel by panel", async () => {
  const ctx = testContext(6);
  const features = normals(2, 3, 1000);
  const equations = emptyEquations(1000, 1);
  await addRows(equations, features, normals(3, 3, 1), ctx);
  const product = await ctx.engine.matmul(features, features, { transposeA: true });
  close(whole(equations.gram).data.subarray(760_000, 790_000), product.data.subarray(760_000, 790_000));
});

it("gathers the real tokens only, scaled, side by side", () => {
  const a = tensor(Float32Array.from([1, 2, 3, 9, 5, 9, 9, 9]), [2, 4, 1]);
  const b = tensor(
    Float32Array.from({ length: 16 }, (_, i) => i),
    [2, 4, 2],
  );
  const rows = gatherRows([a, b], Int32Array.of(3, 1), Float64Array.of(1, 10, 1, 2));
  expect(rows.shape).toEqual([4, 3]);
  expect([...rows.data]).toEqual([1, 0, 1, 20, 20, 30, 3, 4, 5, 10, 16, 18]);
  expect(() => gatherRows([a], Int32Array.of(3, 1), Float64Array.of(1))).toThrow(
    expect.objectContaining({ code: "TENSOR_SHAPE" }),
  );
});

it("solves and inverts for more features than the engine is given at a time", async () => {
  // G = I + u·uᵀ, so G⁻¹ = I − u·uᵀ/(1 + u·u) (Sherman & Morrison 1950).
  const size = 2200;
  const u = normals(11, size, 1).data.map((value) => value / 10);
  const b = normals(12, size, 1).data;
  const gram = tensor(new Float64Array(size * size), [size, size]);
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < size; j++) gram.data[i * size + j] = u[i] * u[j] + (i === j ? 1 : 0);
  }
  const dot = (x: Float64Array, y: Float64Array) => x.reduce((sum, value, i) => sum + value * y[i], 0);
  const total = 1 + dot(u, u);
  const share = dot(u, b) / total;
  const engine = onnxEngine();
  const ctx = testContext(1, { engine });
  // As many right-hand sides as make triangles worth inverting, each a multiple of b.
  const count = 130;
  const cross = tensor(
    Float64Array.from({ length: size * count }, (_, i) => b[Math.floor(i / count)] * ((i % count) + 1)),
    [size, count],
  );
  const { data } = await ridgeLeastSquares(
    { gram: symmetricFrom(gram), cross, ridge: 0 },
    { ...ctx, engine },
  );
  const inverse = await symmetricInverse(gram, { ...ctx, engine });
  await engine.close();
  for (let i = 0; i < size; i++) {
    for (const c of [0, count - 1]) {
      const wanted = (b[i] - share * u[i]) * (c + 1);
      expect(Math.abs(data[i * count + c] - wanted)).toBeLessThan(1e-10 * (c + 1));
    }
  }
  let worst = 0;
  let skew = 0;
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < size; j++) {
      const value = inverse.data[i * size + j];
      worst = Math.max(worst, Math.abs(value - ((i === j ? 1 : 0) - (u[i] * u[j]) / total)));
      skew = Math.max(skew, Math.abs(value - inverse.data[j * size + i]));
    }
  }
  expect(worst).toBeLessThan(1e-12);
  expect(skew).toBe(0);
});

it("gathers targets wider than are multiplied at a time", async () => {
  const [features, targets] = [19, 2 ** 20];
  const rows = tensor(
    Float32Array.from({ length: 2 * features }, (_, i) => (i * 5) % 7),
    [2, features],
  );
  const target = tensor(
    Float32Array.from({ length: 2 * targets }, (_, i) => i % 13),
    [2, targets],
  );
  const equations = emptyEquations(features, targets);
  const ctx = testContext(1);
  for (const _ of [1, 2]) await addRows(equations, rows, target, ctx);
  for (let i = 0; i < features; i++) {
    for (const t of [0, 1, targets - 1]) {
      const once = rows.data[i] * target.data[t] + rows.data[features + i] * target.data[targets + t];
      expect(equations.cross.data[i * targets + t]).toBe(2 * once);
    }
  }
});
