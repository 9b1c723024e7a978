import {
  defineEmbedding,
  type FittedEmbedding,
  type Matrix,
  matrixSize,
  type RunContext,
  tensor,
  z,
} from "@layerfold/core";
import { requireFinite } from "@layerfold/linalg";

/**
 * A Gaussian random projection Y = X·R, R_ij ~ N(0, 1/d): squared distances keep their expectation, and vary by √(2/d) of it
 * (Johnson & Lindenstrauss 1984; Dasgupta & Gupta 2003). The control for embeddings that look at the data.
 *
 * `fit` returns [samples, dimensions] in the points' dtype. R depends on `ctx.rng`, d and the number of features only, so
 * layers of one width are all projected alike.
 *
 * Errors: POINTS_NOT_FINITE, naming the row. O(samples · features · d) in the engine.
 */
export const randomProjection = defineEmbedding({
  id: "random-projection",
  summary: "a seeded Gaussian projection (control)",
  optionsSchema: z.strictObject({
    dimensions: z.int().min(1).default(2).describe("coordinates of a sample"),
  }),
  create: ({ dimensions }) => ({
    async fit(points: Matrix, ctx: RunContext): Promise<FittedEmbedding> {
      requireFinite(points);
      const { columns } = matrixSize(points, "points");
      const rng = ctx.rng.fork("random-projection");
      const deviation = 1 / Math.sqrt(dimensions);
      const map = Float64Array.from({ length: columns * dimensions }, () => deviation * rng.normal());
      const transform = (more: Matrix, { engine }: RunContext) =>
        engine.matmul<Matrix>(
          more,
          tensor(more.data instanceof Float64Array ? map : new Float32Array(map), [columns, dimensions]),
        );
      return { coordinates: await transform(points, ctx), transform };
    },
  }),
});
