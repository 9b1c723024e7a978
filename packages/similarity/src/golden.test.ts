import { type Matrix, type SimilarityMeasure, tensor } from "@layerfold/core";
import { readGolden, testContext } from "@layerfold/testkit";
import { describe, expect, it } from "vitest";
import { angular } from "./angular.js";
import { blockInfluence } from "./block-influence.js";
import { cca } from "./cca.js";
import { cosine } from "./cosine.js";
import { debiasedCka } from "./debiased-cka.js";
import { euclidean } from "./euclidean.js";
import { linearCka } from "./linear-cka.js";
import { ledoitWolf, mahalanobis } from "./mahalanobis.js";
import { minibatchCka } from "./minibatch-cka.js";
import { procrustes } from "./procrustes.js";
import { rbfCka } from "./rbf-cka.js";
import { rsa } from "./rsa.js";
import { svcca } from "./svcca.js";

interface Golden {
  rtol: number;
  cases: ({ pair: string; x: number[][]; y: number[][] } & Record<string, number>)[];
}

const { rtol, cases } = await readGolden<Golden>(new URL("../test/golden/similarity.json", import.meta.url));
const matrix = (rows: number[][]): Matrix<Float64Array> =>
  tensor(Float64Array.from(rows.flat()), [rows.length, rows[0].length]);

const same = (value: number) => value;
/** The golden key of every measure, and how the golden quantity becomes a similarity. */
const measures: [key: string, measure: SimilarityMeasure, toSimilarity: (value: number) => number][] = [
  ["linear_cka", linearCka(), same],
  ["rbf_cka_median", rbfCka(), same],
  ["debiased_linear_cka", debiasedCka(), same],
  ["debiased_linear_cka", minibatchCka({ batchSize: 40 }), same],
  ["mean_cca", cca(), same],
  ["mean_squared_cca", cca({ statistic: "mean-squared" }), same],
  ["svcca_99", svcca({ varianceShare: 0.99 }), same],
  ["procrustes_nuclear", procrustes({ form: "cosine" }), same],
  ["rsa_spearman_euclidean", rsa(), same],
  ["mean_row_cosine", cosine(), same],
  ["block_influence", blockInfluence(), (value) => 1 - value],
  ["mean_angular_distance", angular(), (value) => 1 - value],
  ["mean_row_euclidean", euclidean(), (value) => 1 / (1 + value)],
  ["mean_mahalanobis_ledoit_wolf", mahalanobis(), (value) => 1 / (1 + value)],
];

describe.each(cases)("$pair layers", (golden) => {
  const ctx = testContext(1);
  const x = matrix(golden.x);
  const y = matrix(golden.y);
  const applicable = measures.filter(([key]) => key in golden);

  it.each(applicable)("%s as numpy, scipy and scikit-learn give it", async (key, measure, toSimilarity) => {
    const got = await measure.compare(await measure.prepare(x, ctx), await measure.prepare(y, ctx), ctx);
    const wanted = toSimilarity(golden[key]);
    expect(Math.abs(got - wanted)).toBeLessThanOrEqual(rtol * Math.max(Math.abs(wanted), 1e-300));
  });

  it("the angular Procrustes form, to √ε where the angle vanishes", async () => {
    const measure = procrustes();
    const got = await measure.compare(await measure.prepare(x, ctx), await measure.prepare(y, ctx), ctx);
    const wanted = 1 - (2 / Math.PI) * Math.acos(Math.min(1, golden.procrustes_nuclear));
    expect(Math.abs(got - wanted)).toBeLessThanOrEqual(Math.sqrt(8 * Number.EPSILON));
  });

  if ("ledoit_wolf_shrinkage" in golden) {
    it("Ledoit–Wolf shrinkage", async () => {
      const { shrinkage } = await ledoitWolf(matrix([...golden.x, ...golden.y]), ctx);
      expect(Math.abs(shrinkage / golden.ledoit_wolf_shrinkage - 1)).toBeLessThanOrEqual(rtol);
    });
  }
});
