import {
  type BlockView,
  type LayerFacts,
  type Matrix,
  type ModelRunner,
  type RunContext,
  tensor,
  throwIfAborted,
  z,
} from "@layerfold/core";
import { type BareLinear, specOf } from "./block-linear.js";
import type { CalibratedGroup } from "./front-to-back.js";
import { headGroupsOf, readsPlainNorm, whyHeadsStay, withHeadGroups } from "./heads.js";
import { ridgeFit } from "./least-squares.js";
import { feedForwardOf, type Neurons, neuronsOf, withNeurons } from "./neurons.js";
import { addRows, emptyEquations, gatherRows } from "./normal-equations.js";

export const inputMapOptions = {
  inputMapRidge: z
    .number()
    .positive()
    .optional()
    .describe(
      "heads and neurons read the folded stream through a linear map to what their layer reads in the dense model; this is the ridge of the map's fit towards the identity, in the unit of `ridge`. Without it they read the folded stream as it is",
    ),
};

export interface InputMapOptions {
  readonly inputMapRidge?: number | undefined;
}

/**
 * A group's block, its attention and its MLP reading the folded stream as the layer in whose place it stands reads the dense one.
 * Attention whose heads cannot be taken apart, and experts, read as before.
 */
export async function withInputMaps(
  model: ModelRunner,
  group: CalibratedGroup,
  block: BlockView,
  options: InputMapOptions,
  ctx: RunContext,
): Promise<BlockView> {
  const [reading] = whyHeadsStay(specOf(block))
    ? [block]
    : await mapHeadInputs(model, group, block, [{ ...block, layer: group.anchor }], options, ctx);
  return withNeuronInputMaps(model, group, reading, options, ctx);
}

/** Whether a layer's neurons are taken apart to have their inputs mapped. */
export function mapsNeuronInputs(
  { spec }: LayerFacts,
  { inputMapRidge }: Pick<InputMapOptions, "inputMapRidge">,
): boolean {
  return inputMapRidge !== undefined && spec.feedForward.kind === "mlp";
}

/** The same for its MLP alone. */
export async function withNeuronInputMaps(
  model: ModelRunner,
  group: CalibratedGroup,
  block: BlockView,
  options: InputMapOptions,
  ctx: RunContext,
): Promise<BlockView> {
  if (options.inputMapRidge === undefined || feedForwardOf(block).kind !== "mlp") return block;
  const own = { ...block, layer: group.anchor };
  const [neurons] = await mapNeuronInputs(model, group, block, [own], options, ctx);
  return withNeurons(readsPlainNorm(block), neurons);
}

/**
 * Blocks of several layers whose queries, keys and values, standing in a group's place, read what they would in the dense model.
 * @param anchor - the block behind whose norm they will stand
 * @param blocks - ascending; `layer` names the dense layer that read what each should read
 */
export async function mapHeadInputs(
  model: ModelRunner,
  group: CalibratedGroup,
  anchor: BlockView,
  blocks: readonly BlockView[],
  options: InputMapOptions,
  ctx: RunContext,
): Promise<readonly BlockView[]> {
  if (options.inputMapRidge === undefined) return blocks;
  const maps = await readMaps(model, group, "attention.input", anchor, blocks, options.inputMapRidge, ctx);
  const result: BlockView[] = [];
  for (const [i, block] of blocks.entries()) {
    const groups = [];
    for (const { query, key, value } of headGroupsOf(block)) {
      groups.push({
        query: await through(query, maps[i], ctx),
        key: await through(key, maps[i], ctx),
        value: await through(value, maps[i], ctx),
      });
    }
    result.push(withHeadGroups(block, groups));
  }
  return result;
}

/** The same for the neurons of several layers, behind the attention of `anchor`. */
export async function mapNeuronInputs(
  model: ModelRunner,
  group: CalibratedGroup,
  anchor: BlockView,
  blocks: readonly BlockView[],
  options: InputMapOptions,
  ctx: RunContext,
): Promise<readonly Neurons[]> {
  const neurons = blocks.map(neuronsOf);
  if (options.inputMapRidge === undefined) return neurons;
  const maps = await readMaps(model, group, "mlp.input", anchor, blocks, options.inputMapRidge, ctx);
  const result: Neurons[] = [];
  for (const [i, { gate, gateBias, up, upBias, down }] of neurons.entries()) {
    const mappedGate = gate && (await through({ weight: gate, bias: gateBias }, maps[i], ctx));
    const mappedUp = await through({ weight: up, bias: upBias }, maps[i], ctx);
    result.push({ gate: mappedGate?.weight, gateBias, up: mappedUp.weight, upBias, down });
  }
  return result;
}

async function through(
  { weight, bias }: BareLinear,
  map: Matrix<Float32Array>,
  ctx: RunContext,
): Promise<BareLinear> {
  return { weight: await ctx.engine.matmul(weight, map), bias };
}

/**
 * For the dense layer of every block the map M, [hidden, hidden], for which M·n is nearest to what the layer reads, n being what `anchor` reads in
 * the folded stream, both behind norms of gain 1: argmin Σ ‖M·n − n_dense‖² + λ‖M − I‖². What remains of the layers between, and of the
 * folds before, is the part of it that is linear in n. All tokens weigh alike, since a norm stands before them.
 *
 * Cost: a run of the group's layers and of one block, tokens · hidden² · (layers + 1) operations and hidden³ for the solution.
 */
async function readMaps(
  model: ModelRunner,
  group: CalibratedGroup,
  tap: "attention.input" | "mlp.input",
  anchor: BlockView,
  blocks: readonly BlockView[],
  ridge: number,
  ctx: RunContext,
): Promise<readonly Matrix<Float32Array>[]> {
  const size = model.hiddenSize;
  const width = blocks.length * size;
  const equations = emptyEquations(size, width);
  const reader = behindPlainNorm(anchor, tap);
  const dense = new Map<number, BlockView>();
  for (const { layer } of blocks) dense.set(layer, behindPlainNorm(await model.block(layer), tap));
  for await (const batch of group.batches()) {
    throwIfAborted(ctx.signal);
    const { taps } = await model.runBlock(group.anchor, batch.input, {
      replace: reader,
      taps: [tap],
      tapsOnly: true,
    });
    const wanted = [];
    let stream = await batch.dense();
    for (const layer of group.layers) {
      if (wanted.length === blocks.length) break;
      const taken = dense.get(layer);
      const out = await model.runBlock(layer, stream, { replace: taken, taps: taken ? [tap] : [] });
      stream = out.hidden;
      if (taken) wanted.push(out.taps.get(tap)!);
    }
    const { lengths } = batch.input;
    await addRows(equations, gatherRows([taps.get(tap)!], lengths), gatherRows(wanted, lengths), ctx);
  }
  const identities = new Float64Array(size * width);
  for (let i = 0; i < size; i++)
    for (let l = 0; l < blocks.length; l++) identities[i * width + l * size + i] = 1;
  // One fit for all layers; it gives the maps' transposes side by side.
  const { data } = await ridgeFit(equations, tensor(identities, [size, width]), ridge, ctx);
  return blocks.map((_, l) => {
    const map = new Float32Array(size * size);
    for (let i = 0; i < size; i++)
      for (let o = 0; o < size; o++) map[o * size + i] = data[i * width + l * size + o];
    return tensor(map, [size, size]);
  });
}

/** A block that adds the same, and whose norm before attention or MLP has gain 1. */
function behindPlainNorm(block: BlockView, tap: "attention.input" | "mlp.input"): BlockView {
  if (tap === "attention.input") return withHeadGroups(block, headGroupsOf(block));
  return withNeurons(readsPlainNorm(block), neuronsOf(block));
}
