import {
  defineEmbedding,
  type FittedEmbedding,
  LayerfoldError,
  type Matrix,
  matrixSize,
  type RunContext,
  tensor,
  z,
} from "@layerfold/core";
import { centerPoints, largestEigenpairs } from "@layerfold/linalg";

/** Variance below this share of the first component's is rounding error, not a direction. */
const noVariance = { float32: 1e-10, float64: 1e-20 };

/**
 * Principal components (Pearson 1901): the projections of the centred points on the d directions of largest variance, each with its
 * coordinate of largest magnitude positive.
 *
 * The eigenpairs are those of XᵀX or X·Xᵀ, whichever is smaller, found by products with X alone: neither is formed.
 *
 * `fit` returns coordinates [samples, d] float64; eigenvalues are the variances (divisor samples − 1), descending.
 *
 * Errors: DIMENSIONS_TOO_MANY (d > samples − 1 or d > features), POINTS_NOT_FINITE, POINTS_IDENTICAL.
 * Reports COMPONENTS_WITHOUT_VARIANCE: such coordinates are 0.
 * Cost: two products samples · features · 8 per step in the engine, some 10 to 40 steps.
 */
export const pca = defineEmbedding({
  id: "pca",
  summary: "principal components",
  optionsSchema: z.strictObject({
    dimensions: z.int().min(1).default(2).describe("coordinates of a sample"),
  }),
  create: ({ dimensions }) => ({
    async fit(points: Matrix, ctx: RunContext): Promise<FittedEmbedding> {
      const { rows, columns } = matrixSize(points, "points");
      const most = Math.min(rows - 1, columns);
      if (dimensions > most) {
        throw new LayerfoldError("DIMENSIONS_TOO_MANY", "more components than the points have directions", {
          wanted: `at most ${most}`,
          got: `${dimensions}`,
        });
      }
      const { centered, mean } = centerPoints(points);
      const cast = (m: Matrix): Matrix =>
        centered.data instanceof Float64Array ? m : tensor(new Float32Array(m.data), m.shape, m.stride);
      const bySample = rows < columns;
      // [size, block] → X·(Xᵀ·block) or Xᵀ·(X·block)
      const operator = {
        size: bySample ? rows : columns,
        apply: async (block: Matrix) => {
          const inner = await ctx.engine.matmul<Matrix>(centered, cast(block), { transposeA: bySample });
          return ctx.engine.matmul<Matrix>(centered, inner, { transposeA: !bySample });
        },
      };
      const isFloat64 = centered.data instanceof Float64Array;
      const { values, vectors } = await largestEigenpairs(operator, dimensions, ctx, {
        tolerance: isFloat64 ? 1e-10 : 1e-6,
      });
      if (!(values[0] > 0)) {
        throw new LayerfoldError("POINTS_IDENTICAL", "all samples coincide: there is nothing to embed", {
          wanted: "samples that differ",
          where: "points",
        });
      }
      const axes = bySample
        ? await ctx.engine.matmul<Matrix>(centered, cast(vectors), { transposeA: true })
        : vectors;
      const components = new Float64Array(axes.data);
      const flat = values[0] * (isFloat64 ? noVariance.float64 : noVariance.float32);
      const empty = values.filter((value) => value <= flat).length;
      if (empty > 0) {
        ctx.report?.({
          type: "diagnostic",
          severity: "warning",
          code: "COMPONENTS_WITHOUT_VARIANCE",
          message: `${empty} of ${dimensions} components have no variance: their coordinates are 0`,
        });
      }
      for (let j = 0; j < columns; j++) {
        for (let k = 0; k < dimensions; k++) {
          const length = bySample ? Math.sqrt(values[k]) : 1;
          components[j * dimensions + k] = values[k] <= flat ? 0 : components[j * dimensions + k] / length;
        }
      }
      const project = async (centeredPoints: Matrix, { engine }: RunContext) => {
        const { data, shape } = await engine.matmul<Matrix>(
          centeredPoints,
          centeredPoints.data instanceof Float64Array
            ? tensor(components, [columns, dimensions])
            : tensor(new Float32Array(components), [columns, dimensions]),
        );
        return tensor(new Float64Array(data), shape);
      };
      const coordinates = await project(centered, ctx);
      for (let k = 0; k < dimensions; k++) {
        let largest = 0;
        for (let i = 0; i < rows; i++) {
          const value = coordinates.data[i * dimensions + k];
          if (Math.abs(value) > Math.abs(largest)) largest = value;
        }
        if (largest >= 0) continue;
        for (let i = 0; i < rows; i++) coordinates.data[i * dimensions + k] *= -1;
        for (let j = 0; j < columns; j++) components[j * dimensions + k] *= -1;
      }
      return {
        coordinates,
        eigenvalues: values.map((value) => Math.max(value, 0) / (rows - 1)),
        transform: (more, context) => project(centerPoints(more, mean).centered, context),
      };
    },
  }),
});
