import {
  type BlockView,
  defineRepair,
  type ModelRunner,
  type RunContext,
  type Tap,
  tensor,
  z,
} from "@layerfold/core";
import { ridgeLeastSquares } from "@layerfold/linalg";
import { specOf } from "./block-linear.js";
import { type CalibratedGroup, groupByGroup } from "./front-to-back.js";
import { chooseRidge, type FitOptions, fitOptions, gatherEquations, missingUpdate } from "./least-squares.js";
import { identity, withMappedUpdate } from "./mapped-update.js";
import { mlpOf, whyMergedMlpStays } from "./neurons.js";

/**
 * The removed layers as a linear map Δ that is added: Z ≈ X + U·Δ, Δ = (UᵀU + λI)⁻¹ Uᵀ(Z − X), X the stream before them (Ghosted Layers,
 * arXiv 2605.15491). The paper has U = X and keeps Δ as a matrix of its own, which no config holds. Here U is that part of X whose map
 * lives in weights that exist: what the MLP of the block before them adds, and in families whose attention runs beside the MLP what
 * attention adds too, each with its own Δ. W ← (I + Δ)ᵀW. The ridge pulls towards leaving the block alone; `linear` pulls towards 0.
 *
 * Cost per group: two runs of its block, tokens · U's width² for the Gram and width³ for the solution.
 *
 * @throws REPAIR_UNSUPPORTED for experts and for families that normalise the MLP's output; CALIBRATION_EMPTY;
 * MATRIX_NOT_POSITIVE_DEFINITE
 */
export const residualLinear = defineRepair({
  id: "residual-linear",
  summary: "add a linear map of the block's updates in place of the removed layers (after Ghosted Layers)",
  optionsSchema: z.strictObject(fitOptions),
  create: (options) => ({ refuses: whyMergedMlpStays, fit: groupByGroup(options, fitDelta) }),
});

async function fitDelta(
  model: ModelRunner,
  group: CalibratedGroup,
  block: BlockView,
  options: FitOptions,
  ctx: RunContext,
): Promise<BlockView> {
  if (group.layers.length === 1) return block;
  mlpOf(block);
  const size = model.hiddenSize;
  const { residual, mixer, mixerPostNorm } = specOf(block);
  const beside = residual === "parallel" && mixer.kind === "attention" && !mixerPostNorm;
  const taps: Tap[] = beside ? ["mlp.update", "attention.update"] : ["mlp.update"];
  const equations = await gatherEquations(
    group,
    { features: taps.length * size, targets: size },
    options,
    async ({ input, target }) => {
      const run = await model.runBlock(group.anchor, input, { replace: block, taps });
      return {
        features: taps.map((tap) => run.taps.get(tap)!),
        target: missingUpdate(target, run.hidden.states, { scale: 1 }),
      };
    },
    ctx,
  );
  const prior = tensor(new Float64Array(taps.length * size * size), [taps.length * size, size]);
  const { equations: all, ridge } = await chooseRidge(equations, prior, options, ctx);
  const delta = await ridgeLeastSquares({ ...all, ridge, overwrite: true }, ctx);
  let repaired = block;
  for (const [part, tap] of taps.entries()) {
    const map = identity(size);
    for (let i = 0; i < map.data.length; i++) map.data[i] += delta.data[part * size * size + i];
    repaired = await withMappedUpdate(
      repaired,
      tap === "mlp.update" ? "mlp.down" : "attention.output",
      map,
      ctx,
    );
  }
  return repaired;
}
