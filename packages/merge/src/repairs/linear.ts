import {
  type BlockView,
  defineRepair,
  type ModelRunner,
  type RunContext,
  tensor,
  z,
  zeros,
} from "@layerfold/core";
import { ridgeLeastSquares } from "@layerfold/linalg";
import { float64, specOf, stored, vectorOf, weightOf, withTensors } from "./block-linear.js";
import { type CalibratedGroup, groupByGroup } from "./front-to-back.js";
import { type FitOptions, fitOptions, gatherEquations, missingUpdate, settle } from "./least-squares.js";
import { mlpOf } from "./neurons.js";

/**
 * ReplaceMe (arXiv 2505.02819, eq. 5): the layers that went behind a kept one are replaced by one linear map on its MLP's output,
 * T = argmin ‖M·T + Y − Z‖² + λ‖T‖², M = what the MLP adds to the stream, Y = the stream before it, Z = the dense stream behind the
 * group. T goes into the down projection: W ← TᵀW, b ← Tᵀb. Blocks that stand for themselves stay as they are.
 *
 * Cost per group: two runs of its block, tokens · hidden² for the Gram and hidden³ for the solution.
 *
 * @throws REPAIR_UNSUPPORTED for experts and for families that normalise the MLP's output; CALIBRATION_EMPTY;
 * MATRIX_NOT_POSITIVE_DEFINITE
 */
export const linear = defineRepair({
  id: "linear",
  summary: "replace the removed layers by a linear map on the MLP before them (ReplaceMe)",
  optionsSchema: z.strictObject({
    ...fitOptions,
    ridge: z.array(z.number().positive()).min(1).default([1e-6]),
    tokenWeighting: z.enum(["none", "inverse-norm", "inverse-squared-norm"]).default("none"),
  }),
  create: (options) => ({ fit: groupByGroup(options, fitMap) }),
});

async function fitMap(
  model: ModelRunner,
  group: CalibratedGroup,
  block: BlockView,
  options: FitOptions,
  ctx: RunContext,
): Promise<BlockView> {
  if (group.layers.length === 1) return block;
  mlpOf(block);
  const size = model.hiddenSize;
  const equations = await gatherEquations(
    group,
    { features: size, targets: size },
    options,
    async ({ input, target }) => {
      const run = await model.runBlock(group.place, input, { replace: block, taps: ["mlp.update"] });
      const update = run.taps.get("mlp.update")!;
      return { features: [update], target: missingUpdate(target, run.hidden, update, { scale: 1 }) };
    },
    ctx,
  );
  const prior = zeros([size, size], "float64");
  const { equations: all, ridge } = await settle(equations, prior, options, ctx);
  const map = await ridgeLeastSquares({ ...all, ridge }, ctx);
  const down = await ctx.engine.matmul(map, float64(weightOf(block, "mlp.down")), { transposeA: true });
  const bias = vectorOf(block, "mlp.down.bias");
  const mappedBias =
    bias && (await ctx.engine.matmul(map, tensor(Float64Array.from(bias), [size, 1]), { transposeA: true }));
  return withTensors(block, [
    ["mlp.down", stored(specOf(block), down)],
    ...(mappedBias ? [["mlp.down.bias", tensor(Float32Array.from(mappedBias.data))] as const] : []),
  ]);
}
