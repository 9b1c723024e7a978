import {
  contiguousData,
  defineQuantizer,
  isLayerfoldError,
  LayerfoldError,
  type Matrix,
  matrixSize,
  type RunContext,
  submatrix,
  tensor,
  throwIfAborted,
  z,
} from "@layerfold/core";
import { fitGrid, type GridRule, gridOptions, resolveGroupSize, roundHalfEven } from "./grid.js";
import { inverseCholesky } from "./inverse-cholesky.js";

/** Columns that are quantised before their errors are spread over all later ones in one matrix product. */
const lazyBlock = 128;

/** Columns that are corrected one by one; wider spans are halved, and a half corrected in one product. */
const narrowSpan = 16;

/**
 * GPTQ (Frantar et al., arXiv 2210.17323, Algorithm 1): quantises input channel by input channel, and after each one moves the
 * error that it made onto the channels not yet done, so that W·x changes least over the calibration tokens.
 *
 * With H = Σ x xᵀ + damping·mean(diag)·I and U the upper Cholesky factor of H⁻¹: e = (w_i − q_i) / U_ii, then
 * W[:, j] −= e·U_ij for j > i. Channels that were 0 on every token (`GPTQ_DEAD_COLUMNS`) get the weight 0; where all were, this is
 * rounding to nearest. Where H is not positive
 * definite the damping is raised tenfold, and reported (`GPTQ_DAMPING_RAISED`).
 *
 * As in the reference code, a group's grid is fitted to weights that hold the corrections of all earlier blocks of 128 channels, not yet
 * those of its own block.
 *
 * Needs the Gram matrix. O(in³ + out·in²) in engine products, 8·out·in multiply-adds in TypeScript; memory 16·in² + 8·out·in bytes.
 *
 * @throws STATISTICS_MISSING without a Gram matrix, GROUP_SIZE_INVALID, GPTQ_NOT_POSITIVE_DEFINITE
 */
export const gptq = defineQuantizer({
  id: "gptq",
  summary: "second-order rounding that corrects each error on the channels still to come",
  optionsSchema: z.strictObject({
    ...gridOptions,
    damping: z
      .number()
      .gt(0)
      .lt(1)
      .default(0.01)
      .describe("share of the Gram matrix's mean diagonal that is added to it"),
    activationOrder: z
      .boolean()
      .default(false)
      .describe("quantise the input channels in descending order of their energy Σ x²"),
    staticGroups: z
      .boolean()
      .default(false)
      .describe(
        "with `activationOrder`: groups stay runs of neighbouring channels, fitted before anything is quantised. Otherwise a group is a run in the order of quantisation, and the file must say which channel belongs to which (g_idx)",
      ),
  }),
  create: ({ groupSize, damping, activationOrder, staticGroups, ...rule }) => {
    // Linear maps that read one value share its Gram matrix, and so its factor.
    const factors = new WeakMap<Matrix, ReturnType<typeof dampedInverseFactor>>();
    return {
      needs: ["gram"],
      groupSize,
      async quantize(weight, statistics, ctx) {
        const { rows, columns } = matrixSize(weight, "a weight");
        const size = resolveGroupSize(columns, groupSize);
        if (!statistics.gram) {
          throw new LayerfoldError("STATISTICS_MISSING", "gptq needs the Gram matrix of the inputs");
        }
        const energy = diagonal(statistics.gram, columns);
        const order = activationOrder
          ? descendingOrder(energy)
          : Int32Array.from({ length: columns }, (_, i) => i);
        const dead = energy.reduce((count, value) => count + (value === 0 ? 1 : 0), 0);
        // An expert that no token chose: nothing says how its errors would matter, and its weights must stay.
        const unseen = dead === columns;
        if (dead > 0) {
          ctx.report?.({
            type: "diagnostic",
            severity: "warning",
            code: "GPTQ_DEAD_COLUMNS",
            message: unseen
              ? "no calibration token reached a linear map; it is rounded to nearest"
              : `${dead} of ${columns} input channels were 0 on every calibration token; their weights become 0`,
          });
        }
        const original = contiguousData(weight);
        const working = new Float32Array(rows * columns);
        for (let start = 0; start < working.length; start += columns) {
          for (let i = 0; i < columns; i++) working[start + i] = original[start + order[i]];
        }
        for (let i = 0; i < columns && !unseen; i++) {
          if (energy[order[i]] === 0) for (let at = i; at < working.length; at += columns) working[at] = 0;
        }
        const made =
          factors.get(statistics.gram) ?? dampedInverseFactor(statistics.gram, order, energy, damping, ctx);
        factors.set(statistics.gram, made);
        const factor = await made;
        const groups = columns / size;
        const scales = new Float32Array(rows * groups);
        const zeroPoints = new Uint8Array(rows * groups);
        const state: Sweep = {
          rows,
          columns,
          working,
          inverse: factor.inverse,
          scales,
          zeroPoints,
          size,
          rule,
        };
        const inOrder = staticGroups || !activationOrder;
        if (staticGroups) fitStaticGroups(original, state);
        // Which group the channel that is quantised i-th belongs to.
        const groupOf = order.map((channel, i) => Math.floor((inOrder ? channel : i) / size));
        const ordered = await sweep(state, groupOf, !staticGroups, ctx);
        const codes = new Uint8Array(rows * columns);
        for (let row = 0; row < rows; row++) {
          const start = row * columns;
          for (let i = 0; i < columns; i++) codes[start + order[i]] = ordered[start + i];
        }
        const groupIndex = inOrder ? undefined : new Int32Array(columns);
        if (groupIndex) order.forEach((channel, i) => void (groupIndex[channel] = groupOf[i]));
        return {
          bits: rule.bits,
          shape: [rows, columns] as const,
          groupSize: size,
          symmetric: rule.symmetric,
          codes,
          scales,
          zeroPoints,
          damping: factor.damping,
          ...(groupIndex && { groupIndex }),
        };
      },
    };
  },
});

/** One weight on its way: columns in the order of quantisation. */
interface Sweep {
  readonly rows: number;
  readonly columns: number;
  /** [rows, columns] weights with all corrections so far, and of the quantised ones their errors; changed in place. */
  readonly working: Float32Array;
  /** [columns, columns] U, upper, H⁻¹ = Uᵀ·U. */
  readonly inverse: Matrix<Float32Array>;
  readonly scales: Float32Array;
  readonly zeroPoints: Uint8Array;
  readonly size: number;
  readonly rule: GridRule;
}

/** Quantises all columns in order; returns codes [rows, columns] in that order. Errors take the weights' places in `working`. */
async function sweep(
  state: Sweep,
  groupOf: Int32Array,
  fitGroups: boolean,
  ctx: RunContext,
): Promise<Uint8Array> {
  const { rows, columns } = state;
  const codes = new Uint8Array(rows * columns);
  for (let start = 0; start < columns; start += lazyBlock) {
    throwIfAborted(ctx.signal);
    const end = Math.min(start + lazyBlock, columns);
    if (fitGroups) fitGroupsFrom(state, start, end);
    await quantizeSpan(state, codes, groupOf, start, end, ctx);
    await correct(state, start, end, columns, ctx);
  }
  return codes;
}

/** Quantises columns start … end−1: one half, then in one product what its errors do to the other half, then that. */
async function quantizeSpan(
  state: Sweep,
  codes: Uint8Array,
  groupOf: Int32Array,
  start: number,
  end: number,
  ctx: RunContext,
): Promise<void> {
  if (end - start <= narrowSpan) return quantizeColumns(state, codes, groupOf, start, end);
  const middle = start + narrowSpan * Math.ceil((end - start) / (2 * narrowSpan));
  await quantizeSpan(state, codes, groupOf, start, middle, ctx);
  await correct(state, start, middle, end, ctx);
  await quantizeSpan(state, codes, groupOf, middle, end, ctx);
}

/** Spreads the errors of columns start … middle−1 over columns middle … end−1. */
async function correct(
  { working, inverse, rows, columns }: Sweep,
  start: number,
  middle: number,
  end: number,
  ctx: RunContext,
): Promise<void> {
  if (middle === end) return;
  const errors = submatrix(tensor(working, [rows, columns]), 0, start, rows, middle - start);
  const ahead = submatrix(inverse, start, middle, middle - start, end - middle);
  const { data } = await ctx.engine.matmul<Matrix<Float32Array>>(errors, ahead);
  for (let row = 0, from = 0; row < rows; row++) {
    const last = row * columns + end;
    for (let i = row * columns + middle; i < last; i++, from++) working[i] -= data[from];
  }
}

/** Quantises columns start … end−1 one after the other, correcting those between. */
function quantizeColumns(
  { rows, columns, working, inverse, scales, zeroPoints, rule }: Sweep,
  codes: Uint8Array,
  groupOf: Int32Array,
  start: number,
  end: number,
): void {
  const width = end - start;
  const groups = scales.length / rows;
  const top = 2 ** rule.bits - 1;
  const u = contiguousData(submatrix(inverse, start, start, width, width));
  for (let row = 0; row < rows; row++) {
    const first = row * columns + start;
    for (let i = 0; i < width; i++) {
      const group = row * groups + groupOf[start + i];
      const value = working[first + i];
      const scale = scales[group];
      const zeroPoint = zeroPoints[group];
      // The quotient in float32, as in `rtn` and the reference: the largest weight of a symmetric group lies on a tie.
      const rounded = roundHalfEven(Math.fround(value / scale)) + zeroPoint;
      const code = Math.min(Math.max(rounded, 0), top);
      codes[first + i] = code;
      const pivot = i * width;
      const error = (value - scale * (code - zeroPoint)) / u[pivot + i];
      working[first + i] = error;
      for (let j = i + 1; j < width; j++) working[first + j] -= error * u[pivot + j];
    }
  }
}

/** Grids of the groups that begin in columns start … end−1, from the weights with all corrections so far. */
function fitGroupsFrom(
  { rows, columns, working, scales, zeroPoints, size, rule }: Sweep,
  start: number,
  end: number,
): void {
  const groups = columns / size;
  for (let first = Math.ceil(start / size) * size; first < end; first += size) {
    for (let row = 0; row < rows; row++) {
      const from = row * columns + first;
      const group = row * groups + first / size;
      const { scale, zeroPoint } = fitGrid(working, from, from + size, rule);
      scales[group] = scale;
      zeroPoints[group] = zeroPoint;
    }
  }
}

/** Grids of groups of neighbouring channels, from the weights as they came. */
function fitStaticGroups(
  original: Float32Array | Float64Array,
  { scales, zeroPoints, size, rule }: Sweep,
): void {
  for (let g = 0; g < scales.length; g++) {
    const { scale, zeroPoint } = fitGrid(original, g * size, (g + 1) * size, rule);
    scales[g] = scale;
    zeroPoints[g] = zeroPoint;
  }
}

/** U of H = Gram + damping, its channels in `order`. Factored in float64; a sweep, as in the reference code, needs float32 of it. */
async function dampedInverseFactor(
  gram: Matrix<Float64Array>,
  order: Int32Array,
  energy: Float64Array,
  damping: number,
  ctx: RunContext,
): Promise<{ inverse: Matrix<Float32Array>; damping: number }> {
  const columns = order.length;
  const mean = energy.reduce((sum, value) => sum + value, 0) / columns;
  const { data, stride, offset } = gram;
  for (let share = damping; share < 1; share *= 10) {
    const hessian = new Float64Array(columns * columns);
    for (let i = 0, to = 0; i < columns; i++) {
      const from = offset + order[i] * stride[0];
      for (let j = 0; j < columns; j++) hessian[to++] = data[from + order[j] * stride[1]];
      // A dead channel stands alone: any positive diagonal leaves the others untouched.
      hessian[i * columns + i] = (energy[order[i]] || mean || 1) + share * mean;
    }
    try {
      const { data: inverse } = await inverseCholesky(tensor(hessian, [columns, columns]), ctx);
      return { inverse: tensor(Float32Array.from(inverse), [columns, columns]), damping: share };
    } catch (error) {
      if (!isLayerfoldError(error, "MATRIX_NOT_POSITIVE_DEFINITE")) throw error;
      ctx.report?.({
        type: "diagnostic",
        severity: "warning",
        code: "GPTQ_DAMPING_RAISED",
        message: `the Gram matrix is not positive definite at damping ${share}; trying ${share * 10}`,
      });
    }
  }
  throw new LayerfoldError(
    "GPTQ_NOT_POSITIVE_DEFINITE",
    "no damping below 1 made the Gram matrix invertible",
  );
}

function diagonal(gram: Matrix<Float64Array>, columns: number): Float64Array {
  const { rows, columns: width } = matrixSize(gram, "the Gram matrix");
  if (rows !== columns || width !== columns) {
    throw new LayerfoldError("TENSOR_SHAPE", "the Gram matrix does not fit the weight", {
      wanted: `[${columns}, ${columns}]`,
      got: `[${rows}, ${width}]`,
    });
  }
  return Float64Array.from(
    { length: columns },
    (_, i) => gram.data[gram.offset + i * (gram.stride[0] + gram.stride[1])],
  );
}

/** Indices by descending value; equal values keep their order. */
function descendingOrder(values: Float64Array): Int32Array {
  return Int32Array.from(values.keys()).sort((a, b) => values[b] - values[a] || a - b);
}
