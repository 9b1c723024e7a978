import {
  type BlockView,
  defineRepair,
  type Matrix,
  type ModelRunner,
  type RunContext,
  tensor,
  z,
} from "@layerfold/core";
import { symmetricDiagonal } from "@layerfold/linalg";
import {
  firstReason,
  float64,
  specOf,
  stackRows,
  sumOfVectors,
  vectorOf,
  withTensors,
} from "./block-linear.js";
import { type CalibratedGroup, denseLayers, groupByGroup } from "./front-to-back.js";
import {
  attentionOf,
  checkSameAttention,
  headGroupsOf,
  headOutputs,
  headTensors,
  readsPlainNorm,
  whyHeadsStayApart,
  withQueryKeyNormOf,
} from "./heads.js";
import { chooseRidge, type FitOptions, fitOptions, gatherEquations, ridgeFit } from "./least-squares.js";
import {
  downOutput,
  joinNeurons,
  mlpOf,
  neuronsOf,
  selectNeurons,
  whyNeuronsStay,
  withNeurons,
} from "./neurons.js";
import { componentFit, type NormalEquations, ofFeatures, pickRows } from "./normal-equations.js";

/**
 * Layers side by side as one wide layer, cut back to a layer's width: all heads and neurons of a group read one stream, the most important
 * stay, and the output projections make up for what goes. Importance of channel j, G the Gram of the wide layer's activations A, W₀ its
 * output projections side by side:
 * `sensitivity` = √G_jj · ‖w_j‖, how much it adds to the stream (CoMe, arXiv 2510.15304);
 * `leverage` = 1 − λ·((G + λI)⁻¹)_jj, how little the others could stand in for it (the Nyström selection of FlattenGPT, arXiv 2602.08858).
 * Key/value heads stay or go whole. Then W = argmin ‖A_S·W − A·W₀‖² + λ‖W − W₀_S‖².
 *
 * The target is what the wide layer adds, not what the dense layers did one after another: that, and choosing and fitting as one problem,
 * is what `component-fold` does instead. Layers that stand for themselves stay as they are. The plan's weights are not looked at.
 *
 * Cost per group of n layers: n + 1 runs of a block, tokens · (n · width)² for the Gram, (n · width)³ for leverage.
 *
 * @throws REPAIR_UNSUPPORTED for experts, families that normalise what a block adds, query/key norms, attention beside the MLP (there
 * `heads: false` may do), and an MLP that shares its norm with attention; CALIBRATION_EMPTY; MATRIX_NOT_POSITIVE_DEFINITE
 */
export const concatenate = defineRepair({
  id: "concatenate",
  summary: "layers side by side, cut back to the most important heads and neurons (CoMe, FlattenGPT)",
  optionsSchema: z.strictObject({
    ...fitOptions,
    importance: z
      .enum(["sensitivity", "leverage"])
      .default("sensitivity")
      .describe(
        "by what heads and neurons are chosen: how much each adds to the stream, or how little the others could stand in for it",
      ),
    compensate: z
      .boolean()
      .default(true)
      .describe("refit the output projections; false merely takes channels away"),
    heads: z
      .boolean()
      .default(true)
      .describe("choose among the heads of all layers; false keeps the kept layer's"),
  }),
  create: (options) => ({
    merges: true,
    alternatives: [{ heads: false }],
    refuses(layers) {
      if (layers.length === 1) return undefined;
      return (options.heads ? whyHeadsStayApart(layers) : undefined) ?? firstReason(layers, whyNeuronsStay);
    },
    fit: groupByGroup(options, async (model, group, block, fit, ctx) => {
      if (group.layers.length === 1) return block;
      const { layers, anchor } = await denseLayers(model, group);
      const withHeads = fit.heads ? await cutHeads(model, group, layers, anchor, fit, ctx) : anchor;
      return cutNeurons(model, group, layers, withHeads, fit, ctx);
    }),
  }),
});

interface CutOptions extends FitOptions {
  readonly importance: "sensitivity" | "leverage";
  readonly compensate: boolean;
}

async function cutHeads(
  model: ModelRunner,
  group: CalibratedGroup,
  layers: readonly BlockView[],
  anchor: BlockView,
  options: CutOptions,
  ctx: RunContext,
): Promise<BlockView> {
  const { headCount, keyValueHeadCount, headSize } = attentionOf(anchor);
  for (const layer of layers) checkSameAttention(anchor, layer);
  const width = (headCount / keyValueHeadCount) * headSize;
  const outputs = stackRows(layers.map(headOutputs));
  const bias = sumOfVectors(layers.map((layer) => vectorOf(layer, "attention.output.bias")));
  const scale = specOf(anchor).residualScale ?? 1;
  const [features, targets] = outputs.shape;
  const equations = await gatherEquations(
    group,
    { features, targets },
    options,
    async ({ input }) => {
      const heads = [];
      const sum = new Float32Array(input.states.data.length);
      for (const candidate of layers) {
        const { taps } = await model.runBlock(group.anchor, input, {
          replace: withQueryKeyNormOf(anchor, candidate),
          taps: ["attention.heads", "attention.update"],
          tapsOnly: true,
        });
        heads.push(taps.get("attention.heads")!);
        taps.get("attention.update")!.data.forEach((x, i) => {
          sum[i] += x / scale;
        });
      }
      if (bias) for (let i = 0; i < sum.length; i++) sum[i] -= bias[i % targets];
      return { features: heads, target: tensor(sum, input.states.shape) };
    },
    ctx,
  );
  const { chosen, weights } = await cut(equations, outputs, width, keyValueHeadCount, options, ctx);
  const groups = layers.flatMap(headGroupsOf);
  const tensors = headTensors(
    anchor,
    chosen.map((b) => groups[b]),
    weights,
  );
  return withTensors(anchor, [
    ...tensors,
    ...(bias ? [["attention.output.bias", tensor(bias)] as const] : []),
  ]);
}

async function cutNeurons(
  model: ModelRunner,
  group: CalibratedGroup,
  layers: readonly BlockView[],
  block: BlockView,
  options: CutOptions,
  ctx: RunContext,
): Promise<BlockView> {
  const { intermediateSize } = mlpOf(block);
  const neurons = joinNeurons(layers.map(neuronsOf));
  const bias = sumOfVectors(layers.map((layer) => vectorOf(layer, "mlp.down.bias")));
  const plain = readsPlainNorm(block);
  const wide = withNeurons(plain, neurons);
  const output = downOutput(wide);
  const [features, targets] = neurons.down.shape;
  const equations = await gatherEquations(
    group,
    { features, targets },
    options,
    async ({ input }) => {
      const { taps } = await model.runBlock(group.anchor, input, {
        replace: wide,
        taps: ["mlp.hidden", "mlp.update"],
        tapsOnly: true,
      });
      const update = taps.get("mlp.update")!;
      const target = update.data.map((x, i) => x / output.scale - (output.bias?.[i % targets] ?? 0));
      return { features: [taps.get("mlp.hidden")!], target: tensor(target, update.shape) };
    },
    ctx,
  );
  const { chosen, weights } = await cut(equations, neurons.down, 1, intermediateSize, options, ctx);
  const filled = withNeurons(plain, { ...selectNeurons(neurons, chosen), down: weights });
  return bias ? withTensors(filled, [["mlp.down.bias", tensor(bias)]]) : filled;
}

/** The `count` most important units of `width` channels each, ascending, and the output projection of their channels. */
async function cut(
  split: Parameters<typeof chooseRidge>[0],
  outputs: Matrix<Float32Array>,
  width: number,
  count: number,
  options: CutOptions,
  ctx: RunContext,
): Promise<{ chosen: number[]; weights: Matrix<Float32Array> }> {
  const prior = float64(outputs);
  const { equations, ridge } = await chooseRidge(split, prior, options, ctx);
  const channels =
    options.importance === "leverage"
      ? await leverage(equations, prior, ridge, ctx)
      : sensitivity(equations, prior);
  const units = new Float64Array(channels.length / width);
  channels.forEach((value, j) => {
    units[Math.floor(j / width)] += value;
  });
  const chosen = Array.from(units.keys())
    .sort((a, b) => units[b] - units[a] || a - b)
    .slice(0, count)
    .sort((a, b) => a - b);
  const kept = chosen.flatMap((unit) => Array.from({ length: width }, (_, i) => unit * width + i));
  const rows = pickRows(prior, kept);
  const weights = options.compensate
    ? await ridgeFit(ofFeatures(equations, kept), rows, ridge, ctx)
    : tensor(Float32Array.from(rows.data), rows.shape);
  return { chosen, weights };
}

function sensitivity({ gram }: NormalEquations, outputs: Matrix<Float64Array>): Float64Array {
  const [features, targets] = outputs.shape;
  const diagonal = symmetricDiagonal(gram);
  return Float64Array.from({ length: features }, (_, j) => {
    const row = outputs.data.subarray(j * targets, (j + 1) * targets);
    return Math.sqrt(diagonal[j]) * Math.hypot(...row);
  });
}

async function leverage(
  equations: NormalEquations,
  prior: Matrix<Float64Array>,
  ridge: number,
  ctx: RunContext,
): Promise<Float64Array> {
  const trace = symmetricDiagonal(equations.gram).reduce((sum, value) => sum + value, 0);
  const { inverse } = await componentFit(equations, prior, ridge, ctx);
  const lambda = (ridge * trace) / prior.shape[0];
  return symmetricDiagonal(inverse).map((value) => 1 - lambda * value);
}
