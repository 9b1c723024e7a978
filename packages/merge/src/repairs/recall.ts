import {
  type BlockView,
  contiguousData,
  type Matrix,
  type ModelRunner,
  type RunContext,
  type TokenBatch,
  tensor,
  throwIfAborted,
  z,
} from "@layerfold/core";
import { selectRows, specOf, storedWeight, transposed, withTensors } from "./block-linear.js";
import { attentionOf, headOutputs } from "./heads.js";
import { type HiddenStore, hiddenStores } from "./hidden-store.js";

export const recallOptions = {
  recallHeads: z
    .number()
    .int()
    .min(0)
    .default(0)
    .describe(
      "so many of a block's key/value groups go to those that recall needs most, whatever the fit would choose",
    ),
  recallLeast: z
    .number()
    .min(0)
    .default(0)
    .describe("but none that recalled tokens cost less without: nats per such token"),
  recallTokens: z
    .number()
    .int()
    .min(1)
    .default(4096)
    .describe("calibration tokens on which that is measured"),
};

/** Rows of a batch's stream [rows · sequenceLength, hidden] behind which a token comes that its window had before, and those tokens. */
export interface Recalled {
  readonly rows: readonly number[];
  readonly targets: Int32Array;
}

/**
 * What recall loses when one of the dense model's key/value groups falls silent: the rise of the mean loss, in nats, over tokens that
 * stood in their window before. Heads that look such tokens up add to the stream little and seldom, so that least squares takes them
 * for idle; the loss of what they look up tells.
 *
 * Each layer is read once, for all silenced models together. Cost: per group of heads the layers from its own on, and the vocabulary
 * projection of the recalled tokens. Memory: one batch; on disk, the stream of `tokens` tokens per group of heads.
 *
 * @param model - or its layers from `first` on, where `embed` gives the stream before them
 * @param layers - with attention, from `first` on
 * @param tokens - how many are looked at, spread over the text; batches stay whole
 * @returns per layer [key/value groups]; 0 where the text repeats nothing
 */
export async function recallCosts(
  model: ModelRunner,
  first: number,
  layers: readonly number[],
  calibration: () => AsyncIterable<TokenBatch>,
  tokens: number,
  ctx: RunContext,
): Promise<ReadonlyMap<number, readonly number[]>> {
  const stores = await hiddenStores();
  try {
    const dense = await stores.create("dense");
    const recalled = await spreadOver(model, calibration, tokens, dense);
    const silent: { readonly layer: number; readonly stream: HiddenStore }[] = [];
    for (let layer = first; layer < model.layerCount; layer++) {
      for (const { stream } of silent) await runOn(model, layer, stream, stream, undefined, ctx);
      if (layers.includes(layer)) {
        const block = await model.block(layer);
        for (let group = 0; group < attentionOf(block).keyValueHeadCount; group++) {
          const stream = await stores.create(`without group ${group} of layer ${layer}`);
          await runOn(model, layer, dense, stream, silenced(block, group), ctx);
          silent.push({ layer, stream });
        }
      }
      await runOn(model, layer, dense, dense, undefined, ctx);
    }
    const before = await recallLoss(model, dense, recalled, ctx);
    const costs = new Map<number, readonly number[]>();
    for (const { layer, stream } of silent) {
      const cost = (await recallLoss(model, stream, recalled, ctx)) - before;
      costs.set(layer, [...(costs.get(layer) ?? []), cost]);
    }
    for (const [layer, losses] of costs) {
      ctx.report?.({
        type: "diagnostic",
        severity: "info",
        code: "RECALL_MEASURED",
        message: `layer ${layer}: recalled tokens cost ${losses.map((loss) => loss.toFixed(4)).join(", ")} nats more without its key/value groups`,
      });
    }
    return costs;
  } finally {
    await stores.close();
  }
}

/** Embeds the batches that make up so many tokens, evenly from the whole text. */
async function spreadOver(
  model: ModelRunner,
  calibration: () => AsyncIterable<TokenBatch>,
  tokens: number,
  stream: HiddenStore,
): Promise<Recalled[]> {
  const batches: TokenBatch[] = [];
  for await (const batch of calibration()) batches.push(batch);
  const total = batches.reduce((count, { lengths }) => count + sum(lengths), 0);
  const recalled: Recalled[] = [];
  let [seen, taken] = [0, 0];
  for (const batch of batches) {
    // Taken while the share that was taken lags behind the share that was seen.
    if (taken * total <= seen * tokens && taken < tokens) {
      await stream.put(stream.batchCount, await model.embed(batch));
      recalled.push(recalledTokens(batch));
      taken += sum(batch.lengths);
    }
    seen += sum(batch.lengths);
  }
  return recalled;
}

/** The tokens of a batch that stood in their window before. */
export function recalledTokens({ inputIds, sequenceLength, lengths }: TokenBatch): Recalled {
  const rows: number[] = [];
  const targets: number[] = [];
  lengths.forEach((length, b) => {
    const before = new Set<number>();
    for (let s = 0; s < length; s++) {
      const at = b * sequenceLength + s;
      const token = inputIds[at];
      if (s > 0 && before.has(token)) {
        rows.push(at - 1);
        targets.push(token);
      }
      before.add(token);
    }
  });
  return { rows, targets: Int32Array.from(targets) };
}

function sum(lengths: Int32Array): number {
  return lengths.reduce((a, b) => a + b, 0);
}

/** The block without what one key/value group adds to the stream. */
function silenced(block: BlockView, group: number): BlockView {
  const { headCount, keyValueHeadCount, headSize } = attentionOf(block);
  const outputs = headOutputs(block);
  const size = (headCount / keyValueHeadCount) * headSize * outputs.shape[1];
  const data = contiguousData(outputs)
    .slice()
    .fill(0, group * size, (group + 1) * size);
  return withTensors(block, [
    ["attention.output", storedWeight(specOf(block), transposed(tensor(data, outputs.shape)))],
  ]);
}

/** Takes every batch of a stream through a layer, its own block or another in its place. */
async function runOn(
  model: ModelRunner,
  layer: number,
  from: HiddenStore,
  to: HiddenStore,
  replace: BlockView | undefined,
  ctx: RunContext,
): Promise<void> {
  for (let b = 0; b < from.batchCount; b++) {
    throwIfAborted(ctx.signal);
    await to.put(b, (await model.runBlock(layer, await from.get(b), { replace })).hidden);
  }
}

/** Mean loss of the recalled tokens, from the stream behind the last layer. */
async function recallLoss(
  model: ModelRunner,
  stream: HiddenStore,
  recalled: readonly Recalled[],
  ctx: RunContext,
): Promise<number> {
  const { hiddenSize } = model;
  let [loss, count] = [0, 0];
  for (const [b, { rows, targets }] of recalled.entries()) {
    const { states } = await stream.get(b);
    const outputs = tensor(states.data, [
      states.data.length / hiddenSize,
      hiddenSize,
    ]) as Matrix<Float32Array>;
    throwIfAborted(ctx.signal);
    const scores = await model.logProbabilities(selectRows(outputs, rows), targets);
    for (const score of scores) loss -= score;
    count += rows.length;
  }
  return count > 0 ? loss / count : 0;
}
