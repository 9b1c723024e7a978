/**
 * A similarity measure of one's own, in one file: do two layers give every sample the same nearest neighbours?
 *
 * In code it is used like any other: `similarityMatrix(neighborOverlap({ neighborCount: 5 }), layers, ctx)`.
 * The command line takes it by path: `layerfold similarity DIR --measure ./neighbor-overlap.ts --set similarity.neighborCount=5`.
 */
import { contiguousData, defineSimilarity, LayerfoldError, type Matrix, z } from "@layerfold/core";

const optionsSchema = z.strictObject({
  neighborCount: z.number().int().min(1).default(10).describe("neighbours of a sample that are compared"),
});

/** For every sample the set of its nearest other samples. */
type Neighborhoods = readonly ReadonlySet<number>[];

/**
 * Mutual k-nearest-neighbour overlap: the share of a sample's neighbours that are its neighbours in both layers, averaged over samples; in
 * [0, 1] (Huh et al. 2024, arXiv 2405.07987, appendix A). Distances are Euclidean, so translation, rotation and isotropic scale change nothing.
 */
const neighborOverlap = defineSimilarity<Neighborhoods, typeof optionsSchema>({
  id: "neighbor-overlap",
  summary: "share of nearest neighbours that two layers have in common",
  optionsSchema,
  create: ({ neighborCount }) => ({
    traits: {
      symmetric: true,
      stochastic: false,
      range: [0, 1],
      invariantTo: ["translation", "isotropic-scale", "rotation"],
    },
    // Once per layer: whatever can be worked out without knowing the other layer.
    prepare: (layer) => neighborhoods(layer, neighborCount),
    // Once per pair.
    compare(a, b) {
      if (a.length !== b.length) {
        throw new LayerfoldError("SAMPLE_COUNT_MISMATCH", "the layers hold different numbers of samples", {
          wanted: `${a.length}`,
          got: `${b.length}`,
        });
      }
      let shared = 0;
      for (const [i, own] of a.entries()) for (const j of own) if (b[i].has(j)) shared++;
      return shared / (a.length * neighborCount);
    },
  }),
});

export default neighborOverlap;

function neighborhoods(layer: Matrix, neighborCount: number): Neighborhoods {
  const [samples, features] = layer.shape;
  if (samples <= neighborCount) {
    throw new LayerfoldError("SAMPLES_TOO_FEW", `too few samples for ${neighborCount} neighbours`, {
      wanted: `at least ${neighborCount + 1}`,
      got: `${samples}`,
    });
  }
  // A layer may be a strided view: this reads it row by row in any case.
  const values = contiguousData(layer);
  return Array.from({ length: samples }, (_, i) => {
    const squared = Float64Array.from({ length: samples }, (_, j) => {
      let sum = 0;
      for (let c = 0; c < features; c++) sum += (values[i * features + c] - values[j * features + c]) ** 2;
      return sum;
    });
    const others = Array.from({ length: samples }, (_, j) => j).filter((j) => j !== i);
    return new Set(others.sort((a, b) => squared[a] - squared[b]).slice(0, neighborCount));
  });
}
