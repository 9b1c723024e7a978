import type { SimilarityMeasure } from "@layerfold/core";
import { similarityMeasureChecks } from "@layerfold/testkit";
import { describe, it } from "vitest";
import * as similarity from "./index.js";

const { angular, blockInfluence, cca, cosine, debiasedCka, euclidean, linearCka, mahalanobis } = similarity;
const { minibatchCka, procrustes, pwcca, random, rbfCka, relativeMagnitude, rsa, svcca } = similarity;

describe.each([
  ["angular", () => angular()],
  ["block-influence", () => blockInfluence()],
  ["cca", () => cca()],
  ["cca, mean squared", () => cca({ statistic: "mean-squared" })],
  ["cosine", () => cosine()],
  ["debiased-cka", () => debiasedCka()],
  ["euclidean", () => euclidean()],
  ["linear-cka", () => linearCka()],
  ["mahalanobis", () => mahalanobis()],
  ["procrustes", () => procrustes()],
  ["procrustes, cosine", () => procrustes({ form: "cosine" })],
  ["pwcca", () => pwcca()],
  ["random", () => random()],
  ["rbf-cka", () => rbfCka()],
  ["relative-magnitude", () => relativeMagnitude()],
  ["rsa", () => rsa()],
  ["svcca", () => svcca({ varianceShare: 0.8 })],
])("%s", (_, make) => {
  for (const { name, run } of similarityMeasureChecks(make as () => SimilarityMeasure)) it(name, run);
});

describe("minibatch-cka", () => {
  const make = () => minibatchCka({ batchSize: 11 });
  for (const { name, run } of similarityMeasureChecks(make, { orderFree: false })) it(name, run);
});

// The kernel form holds up to 8 features per sample; these layers are beyond it.
describe("linear-cka by products of features", () => {
  for (const { name, run } of similarityMeasureChecks(() => linearCka(), { samples: 48, features: 3 }))
    it(name, run);
});
