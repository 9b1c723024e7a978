import { type BlockView, defineRepair, type ModelRunner, type RunContext, z, zeros } from "@layerfold/core";
import { ridgeLeastSquares } from "@layerfold/linalg";
import { float64 } from "./block-linear.js";
import { type CalibratedGroup, type GroupBatch, groupByGroup } from "./front-to-back.js";
import { chooseRidge, type FitOptions, fitOptions, gatherEquations, missingUpdate } from "./least-squares.js";
import { withMappedUpdate } from "./mapped-update.js";
import { mlpOf, streamWithoutMlp, whyMergedMlpStays } from "./neurons.js";
import { raiseCosine } from "./update-cosine.js";

/**
 * ReplaceMe (arXiv 2505.02819, eq. 5): the layers that went behind a kept one are replaced by one linear map on its MLP's output,
 * T = argmin ‖M·T + Y − Z‖² + λ‖T‖², M = what the MLP adds to the stream, Y = the stream before it, Z = the dense stream behind the
 * group. T goes into the down projection: W ← TᵀW, b ← Tᵀb. Blocks that stand for themselves stay as they are.
 *
 * `objective: "cosine"` goes on from there to argmax E cos(M·T + Y, Z) (the paper's second objective), by closed-form steps in place of Adam; see
 * `raiseCosine`.
 *
 * Cost per group: two runs of its block, tokens · hidden² for the Gram and hidden³ for the solution; with the cosine as much again for
 * every step.
 *
 * @throws REPAIR_UNSUPPORTED for experts and for families that normalise the MLP's output; CALIBRATION_EMPTY;
 * MATRIX_NOT_POSITIVE_DEFINITE
 */
export const linear = defineRepair({
  id: "linear",
  summary: "replace the removed layers by a linear map on the MLP before them (ReplaceMe)",
  optionsSchema: z.strictObject({
    ...fitOptions,
    ridge: z
      .array(z.number().positive())
      .min(1)
      .default([1e-6])
      .describe(
        "λ as a share of the Gram's mean diagonal; of several, each block takes the one whose fit is best on the held-out batches",
      ),
    tokenWeighting: z
      .enum(["none", "inverse-norm", "inverse-squared-norm"])
      .default("none")
      .describe("a power of the norm of its target stream that a token's squared error is divided by"),
    objective: z
      .enum(["least-squares", "cosine"])
      .default("least-squares")
      .describe(
        "what the map brings nearest to the dense stream: squared distance, or from there on the mean cosine",
      ),
    steps: z
      .number()
      .int()
      .min(1)
      .default(10)
      .describe(
        "steps of the cosine objective at most; it ends when the mean cosine rises by less than 1e-6",
      ),
  }),
  create: (options) => ({
    refuses: whyMergedMlpStays,
    fit: groupByGroup(options, fitMap),
  }),
});

interface LinearOptions extends FitOptions {
  readonly objective: "least-squares" | "cosine";
  readonly steps: number;
}

async function fitMap(
  model: ModelRunner,
  group: CalibratedGroup,
  block: BlockView,
  options: LinearOptions,
  ctx: RunContext,
): Promise<BlockView> {
  if (group.layers.length === 1) return block;
  mlpOf(block);
  const size = model.hiddenSize;
  const beside = streamWithoutMlp(block);
  const run = async ({ input }: GroupBatch) => {
    const { taps } = await model.runBlock(group.anchor, input, {
      replace: block,
      taps: ["mlp.update", ...beside.taps],
      tapsOnly: true,
    });
    return { update: taps.get("mlp.update")!, rest: beside.stream(input, taps) };
  };
  const equations = await gatherEquations(
    group,
    { features: size, targets: size },
    options,
    async (batch) => {
      const { update, rest } = await run(batch);
      return { features: [update], target: missingUpdate(batch.target, rest, { scale: 1 }) };
    },
    ctx,
  );
  const prior = zeros([size, size], "float64");
  const { equations: all, ridge } = await chooseRidge(equations, prior, options, ctx);
  const leastSquares = float64(await ridgeLeastSquares({ ...all, ridge, overwrite: true }, ctx));
  if (options.objective === "least-squares") {
    return withMappedUpdate(block, "mlp.down", leastSquares, ctx);
  }
  const { map, before, after } = await raiseCosine(
    group,
    run,
    leastSquares,
    { ridge, steps: options.steps },
    ctx,
  );
  ctx.report?.({
    type: "diagnostic",
    severity: "info",
    code: "COSINE_RAISED",
    message: `group ${group.index}: mean cosine ${before.toFixed(6)} by least squares, ${after.toFixed(6)} after the cosine steps`,
  });
  return withMappedUpdate(block, "mlp.down", map, ctx);
}
