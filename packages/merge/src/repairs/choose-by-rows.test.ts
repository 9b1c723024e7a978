import { type Matrix, tensor } from "@layerfold/core";
import { testContext } from "@layerfold/testkit";
import fc from "fast-check";
import { expect, it } from "vitest";
import { chooseByRows } from "./choose-by-rows.js";
import { ridgeFit } from "./least-squares.js";
import {
  addRows,
  componentFit,
  emptyEquations,
  featureSaliency,
  ofFeatures,
  pickRows,
  withoutFeatures,
} from "./normal-equations.js";

it("chooses and fits what the features' own equations do", async () => {
  const cases = fc.record({
    rows: fc.integer({ min: 1, max: 12 }),
    features: fc.integer({ min: 6, max: 40 }),
    seed: fc.nat(),
  });
  await fc.assert(
    fc.asyncProperty(cases, async ({ rows, features, seed }) => {
      const ctx = testContext(seed);
      const normals = (r: number, c: number) =>
        tensor(
          Float32Array.from({ length: r * c }, () => ctx.rng.normal()),
          [r, c],
        ) as Matrix<Float32Array>;
      const [a, t, prior] = [normals(rows, features), normals(rows, 3), normals(features, 3)];
      const [ridge, sizes] = [0.05, [features - 2, features - 4]];
      const equations = emptyEquations(features, 3);
      const widened = (m: Matrix) => tensor(Float64Array.from(m.data), m.shape) as Matrix;
      await addRows(equations, widened(a), widened(t), ctx);
      let fit = await componentFit(equations, prior, ridge, ctx);
      for (const size of sizes) {
        const saliency = featureSaliency(fit);
        const order = Array.from(saliency.keys()).sort((i, j) => saliency[j] - saliency[i]);
        fit = await withoutFeatures(
          fit,
          order.slice(size).sort((i, j) => i - j),
          ctx,
        );
      }
      const { chosen, weights } = await chooseByRows({ features: a, target: t }, prior, ridge, sizes, ctx);
      expect(chosen).toEqual(fit.features);
      const wanted = await ridgeFit(ofFeatures(equations, chosen), pickRows(prior, chosen), ridge, ctx);
      weights.data.forEach((value, i) => {
        expect(value).toBeCloseTo(wanted.data[i], 5);
      });
    }),
    { numRuns: 30 },
  );
});
