import {
  type BlockView,
  groupName,
  type Matrix,
  type ModelRunner,
  type RunContext,
  tensor,
} from "@layerfold/core";
import { specOf, storedWeight, transposed, weightOf, withTensors } from "./block-linear.js";
import type { CalibratedGroup } from "./front-to-back.js";
import { chooseRidge, type FitOptions, gatherEquations, missingUpdate, ridgeFit } from "./least-squares.js";
import { sayStep } from "./long-fits.js";
import { downOutput, feedForwardOf, streamWithoutMlp } from "./neurons.js";
import { refitExperts } from "./refit-experts.js";

/**
 * Refits a block's down projection by ridge least squares, so that the stream behind the block meets the dense model's behind the group:
 * W = argmin ‖A·Wᵀ − (Z − rest)‖² + λ‖W − W₀‖², A the MLP's hidden activations on the folded stream, rest all else that the block
 * leaves in the stream, W₀ the old projection. A mixture of experts is refitted expert by expert; see `refitExperts`.
 */
export async function refitDown(
  model: ModelRunner,
  group: CalibratedGroup,
  block: BlockView,
  options: FitOptions,
  ctx: RunContext,
): Promise<BlockView> {
  const feedForward = feedForwardOf(block);
  if (feedForward.kind === "moe") return refitExperts(model, group, block, feedForward, options, ctx);
  const prior = transposed(weightOf(block, "mlp.down"));
  const output = downOutput(block);
  const { equations, ridge } = await hiddenEquations(model, group, block, prior, output, options, ctx);
  const features = prior.shape[0];
  sayStep(groupName(group), `fit of ${features} neurons`, features, ctx);
  const weights = await ridgeFit(equations, prior, ridge, ctx);
  const refitted = tensor(weights.data, weights.shape);
  return withTensors(block, [["mlp.down", storedWeight(specOf(block), transposed(refitted))]]);
}

/**
 * Normal equations of the down projection, and their ridge: what a block's MLP holds inside against what it would have to add so that the
 * stream behind the block is the dense model's behind the group.
 * @param prior - [features, targets]
 * @param output - what stands behind the down projection's product
 */
export async function hiddenEquations(
  model: ModelRunner,
  group: CalibratedGroup,
  block: BlockView,
  prior: Matrix,
  output: ReturnType<typeof downOutput>,
  options: FitOptions,
  ctx: RunContext,
): ReturnType<typeof chooseRidge> {
  const [features, targets] = prior.shape;
  const observe = hiddenRows(model, group, block, output);
  return chooseRidge(
    await gatherEquations(group, { features, targets }, options, observe, ctx),
    prior,
    options,
    ctx,
  );
}

/** What `hiddenEquations` are made of, batch by batch. */
export function hiddenRows(
  model: ModelRunner,
  group: Pick<CalibratedGroup, "anchor">,
  block: BlockView,
  output: ReturnType<typeof downOutput>,
): Parameters<typeof gatherEquations>[3] {
  const beside = streamWithoutMlp(block);
  return async ({ input, target }) => {
    const { taps } = await model.runBlock(group.anchor, input, {
      replace: block,
      taps: ["mlp.hidden", ...beside.taps],
      tapsOnly: true,
    });
    return {
      features: [taps.get("mlp.hidden")!],
      target: missingUpdate(target, beside.stream(input, taps), output),
    };
  };
}
