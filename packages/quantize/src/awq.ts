import {
  type BlockView,
  type CalibrationStatistics,
  contiguousData,
  defineWeightTransform,
  LayerfoldError,
  type Matrix,
  type Role,
  type RunContext,
  type Tensor,
  tensor,
  throwIfAborted,
  z,
} from "@layerfold/core";
import { dequantize } from "./dequantize.js";
import { fitGrid, type GridRule, gridOfRange, gridOptions, resolveGroupSize, roundHalfEven } from "./grid.js";
import { roundToNearest } from "./rtn.js";
import { rescaled, type ScaleGroup, scaleGroups } from "./scale-group.js";

/**
 * AWQ (Lin et al., arXiv 2306.00978): scales up the input channels that large activations multiply, so that rounding hurts them less.
 *
 * Scale search (eq. 5, and the reference code's second factor): for r = 0, 1/n, …, (n−1)/n,
 * s_j = mean|x_j|^r / (mean_o(|w_oj| / max of its group)^(1−r) + 1e-4), divided by √(max s · min s); the r of least output error wins,
 * or no scaling at all where that is better still. Clip search: each group's range shrinks in steps of 1/clipSteps, down to
 * 1 − clipDepth, to the one of least output error.
 *
 * Differs from the reference: an output error is tr(ΔW·Gram·ΔWᵀ) of the linear maps themselves over all calibration tokens (as in the
 * paper's eq. 4), not that of the whole attention or MLP on a sample of them; and a row keeps its clipping only if its output gains over
 * all groups together.
 *
 * The options of the grid must be those of the quantizer that follows. With `clip` the block's function changes: leave it out below GPTQ,
 * which chooses its own errors.
 *
 * Needs `gram` and `absoluteMean`. O(scaleSteps·out·in²) in engine products.
 *
 * @throws STATISTICS_MISSING, GROUP_SIZE_INVALID
 */
export const awq = defineWeightTransform({
  id: "awq",
  summary: "activation-aware scales, and clipping",
  optionsSchema: z.strictObject({
    ...gridOptions,
    scaleSteps: z.number().int().min(1).default(20).describe("values of the exponent that are tried"),
    clip: z.boolean().default(true).describe("search a clipping range too"),
    clipSteps: z.number().int().min(2).default(20).describe("steps in which a whole range would shrink to 0"),
    clipDepth: z.number().gt(0).lt(1).default(0.5).describe("largest share by which a range shrinks"),
  }),
  create: ({ groupSize, scaleSteps, clip, clipSteps, clipDepth, ...rule }) => ({
    needs: ["gram", "absoluteMean"],
    async fit(block, statistics, ctx) {
      let fitted = block;
      const scaled = new Map<Role, Float64Array>();
      for (const group of scaleGroups(block)) {
        throwIfAborted(ctx.signal);
        const known = complete(statistics.get(group.consumers[0]), block.layer, group.consumers[0]);
        const scales = await searchScales(fitted, group, known, groupSize, scaleSteps, rule, ctx);
        fitted = rescaled(fitted, group, scales);
        for (const role of group.consumers) scaled.set(role, scales);
      }
      if (!clip) return fitted;
      const tensors = new Map(fitted.tensors);
      for (const [role, weight] of fitted.tensors) {
        if (!statistics.has(role)) continue;
        const known = complete(statistics.get(role), block.layer, role);
        // Rounding errors of q and k meet in a product, where a clipped outlier costs more than its own output error says.
        if (/^attention\.(query|key|qkv)$/.test(role)) continue;
        throwIfAborted(ctx.signal);
        const options = { groupSize, steps: clipSteps, depth: clipDepth };
        tensors.set(role, await clipped(weight, known, scaled.get(role), options, rule, ctx));
      }
      return { ...fitted, tensors };
    },
  }),
});

interface Known {
  readonly gram: Matrix<Float64Array>;
  readonly absoluteMean: Float64Array;
  readonly tokenCount: number;
}

function complete(statistics: CalibrationStatistics | undefined, layer: number, role: Role): Known {
  if (!statistics?.gram || !statistics.absoluteMean) {
    throw new LayerfoldError("STATISTICS_MISSING", "awq needs the Gram matrix and the mean of the inputs", {
      where: `layer ${layer}, ${role}`,
    });
  }
  const { gram, absoluteMean, tokenCount } = statistics;
  return { gram, absoluteMean, tokenCount };
}

async function searchScales(
  block: BlockView,
  group: ScaleGroup,
  { gram, absoluteMean, tokenCount }: Known,
  groupSize: number,
  steps: number,
  rule: GridRule,
  ctx: RunContext,
): Promise<Float64Array> {
  const weights = group.consumers.map((role) => block.tensors.get(role) as Tensor);
  const mean = meanGram(gram, tokenCount, undefined, 0, group.width);
  const weightMean = relativeMagnitude(weights, groupSize);
  const identity = new Float64Array(group.width).fill(1);
  let best = {
    scales: identity,
    error: await roundingError(weights, identity, mean, groupSize, rule, ctx),
  };
  for (let step = 0; step < steps; step++) {
    const exponent = step / steps;
    const scales = absoluteMean.map((x, j) =>
      Math.max(x ** exponent / (weightMean[j] ** (1 - exponent) + 1e-4), 1e-4),
    );
    const middle = Math.sqrt(
      scales.reduce((a, b) => Math.max(a, b)) * scales.reduce((a, b) => Math.min(a, b)),
    );
    for (let j = 0; j < scales.length; j++) scales[j] /= middle;
    const error = await roundingError(weights, scales, mean, groupSize, rule, ctx);
    if (error < best.error) best = { scales, error };
  }
  return best.scales;
}

/** Mean over all rows of |w_oj| / (largest |w| of its group + 1e-6). */
function relativeMagnitude(weights: readonly Tensor[], groupSize: number): Float64Array {
  const columns = weights[0].shape[1];
  const size = resolveGroupSize(columns, groupSize);
  const sum = new Float64Array(columns);
  let rows = 0;
  for (const weight of weights) {
    const values = contiguousData(weight);
    rows += weight.shape[0];
    for (let start = 0; start < values.length; start += size) {
      let largest = 0;
      for (let i = start; i < start + size; i++) largest = Math.max(largest, Math.abs(values[i]));
      for (let i = start; i < start + size; i++) sum[i % columns] += Math.abs(values[i]) / (largest + 1e-6);
    }
  }
  return sum.map((value) => value / rows);
}

/** Σ over the maps of tr(ΔW·G·ΔWᵀ), ΔW = Q(W·s)/s − W: mean squared change of the outputs, summed over outputs. */
async function roundingError(
  weights: readonly Tensor[],
  scales: Float64Array,
  gram: Matrix<Float32Array>,
  groupSize: number,
  rule: GridRule,
  ctx: RunContext,
): Promise<number> {
  let error = 0;
  for (const weight of weights) {
    const change = roundingChange(weight, scales, groupSize, rule);
    const product = await ctx.engine.matmul<Matrix<Float32Array>>(tensor(change, weight.shape), gram);
    const right = contiguousData(product);
    for (let i = 0; i < change.length; i++) error += change[i] * right[i];
  }
  return error;
}

/** Q(W·s)/s − W, row-major: as multiplying, rounding, dequantising and dividing would give it, in one pass. */
function roundingChange(
  weight: Tensor,
  scales: Float64Array,
  groupSize: number,
  rule: GridRule,
): Float32Array {
  const values = contiguousData(weight);
  const columns = scales.length;
  const size = resolveGroupSize(columns, groupSize);
  const top = 2 ** rule.bits - 1;
  const change = new Float32Array(values.length);
  const scaled = new Float32Array(size);
  for (let start = 0; start < values.length; start += size) {
    const first = start % columns;
    for (let i = 0; i < size; i++) scaled[i] = values[start + i] * scales[first + i];
    const { scale, zeroPoint } = fitGrid(scaled, 0, size, rule);
    for (let i = 0; i < size; i++) {
      const code = Math.min(Math.max(roundHalfEven(Math.fround(scaled[i] / scale)) + zeroPoint, 0), top);
      change[start + i] = Math.fround(scale * (code - zeroPoint)) / scales[first + i] - values[start + i];
    }
  }
  return change;
}

/**
 * The weight with every group clamped to the range that rounds with least output error δ·G_gg·δᵀ, G_gg the group's own part of the
 * Gram matrix: groups are judged one by one, as if the others were exact.
 */
async function clipped(
  weight: Tensor,
  { gram, tokenCount }: { gram: Matrix<Float64Array>; tokenCount: number },
  scales: Float64Array | undefined,
  options: { groupSize: number; steps: number; depth: number },
  rule: GridRule,
  ctx: RunContext,
): Promise<Tensor<Float32Array>> {
  const [rows, columns] = weight.shape;
  const size = resolveGroupSize(columns, options.groupSize);
  const original = Float32Array.from(contiguousData(weight));
  const out = original.slice();
  const candidates = Math.floor(options.depth * options.steps + 1e-9) + 1;
  const limitOf = (largest: number, candidate: number) => largest * (1 - candidate / options.steps);
  const top = 2 ** rule.bits - 1;
  const change = new Float32Array(candidates * rows * size);
  for (let first = 0; first < columns; first += size) {
    // [candidates, rows, size]: what each candidate range changes in each row's group.
    for (let row = 0; row < rows; row++) {
      const start = row * columns + first;
      const { minimum, maximum } = rangeOf(out, start, size);
      const largest = Math.max(-minimum, maximum);
      for (let candidate = 0; candidate < candidates; candidate++) {
        const limit = limitOf(largest, candidate);
        const [low, high] = [Math.max(minimum, -limit), Math.min(maximum, limit)];
        const { scale, zeroPoint } = gridOfRange(low, high, rule);
        const to = (candidate * rows + row) * size;
        for (let i = 0; i < size; i++) {
          const value = out[start + i];
          const within = Math.min(Math.max(value, low), high);
          const code = Math.min(Math.max(roundHalfEven(within / scale) + zeroPoint, 0), top);
          change[to + i] = scale * (code - zeroPoint) - value;
        }
      }
    }
    const part = meanGram(gram, tokenCount, scales, first, size);
    const changes = tensor(change, [candidates * rows, size]) as Matrix<Float32Array>;
    const product = contiguousData(await ctx.engine.matmul<Matrix<Float32Array>>(changes, part));
    for (let row = 0; row < rows; row++) {
      let best = 0;
      let least = Number.POSITIVE_INFINITY;
      for (let candidate = 0; candidate < candidates; candidate++) {
        const from = (candidate * rows + row) * size;
        let error = 0;
        for (let i = from; i < from + size; i++) error += change[i] * product[i];
        if (error < least) {
          least = error;
          best = candidate;
        }
      }
      const start = row * columns + first;
      const { minimum, maximum } = rangeOf(out, start, size);
      const limit = limitOf(Math.max(-minimum, maximum), best);
      for (let i = start; i < start + size; i++) out[i] = Math.min(Math.max(out[i], -limit), limit);
    }
  }
  // Clipping errs towards zero in every group alike, and such errors add up: a row keeps its clipping only if its whole output gains.
  const whole = meanGram(gram, tokenCount, scales, 0, columns);
  const [before, after] = [
    await rowErrors(original, original, weight.shape, whole, options.groupSize, rule, ctx),
    await rowErrors(out, original, weight.shape, whole, options.groupSize, rule, ctx),
  ];
  for (let row = 0; row < rows; row++) {
    if (after[row] < before[row]) continue;
    out.set(original.subarray(row * columns, (row + 1) * columns), row * columns);
  }
  return tensor(out, weight.shape);
}

function rangeOf(values: Float32Array, start: number, length: number): { minimum: number; maximum: number } {
  let [minimum, maximum] = [values[start], values[start]];
  for (let i = start + 1; i < start + length; i++) {
    if (values[i] < minimum) minimum = values[i];
    if (values[i] > maximum) maximum = values[i];
  }
  return { minimum, maximum };
}

/** Of each output, the mean squared change when `values` are rounded in place of `original`. */
async function rowErrors(
  values: Float32Array,
  original: Float32Array,
  shape: readonly number[],
  gram: Matrix<Float32Array>,
  groupSize: number,
  rule: GridRule,
  ctx: RunContext,
): Promise<Float64Array> {
  const change = dequantize(roundToNearest(tensor(values, shape), groupSize, rule)).data;
  for (let i = 0; i < change.length; i++) change[i] -= original[i];
  const product = contiguousData(await ctx.engine.matmul<Matrix<Float32Array>>(tensor(change, shape), gram));
  const errors = new Float64Array(shape[0]);
  for (let i = 0; i < change.length; i++) errors[Math.floor(i / shape[1])] += change[i] * product[i];
  return errors;
}

/** The diagonal block of the mean Gram matrix at channels first … first + size − 1, of inputs divided by `scales`. */
function meanGram(
  gram: Matrix<Float64Array>,
  tokenCount: number,
  scales: Float64Array | undefined,
  first: number,
  size: number,
): Matrix<Float32Array> {
  const part = new Float32Array(size * size);
  for (let i = 0; i < size; i++) {
    const from = gram.offset + (first + i) * gram.stride[0] + first * gram.stride[1];
    for (let j = 0; j < size; j++) {
      const factor = tokenCount * (scales ? scales[first + i] * scales[first + j] : 1);
      part[i * size + j] = gram.data[from + j * gram.stride[1]] / factor;
    }
  }
  return tensor(part, [size, size]);
}
