import {
  type BlockView,
  defineRepair,
  groupName,
  type ModelRunner,
  type RunContext,
  tensor,
  z,
} from "@layerfold/core";
import {
  firstReason,
  float64,
  specOf,
  stackRows,
  sumOfVectors,
  vectorOf,
  withTensors,
} from "./block-linear.js";
import { chooseByRows, mostRows } from "./choose-by-rows.js";
import { type CalibratedGroup, denseLayers, frontToBack } from "./front-to-back.js";
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
import {
  type InputMapOptions,
  inputMapOptions,
  mapHeadInputs,
  mapNeuronInputs,
  withInputMaps,
  withNeuronInputMaps,
} from "./input-maps.js";
import {
  chooseRidge,
  type FitOptions,
  fitOptions,
  gatherEquations,
  gatherFewRows,
  gramDtype,
  missingUpdate,
  ridgeFit,
  warnOfFewTokens,
} from "./least-squares.js";
import { sayStep } from "./long-fits.js";
import {
  downOutput,
  feedForwardOf,
  joinNeurons,
  mlpOf,
  type Neurons,
  selectNeurons,
  whyDownStays,
  whyNeuronsStay,
  withNeurons,
} from "./neurons.js";
import {
  blockSaliency,
  type ComponentFit,
  componentFit,
  featureSaliency,
  ofFeatures,
  pickRows,
  withoutFeatures,
} from "./normal-equations.js";
import { recallCosts, recallOptions } from "./recall.js";
import { reconstruct, whyRefitStays } from "./reconstruct.js";
import { learns, refineNeurons, refineOptions } from "./refine-neurons.js";
import { hiddenEquations, hiddenRows, refitDown } from "./refit-down.js";

/** Neurons go in so many rounds, the saliencies being taken anew for each. */
const rounds = 4;

/**
 * Fills the block of each group anew with the best heads and neurons of all its layers; it stands for strategy and repair at once.
 * From the front, on the folded model's own stream x, with Z the dense stream behind the group:
 *
 * 1. Norm gains move into the projections behind them, so that components of different layers can stand behind one norm.
 * 2. Heads: every key/value group of every layer runs on x. Design A = their outputs side by side, target = the sum of the layers' dense
 *    attention updates (`sum`), or Z − x with all the layers' neurons beside them in the design (`joint`); prior = the layers' output
 *    projections. W = (AᵀwA + λI)⁻¹(AᵀwT + λW₀); the key/value group of least saliency tr(W_Sᵀ[(G⁻¹)_SS]⁻¹W_S) goes, again and again,
 *    until as many are left as a block has. With `recallHeads` the groups that recall needs most stay whatever their saliency, if
 *    it needs them by `recallLeast`; see `recallCosts`.
 * 3. Neurons: the gate/up pairs of every layer on the new mid stream, target Z − x_mid, saliency ‖w_j‖²/(G⁻¹)_jj, down to a block's width.
 * 4. With `refineEpochs` the neurons of a group of several layers go on from there by gradient steps on the same local target, and with
 *    `refineBehind` those of layers close behind it; see `refineNeurons`.
 * 5. A group of one layer has its down projection refitted (`reconstruct`), unless `refitSingles` is false.
 *
 * With `inputMapRidge` every head and neuron first has its inputs mapped; see `mapHeadInputs` and `mapNeuronInputs`.
 *
 * Where attention and MLP run side by side, steps 2 and 3 are one fit of both to Z − x. Where queries and keys pass a norm for each head,
 * candidates are run behind the norm of the layer whose place is filled, which is how they would stand there. A mixture of experts keeps
 * those of that layer, refitted.
 *
 * Saliencies are the optimal brain surgeon's (Hassibi & Stork 1993). Ours; nearest relatives: FlattenGPT (arXiv 2602.08858), CoMe
 * (arXiv 2510.15304). Heads stay as they are in a group that holds layer 0, whose stream is like no other.
 *
 * Cost per group of n layers: about n + 3 runs of a block and n of its attention, tokens · (n · width)² for the Gram, (n · width)³ for the inverse.
 * Memory: a few blocks and 8 · (n · width)² bytes, whatever the number of tokens. Beyond 16,384 neurons (`gramPrecision`) it is 2 · (n · width)²
 * bytes: neurons are chosen in float32, in the Gram's own memory, and fitted in float64 to the text, which is run once more
 * (`GRAM_SINGLE_PRECISION`); or, from a quarter as many tokens and one ridge, by the tokens' products (`chooseByRows`). The plan's weights are
 * not looked at.
 *
 * @throws REPAIR_UNSUPPORTED for families that normalise what a block adds, attention that normalises queries over all heads
 * (there `heads: "none"` may do); CALIBRATION_EMPTY; MATRIX_NOT_POSITIVE_DEFINITE
 */
export const componentFold = defineRepair({
  id: "component-fold",
  summary: "fill each folded block with the best heads and neurons of all its layers, refitted",
  optionsSchema: z.strictObject({
    ...fitOptions,
    heads: z
      .enum(["sum", "joint", "none"])
      .default("sum")
      .describe("target of the heads' fit, or leave the heads of the kept layer"),
    headRidge: z.array(z.number().positive()).min(1).default([1e-2]).describe("`ridge` of the heads' fit"),
    neurons: z
      .boolean()
      .default(true)
      .describe(
        "choose neurons from all layers; false keeps the kept layer's and refits their down projection",
      ),
    choiceEvery: z
      .number()
      .int()
      .min(1)
      .default(1)
      .describe(
        "heads and neurons are chosen on every so many-th calibration batch; the down projection is then refitted on all of them",
      ),
    refitSingles: z
      .boolean()
      .default(true)
      .describe(
        "refit the down projection of groups of one layer too; false leaves those layers as they are",
      ),
    ...recallOptions,
    ...inputMapOptions,
    ...refineOptions,
  }),
  create: (options) => {
    const foldsHeads = (layers: readonly number[]) =>
      options.heads !== "none" && layers.length > 1 && !layers.includes(0);
    const holdsOut = options.ridge.length > 1 || options.headRidge.length > 1 || options.refineEpochs > 0;
    return {
      merges: true,
      withoutMerging() {
        const shared = Object.keys(reconstruct.optionsSchema.shape);
        return reconstruct(
          Object.fromEntries(Object.entries(options).filter(([name]) => shared.includes(name))),
        );
      },
      alternatives: [{ heads: "none" }],
      refuses(layers) {
        if (layers.length === 1) {
          return options.refitSingles ? whyRefitStays(layers, options) : undefined;
        }
        const [{ spec }] = layers;
        const heads = foldsHeads(layers.map(({ layer }) => layer));
        const beside = heads && (options.heads === "joint" || spec.residual === "parallel");
        const apart =
          beside || options.refineEpochs > 0 || (options.neurons && spec.feedForward.kind === "mlp");
        return (
          firstReason(layers, (layer) => whyDownStays(layer.spec)) ??
          (heads ? whyHeadsStayApart(layers) : undefined) ??
          (apart ? firstReason(layers, whyNeuronsStay) : undefined)
        );
      },
      fit: (model, plan, folded, calibration, ctx, finished) => {
        const ofHeads = plan.groups
          .map(({ layers }) => layers)
          .filter(foldsHeads)
          .flat();
        let measured: ReturnType<typeof recallCosts> | undefined;
        /** Which of the layers' key/value groups, one after the other, recall needs most; measured once, when the first group asks. */
        const recallHeadsOf = async (layers: readonly number[]) => {
          if (options.recallHeads === 0) return [];
          measured ??= recallCosts(
            model,
            plan.groups[0].layers[0],
            ofHeads,
            calibration,
            options.recallTokens,
            ctx,
          );
          const costs = await measured;
          const ofGroups = layers.flatMap((layer) => costs.get(layer)!);
          return descending(ofGroups)
            .filter((group) => ofGroups[group] >= options.recallLeast)
            .slice(0, options.recallHeads);
        };
        return frontToBack(
          model,
          plan,
          calibration(),
          {
            needsUpdates: (layers) => options.heads === "sum" && foldsHeads(layers),
            fills: (group) => options.refitSingles || group.layers.length > 1 || learns(group, options),
            heldOutEvery: holdsOut ? options.heldOutEvery : 0,
            folded,
            finished,
            async fill(group, unrepaired) {
              const { choiceEvery } = options;
              const looked = choiceEvery > 1 ? withEvery(choiceEvery, group) : group;
              if (group.layers.length === 1) {
                const fitted = options.refitSingles
                  ? await refitDown(
                      model,
                      group,
                      await withInputMaps(model, looked, unrepaired, options, ctx),
                      options,
                      ctx,
                    )
                  : unrepaired;
                return refineNeurons(model, group, fitted, options, ctx);
              }
              // Each step reads the dense layers for itself, so that nobody holds them while the next works.
              const anchor = await model.block(group.anchor);
              const { kind } = feedForwardOf(anchor);
              const heads = foldsHeads(group.layers);
              const headOptions = { ...options, ridge: options.headRidge };
              const block = heads
                ? await foldHeads(
                    model,
                    looked,
                    { ...headOptions, pinned: await recallHeadsOf(group.layers) },
                    ctx,
                  )
                : anchor;
              const whole = heads && specOf(anchor).residual === "parallel";
              const picksNeurons = options.neurons && kind === "mlp";
              const filled = whole
                ? block
                : picksNeurons
                  ? await foldNeurons(model, looked, block, options, ctx)
                  : await refitDown(
                      model,
                      looked,
                      await withNeuronInputMaps(model, looked, block, options, ctx),
                      options,
                      ctx,
                    );
              const refined = await refineNeurons(model, group, filled, options, ctx);
              return refined === filled && looked !== group
                ? refitDown(model, group, filled, options, ctx)
                : refined;
            },
          },
          ctx,
        );
      },
    };
  },
});

/** The group, every so many-th batch of its text. */
function withEvery(step: number, group: CalibratedGroup): CalibratedGroup {
  const batchCount = Math.ceil(group.batchCount / step);
  return {
    ...group,
    batchCount,
    async *batches(from = 0, to = batchCount) {
      for (let b = from; b < to; b++) yield* group.batches(b * step, b * step + 1);
    },
  };
}

interface HeadOptions extends FitOptions, InputMapOptions {
  readonly heads: "sum" | "joint" | "none";
  readonly neurons: boolean;
  /** Key/value groups of the layers, one after the other, that stay whatever their saliency, the most needed first. */
  readonly pinned: readonly number[];
}

/** Step 2: the block with the best key/value groups of all layers; in a parallel block, with the best neurons too. */
async function foldHeads(
  model: ModelRunner,
  group: CalibratedGroup,
  { neurons: choosesNeurons, heads, pinned, ...options }: HeadOptions,
  ctx: RunContext,
): Promise<BlockView> {
  const { layers, anchor } = await denseLayers(model, group);
  const { headCount, keyValueHeadCount, headSize } = attentionOf(anchor);
  for (const layer of layers) checkSameAttention(anchor, layer);
  const candidates = await mapHeadInputs(model, group, anchor, layers, options, ctx);
  const parallel = specOf(anchor).residual === "parallel";
  const queries = (headCount / keyValueHeadCount) * headSize;
  const beside = parallel && !choosesNeurons ? [anchor] : layers;
  const neurons =
    heads === "joint" || parallel
      ? joinNeurons(await mapNeuronInputs(model, group, anchor, beside, options, ctx))
      : undefined;
  const prior = stackRows([...layers.map(headOutputs), ...(neurons ? [neurons.down] : [])]);
  const [features, targets] = prior.shape;
  const headFeatures = layers.length * headCount * headSize;
  const outputBias = sumOfVectors(layers.map((layer) => vectorOf(layer, "attention.output.bias")));
  const downBias = sumOfVectors(beside.map((layer) => vectorOf(layer, "mlp.down.bias")));
  const output = {
    scale: specOf(anchor).residualScale ?? 1,
    bias: sumOfVectors([outputBias, neurons && downBias]),
  };
  const wide = neurons && withNeurons(readsPlainNorm(anchor), neurons);
  const equations = await gatherEquations(
    group,
    { features, targets },
    options,
    async ({ input, target, updates }) => {
      const parts = [];
      for (const candidate of candidates) {
        const { taps } = await model.runBlock(group.anchor, input, {
          replace: withQueryKeyNormOf(anchor, candidate),
          taps: ["attention.heads"],
          tapsOnly: true,
        });
        parts.push(taps.get("attention.heads")!);
      }
      if (!wide) return { features: parts, target: missingUpdate(updates!, undefined, output) };
      const { taps } = await model.runBlock(group.anchor, input, {
        replace: wide,
        taps: ["mlp.hidden"],
        tapsOnly: true,
      });
      return {
        features: [...parts, taps.get("mlp.hidden")!],
        target: missingUpdate(target, input.states, output),
      };
    },
    ctx,
  );
  const prior64 = float64(prior);
  const { equations: all, ridge } = await chooseRidge(equations, prior64, options, ctx);
  const say = (step: string) => sayStep(groupName(group), step, features, ctx);
  say(`factorisation of ${features} activations`);
  const fit = await componentFit(all, prior64, ridge, ctx);
  say(`choice of ${keyValueHeadCount} among ${headFeatures / queries} key/value groups`);
  const blocks = await chooseBlocks(
    fit,
    headFeatures / queries,
    queries,
    keyValueHeadCount,
    pinned.slice(0, keyValueHeadCount),
    ctx,
  );
  const kept = blocks.chosen.flatMap((b) => Array.from({ length: queries }, (_, i) => b * queries + i));
  const rest = parallel
    ? (await chooseFeatures(blocks.fit, kept.length, mlpOf(anchor).intermediateSize, ctx)).slice(kept.length)
    : Array.from({ length: features - headFeatures }, (_, i) => headFeatures + i);
  const index = [...kept, ...rest];
  say(`fit of ${index.length} activations`);
  const weights = await ridgeFit(ofFeatures(all, index), pickRows(prior64, index), ridge, ctx);
  const rows = (from: number, to: number) =>
    tensor(weights.data.slice(from * targets, to * targets), [to - from, targets]);
  const groups = candidates.flatMap(headGroupsOf);
  const tensors = headTensors(
    anchor,
    blocks.chosen.map((b) => groups[b]),
    rows(0, kept.length),
  );
  const filled = withTensors(anchor, [
    ...tensors,
    ...(outputBias ? [["attention.output.bias", tensor(outputBias)] as const] : []),
  ]);
  if (!parallel || !neurons) return filled;
  const chosen = selectNeurons(
    neurons,
    rest.map((feature) => feature - headFeatures),
  );
  return withDownBias(withNeurons(filled, { ...chosen, down: rows(kept.length, index.length) }), downBias);
}

function withDownBias(block: BlockView, bias: Float32Array | undefined): BlockView {
  return bias ? withTensors(block, [["mlp.down.bias", tensor(bias)]]) : block;
}

/** Indices of the values, that of the largest first. */
function descending(values: readonly number[] | Float64Array): number[] {
  return Array.from(values.keys()).sort((a, b) => values[b] - values[a]);
}

/**
 * Takes blocks of `width` leading features away, the one of least saliency first, until `count` of them stay, those that must among them;
 * and the fit that is left.
 */
async function chooseBlocks(
  fit: ComponentFit,
  blockCount: number,
  width: number,
  count: number,
  pinned: readonly number[],
  ctx: RunContext,
): Promise<{ readonly chosen: readonly number[]; readonly fit: ComponentFit }> {
  const alive = Array.from({ length: blockCount }, (_, b) => b);
  let current = fit;
  while (alive.length > count) {
    let least = { at: 0, saliency: Number.POSITIVE_INFINITY };
    const columns = (at: number) => Array.from({ length: width }, (_, i) => at * width + i);
    for (let at = 0; at < alive.length; at++) {
      if (pinned.includes(alive[at])) continue;
      const saliency = await blockSaliency(current, columns(at), ctx);
      if (saliency < least.saliency) least = { at, saliency };
    }
    current = await withoutFeatures(current, columns(least.at), ctx);
    alive.splice(least.at, 1);
  }
  return { chosen: alive, fit: current };
}

/** The neurons of all layers, standing in a block's place, and the sum of their down projections' biases. */
async function neuronsOfLayers(
  model: ModelRunner,
  group: CalibratedGroup,
  block: BlockView,
  options: InputMapOptions,
  ctx: RunContext,
): Promise<{ readonly neurons: Neurons; readonly bias: Float32Array | undefined }> {
  const { layers } = await denseLayers(model, group);
  return {
    neurons: joinNeurons(await mapNeuronInputs(model, group, block, layers, options, ctx)),
    bias: sumOfVectors(layers.map((layer) => vectorOf(layer, "mlp.down.bias"))),
  };
}

/** Step 3: the block with the best neurons of all layers. */
async function foldNeurons(
  model: ModelRunner,
  group: CalibratedGroup,
  block: BlockView,
  options: FitOptions & InputMapOptions,
  ctx: RunContext,
): Promise<BlockView> {
  const { neurons, bias } = await neuronsOfLayers(model, group, block, options, ctx);
  const plain = readsPlainNorm(block);
  const { chosen, down, ridge } = await chooseNeurons(model, group, plain, neurons, bias, options, ctx);
  const some = selectNeurons(neurons, chosen);
  const filled = withDownBias(withNeurons(plain, { ...some, down: down ?? some.down }), bias);
  return down
    ? filled
    : refitDown(model, group, filled, { ...options, gramPrecision: "auto", ridge: [ridge] }, ctx);
}

/** Which neurons stay, and their down projection, [neurons, hidden], unless it must be fitted to the text anew. */
async function chooseNeurons(
  model: ModelRunner,
  group: CalibratedGroup,
  block: BlockView,
  neurons: Neurons,
  bias: Float32Array | undefined,
  options: FitOptions,
  ctx: RunContext,
): Promise<{ chosen: readonly number[]; down: Neurons["down"] | undefined; ridge: number }> {
  const { intermediateSize } = mlpOf(block);
  const prior = neurons.down;
  const [candidates] = prior.shape;
  const wide = withNeurons(block, neurons);
  const output = { scale: downOutput(block).scale, bias };
  const say = (step: string) => sayStep(groupName(group), step, candidates, ctx);
  // A Gram so wide that it is float32 is not kept beside its inverse: the choice works in its memory.
  const overwrite = gramDtype(candidates, options.gramPrecision) === "float32";
  if (overwrite && options.ridge.length === 1) {
    const [ridge] = options.ridge;
    say(`activations of ${candidates} neurons`);
    const observe = hiddenRows(model, group, wide, output);
    const few = await gatherFewRows(group, mostRows(candidates), options, observe);
    if (few) {
      say(`choice of ${intermediateSize} among ${candidates} neurons by ${few.target.shape[0]} tokens`);
      warnOfFewTokens(groupName(group), few.target.shape[0], candidates, ridge, ctx);
      const sizes = roundSizes(candidates, intermediateSize);
      const { chosen, weights } = await chooseByRows(few, prior, ridge, sizes, ctx);
      return { chosen, down: weights, ridge };
    }
  }
  const { equations, ridge } = await hiddenEquations(model, group, wide, prior, output, options, ctx);
  say(`factorisation of ${candidates} neurons`);
  const fit = await componentFit(equations, prior, ridge, ctx, { overwrite });
  say(`choice of ${intermediateSize} among ${candidates} neurons`);
  const chosen = await chooseFeatures(fit, 0, intermediateSize, ctx);
  if (overwrite) {
    ctx.report?.({
      type: "diagnostic",
      severity: "info",
      code: "GRAM_SINGLE_PRECISION",
      message: `${groupName(group)}: ${candidates} neurons are chosen from in float32, and fitted in float64`,
    });
    return { chosen, down: undefined, ridge };
  }
  const down = await ridgeFit(ofFeatures(equations, chosen), pickRows(prior, chosen), ridge, ctx);
  return { chosen, down, ridge };
}

/** How many features are left after each round of equal shares. */
function roundSizes(start: number, count: number): number[] {
  return Array.from({ length: rounds }, (_, r) =>
    r + 1 === rounds ? count : Math.floor(start * (count / start) ** ((r + 1) / rounds)),
  );
}

/** The features that are left when all but the first `fixed` go in rounds of equal shares, those of least saliency first. */
async function chooseFeatures(
  fit: ComponentFit,
  fixed: number,
  count: number,
  ctx: RunContext,
): Promise<readonly number[]> {
  let current = fit;
  for (const size of roundSizes(fit.features.length - fixed, count)) {
    const saliency = featureSaliency(current).fill(Number.POSITIVE_INFINITY, 0, fixed);
    const order = descending(saliency);
    const gone = order.slice(fixed + size).sort((a, b) => a - b);
    if (size === count) {
      const away = new Set(gone);
      return current.features.filter((_, i) => !away.has(i));
    }
    current = await withoutFeatures(current, gone, ctx);
  }
  return current.features;
}
