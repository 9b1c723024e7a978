import {
  type Activation,
  type BlockView,
  groupName,
  type Matrix,
  type ModelRunner,
  type Rng,
  type RunContext,
  tensor,
  throwIfAborted,
  z,
} from "@layerfold/core";
import { adam } from "@layerfold/linalg";
import { activate } from "./activate.js";
import type { CalibratedGroup } from "./front-to-back.js";
import { type HiddenStore, hiddenStores } from "./hidden-store.js";
import { type FitOptions, missingUpdate, tokenScales } from "./least-squares.js";
import { downOutput, mlpOf, type Neurons, neuronsOf, streamWithoutMlp, withNeurons } from "./neurons.js";
import { gatherRows } from "./normal-equations.js";
import { refitDown } from "./refit-down.js";

type Rows = Matrix<Float32Array>;

export const refineOptions = {
  refineEpochs: z
    .number()
    .int()
    .min(0)
    .default(0)
    .describe("passes over the calibration text in which gate and up learn; 0 = they stay as they are"),
  refineRate: z
    .number()
    .positive()
    .default(1e-2)
    .describe(
      "first step of a weight, in units of its matrix's root mean square; it falls to 0 along half a cosine",
    ),
  refineTokens: z.number().int().min(1).default(512).describe("tokens of one step"),
  refineBehind: z
    .number()
    .int()
    .min(0)
    .default(0)
    .describe(
      "layers that stand for themselves learn too, if so close behind a group of several; 0 = only the groups of several do",
    ),
};

export interface RefineOptions extends FitOptions {
  readonly refineEpochs: number;
  readonly refineRate: number;
  readonly refineTokens: number;
  readonly refineBehind: number;
}

/** Whether a group's neurons learn: that of several layers, and those close behind it. */
export function learns(
  { sinceFold }: Pick<CalibratedGroup, "sinceFold">,
  { refineEpochs, refineBehind }: Pick<RefineOptions, "refineEpochs" | "refineBehind">,
): boolean {
  return refineEpochs > 0 && sinceFold <= refineBehind;
}

/**
 * Lets an MLP's gate, up and down projections learn by Adam what the block's closed-form fit was fitted to: the least squares of
 * Z − x_mid on the folded stream, with the same weights of the tokens. There is no backpropagation beyond this one MLP. Least squares
 * chooses among the neurons that there are; here they change, which matters where one MLP does the work of several. A layer right behind
 * such a one can take up a part of the error it leaves (`refineBehind`). A group that does not learn keeps its block.
 * A step's tokens come from all over the text (from as much of it as fits in memory at once, where it does not fit).
 * Of all epochs the one that is best on the held-out batches stays, that before the first included, and the down projection is then
 * refitted on all batches. Biases stay.
 *
 * Cost per epoch: tokens · 14 · hidden · intermediate operations (10 without a gate). Memory: the MLP four times over and 256 MiB of tokens.
 */
export async function refineNeurons(
  model: ModelRunner,
  group: CalibratedGroup,
  block: BlockView,
  options: RefineOptions,
  ctx: RunContext,
): Promise<BlockView> {
  if (!learns(group, options)) return block;
  const { refineEpochs, refineRate, refineTokens } = options;
  const { activation } = mlpOf(block);
  let best = neuronsOf(block);
  const bare = withNeurons(block, best);
  const stores = await hiddenStores();
  try {
    const examples = await stores.create("examples");
    const heldOut = await stores.create("held-out");
    const size = await writeExamples(model, group, bare, options, examples, heldOut);
    // A text of a few batches holds none out.
    const judging = heldOut.batchCount > 0 ? heldOut : examples;
    const judge = async (neurons: Neurons) => {
      let loss = 0;
      for await (const rows of eachBatch(judging, ctx)) {
        loss += (await lossOf(neurons, await forward(neurons, activation, rows.input, ctx), rows, ctx)).loss;
      }
      return loss;
    };
    const before = await judge(best);
    let least = before;
    const neurons = copyOf(best);
    const movers = [neurons.gate, neurons.up, neurons.down].map((m) => m && mover(m));
    const rng = ctx.rng.fork(`refine neurons ${group.index}`);
    let seen = 0;
    for (let epoch = 0; epoch < refineEpochs; epoch++) {
      for await (const rows of eachStep(examples, refineTokens, rng, ctx)) {
        const rate = (refineRate / 2) * (1 + Math.cos((Math.PI * seen) / (refineEpochs * size)));
        seen += rows.weights.length;
        const slopes = await slopesOf(neurons, activation, rows, ctx);
        for (const [i, slope] of slopes.entries()) if (slope) movers[i]?.(slope, rate);
      }
      const loss = await judge(neurons);
      if (loss >= least) continue;
      least = loss;
      best = copyOf(neurons);
    }
    ctx.report?.({
      type: "diagnostic",
      severity: "info",
      code: "NEURONS_REFINED",
      message: `${groupName(group)}: squared error${heldOut.batchCount > 0 ? " of held-out text" : ""} × ${(least / before).toFixed(3)} by learning`,
    });
    if (least === before) return block;
    return refitDown(model, group, withNeurons(bare, best), options, ctx);
  } finally {
    await stores.close();
  }
}

/** What the MLP reads, what it should add and how much each token counts, side by side: [1, tokens, 2 · hidden + 1]. */
async function writeExamples(
  model: ModelRunner,
  group: CalibratedGroup,
  block: BlockView,
  options: FitOptions,
  examples: HiddenStore,
  heldOut: HiddenStore,
): Promise<number> {
  const output = downOutput(block);
  const beside = streamWithoutMlp(block);
  let size = 0;
  for await (const { input, target, heldOut: judges } of group.batches()) {
    const { taps } = await model.runBlock(group.anchor, input, {
      replace: block,
      taps: ["mlp.input", ...beside.taps],
      tapsOnly: true,
    });
    const wanted = missingUpdate(target, beside.stream(input, taps), output);
    const scales = tokenScales(target, options.tokenWeighting);
    const weights = new Float32Array(target.states.shape[0] * target.states.shape[1]);
    let token = 0;
    target.lengths.forEach((length, b) => {
      for (let s = 0; s < length; s++) weights[b * target.states.shape[1] + s] = scales[token++] ** 2;
    });
    const parts = [
      taps.get("mlp.input")!,
      wanted,
      tensor(weights, [target.states.shape[0], target.states.shape[1], 1]),
    ];
    const rows = gatherRows(parts, target.lengths);
    const store = judges ? heldOut : examples;
    const states = tensor(rows.data, [1, ...rows.shape]);
    await store.put(store.batchCount, { states, lengths: Int32Array.of(token) });
    if (!judges) size += token;
  }
  return size;
}

interface Examples {
  readonly input: Rows;
  readonly target: Rows;
  readonly weights: Float32Array;
}

async function* eachBatch(store: HiddenStore, ctx: RunContext): AsyncGenerator<Examples> {
  for (let batch = 0; batch < store.batchCount; batch++) {
    const rows = await rowsOf(store, batch);
    yield examplesOf(rows, rows.keys(), ctx);
  }
}

/** Bytes of the rows among which a step's are drawn. */
const drawnBytes = 2 ** 28;

/** All of the store's rows once, in random order, about so many at a time. */
async function* eachStep(
  store: HiddenStore,
  tokens: number,
  rng: Rng,
  ctx: RunContext,
): AsyncGenerator<Examples> {
  let left = store.batchCount;
  let rows: Float32Array[] = [];
  for (const batch of rng.permutation(left)) {
    rows.push(...(await rowsOf(store, batch)));
    if (--left > 0 && rows.length * rows[0].byteLength < drawnBytes) continue;
    const drawn = rng.permutation(rows.length);
    // Steps of one size: one of the few rows that are left over would weigh as much as any other.
    const steps = Math.ceil(rows.length / tokens);
    for (let step = 0; step < steps; step++) {
      const bound = (i: number) => Math.round((i * rows.length) / steps);
      yield examplesOf(rows, drawn.subarray(bound(step), bound(step + 1)), ctx);
    }
    rows = [];
  }
}

async function rowsOf(store: HiddenStore, batch: number): Promise<readonly Float32Array[]> {
  const { shape, data } = (await store.get(batch)).states;
  const [, count, width] = shape;
  return Array.from({ length: count }, (_, r) => data.subarray(r * width, (r + 1) * width));
}

/** The chosen rows, taken apart. */
function examplesOf(
  rows: readonly Float32Array[],
  chosen: Iterable<number>,
  { signal }: RunContext,
): Examples {
  throwIfAborted(signal);
  const picked = Array.from(chosen, (i) => rows[i]);
  const hidden = (picked[0].length - 1) / 2;
  const part = (column: number, columns: number) => {
    const data = new Float32Array(picked.length * columns);
    picked.forEach((row, r) => {
      data.set(row.subarray(column, column + columns), r * columns);
    });
    return tensor(data, [picked.length, columns]) as Rows;
  };
  return { input: part(0, hidden), target: part(hidden, hidden), weights: part(2 * hidden, 1).data };
}

interface Forward {
  /** What the down projection reads, [tokens, neurons]. */
  readonly hidden: Rows;
  /** Its derivative by what the gate gives (up, where there is no gate). */
  readonly slope: Float32Array;
  /** Its derivative by what up gives, where there is a gate. */
  readonly value?: Float32Array;
}

async function forward(
  { gate, gateBias, up, upBias }: Neurons,
  activation: Activation,
  input: Rows,
  ctx: RunContext,
): Promise<Forward> {
  const behind = async (weight: Rows, bias: Float32Array | undefined) => {
    const { data } = await ctx.engine.matmul(input, weight, { transposeB: true });
    if (bias) for (let i = 0; i < data.length; i++) data[i] += bias[i % bias.length];
    return data;
  };
  const shape = [input.shape[0], up.shape[0]];
  const hidden = await behind(up, upBias);
  if (!gate) {
    const slope = activate(hidden, activation);
    return { hidden: tensor(hidden, shape), slope };
  }
  const value = await behind(gate, gateBias);
  const slope = activate(value, activation);
  for (let i = 0; i < hidden.length; i++) {
    slope[i] *= hidden[i];
    hidden[i] *= value[i];
  }
  return { hidden: tensor(hidden, shape), slope, value };
}

/** Σ weight · ‖y − target‖², and its half slope by y, [tokens, hidden]. */
async function lossOf(
  { down }: Neurons,
  { hidden }: Forward,
  { target, weights }: Examples,
  ctx: RunContext,
): Promise<{ loss: number; error: Rows }> {
  const error = await ctx.engine.matmul(hidden, down);
  const width = down.shape[1];
  let loss = 0;
  for (let r = 0, i = 0; r < weights.length; r++) {
    for (let j = 0; j < width; j++, i++) {
      const difference = error.data[i] - target.data[i];
      loss += weights[r] * difference ** 2;
      error.data[i] = weights[r] * difference;
    }
  }
  return { loss, error };
}

/** The loss's half slopes by gate, up and down. */
async function slopesOf(
  neurons: Neurons,
  activation: Activation,
  rows: Examples,
  ctx: RunContext,
): Promise<(Float32Array | undefined)[]> {
  const { engine } = ctx;
  const state = await forward(neurons, activation, rows.input, ctx);
  const { hidden, slope, value } = state;
  const { error } = await lossOf(neurons, state, rows, ctx);
  const byDown = await engine.matmul(hidden, error, { transposeA: true });
  const byHidden = await engine.matmul(error, neurons.down, { transposeB: true });
  const inner = byHidden.data;
  for (let i = 0; i < inner.length; i++) slope[i] *= inner[i];
  const behindSlope = tensor(slope, byHidden.shape) as Rows;
  const bySlope = await engine.matmul(behindSlope, rows.input, { transposeA: true });
  if (!value) return [undefined, bySlope.data, byDown.data];
  for (let i = 0; i < inner.length; i++) inner[i] *= value[i];
  const byUp = await engine.matmul(byHidden, rows.input, { transposeA: true });
  return [bySlope.data, byUp.data, byDown.data];
}

function copyOf(neurons: Neurons): Neurons {
  const copy = (m: Rows) => tensor(m.data.slice(), m.shape) as Rows;
  const { gate, up, down } = neurons;
  return { ...neurons, gate: gate && copy(gate), up: copy(up), down: copy(down) };
}

/** Adam, its rate in units of the matrix's root mean square at the start. */
function mover({ data }: Rows): ReturnType<typeof adam> {
  const size = Math.sqrt(data.reduce((sum, value) => sum + value ** 2, 0) / data.length);
  const move = adam(data);
  return (slope, rate) => move(slope, rate * size);
}
