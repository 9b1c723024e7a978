import {
  contiguousData,
  groupName,
  type Hidden,
  type Matrix,
  type RunContext,
  type Tensor,
  tensor,
  z,
} from "@layerfold/core";
import { ridgeLeastSquares } from "@layerfold/linalg";
import { stackRows } from "./block-linear.js";
import type { FitRows } from "./choose-by-rows.js";
import { type CalibratedGroup, eachToken, type GroupBatch } from "./front-to-back.js";
import { sayStep } from "./long-fits.js";
import {
  addRows,
  bestRidge,
  emptyEquations,
  equationsDtype,
  gatherRows,
  type NormalEquations,
  rowsOfWorth,
  sumOf,
} from "./normal-equations.js";

/** How a repair's least-squares fits see the calibration tokens. */
export const fitOptions = {
  ridge: z
    .array(z.number().positive())
    .min(1)
    .default([1e-3])
    .describe(
      "λ as a share of the Gram's mean diagonal. Of several, each block takes the one whose fit is best on the held-out batches; it is then fitted on all of them",
    ),
  heldOutEvery: z
    .number()
    .int()
    .min(2)
    .default(5)
    .describe(
      "every so many-th calibration batch is held out to choose the ridge; used only where there are several",
    ),
  gramPrecision: z
    .enum(["auto", "float64", "float32"])
    .default("auto")
    .describe(
      "in what the Gram is kept and solved; `auto` is float64 up to 16,384 activations (1 GiB), and float32 beyond",
    ),
  tokenWeighting: z
    .enum(["none", "inverse-norm", "inverse-squared-norm"])
    .default("inverse-norm")
    .describe(
      "what a token's squared error is divided by: a power of the norm of its target stream. A few tokens of a trained model carry nearly all of it, and an unweighted fit sees nothing else",
    ),
};

/** The resolved {@link fitOptions}. */
export interface FitOptions {
  readonly ridge: readonly number[];
  readonly heldOutEvery: number;
  /** Default `auto`. */
  readonly gramPrecision?: "auto" | "float64" | "float32" | undefined;
  readonly tokenWeighting: "none" | "inverse-norm" | "inverse-squared-norm";
}

const exponents = { none: 0, "inverse-norm": 0.5, "inverse-squared-norm": 1 };

/** [real tokens] square roots of the tokens' weights in a fit: (mean square of the target)^(−p/2), p by the weighting. */
export function tokenScales(target: Hidden, weighting: FitOptions["tokenWeighting"]): Float64Array {
  const { data, shape } = target.states;
  const scales = new Float64Array(target.lengths.reduce((sum, length) => sum + length, 0));
  eachToken(target, (start, token) => {
    let square = 0;
    for (let i = start; i < start + shape[2]; i++) square += data[i] ** 2;
    scales[token] = (square / shape[2]) ** (-exponents[weighting] / 2);
  });
  return scales;
}

/** Normal equations of the batches that fit and of those that judge; both zero where nothing was held out. */
export interface SplitEquations {
  readonly seen: NormalEquations;
  readonly heldOut: NormalEquations;
  /** Rows of both. */
  readonly tokens: number;
  /** What is fitted, for people. */
  readonly where: string;
}

/** What a Gram of so many features is kept in. */
export function gramDtype(
  features: number,
  precision: FitOptions["gramPrecision"] = "auto",
): "float64" | "float32" {
  return precision === "auto" ? equationsDtype(features) : precision;
}

/** Two sets of equations, or one that is both where there is no ridge to choose. */
export function emptySplit(
  { features, targets }: { readonly features: number; readonly targets: number },
  { ridge, gramPrecision = "auto" }: FitOptions,
): Pick<SplitEquations, "seen" | "heldOut"> {
  const empty = () => emptyEquations(features, targets, gramDtype(features, gramPrecision));
  const seen = empty();
  return { seen, heldOut: ridge.length > 1 ? empty() : seen };
}

/** Adds batches to equations, small ones of a wide model several at a time. */
function rowCollector(equations: NormalEquations, ctx: RunContext) {
  const worth = rowsOfWorth(equations.gram.size);
  let pending: { features: Matrix<Float32Array>; target: Matrix<Float32Array> }[] = [];
  const finish = async () => {
    const [first] = pending;
    if (!first) return;
    const joined = (field: "features" | "target") =>
      pending.length === 1 ? first[field] : stackRows(pending.map((rows) => rows[field]));
    const [features, target] = [joined("features"), joined("target")];
    pending = [];
    await addRows(equations, features, target, ctx);
  };
  return {
    finish,
    async add(features: Matrix<Float32Array>, target: Matrix<Float32Array>) {
      pending.push({ features, target });
      if (pending.reduce((sum, { features: { shape } }) => sum + shape[0], 0) >= worth) await finish();
    },
  };
}

/** Batches whose equations are summed for themselves, so that several processes can share a text; of wide equations all are one. */
const batchesOfPart = 2;
/** Of equations that are handed from process to process. */
const mostPartBytes = 2 ** 28;

/**
 * Gathers a group's normal equations, batch by batch, in parts that are added in order: the sum is the same whoever made them. `observe` gives a batch's features, side by side, and its target, [batch, sequence, ·] each.
 */
export async function gatherEquations(
  group: CalibratedGroup,
  sizes: { readonly features: number; readonly targets: number },
  options: FitOptions,
  observe: (
    batch: GroupBatch,
  ) => Promise<{ features: readonly Tensor<Float32Array>[]; target: Tensor<Float32Array> }>,
  ctx: RunContext,
): Promise<SplitEquations> {
  const where = groupName(group);
  sayStep(where, `Gram of ${sizes.features} activations`, sizes.features, ctx);
  const gather = async (from: number, to: number): Promise<SplitEquations> => {
    const { seen, heldOut } = emptySplit(sizes, options);
    const [toSeen, toHeldOut] = [seen, heldOut].map((equations) => rowCollector(equations, ctx));
    let tokens = 0;
    for await (const batch of group.batches(from, to)) {
      const { features, target } = await observe(batch);
      const { lengths } = batch.target;
      const scales = tokenScales(batch.target, options.tokenWeighting);
      tokens += scales.length;
      await (batch.heldOut ? toHeldOut : toSeen).add(
        gatherRows(features, lengths, scales),
        gatherRows([target], lengths, scales),
      );
    }
    await toSeen.finish();
    await toHeldOut.finish();
    return { seen, heldOut, tokens, where };
  };
  const { batchCount } = group;
  const parts = equationBytes(sizes, options) > mostPartBytes ? 1 : Math.ceil(batchCount / batchesOfPart);
  if (parts <= 1) return gather(0, batchCount);
  const part = (index: number) =>
    gather(index * batchesOfPart, Math.min(batchCount, (index + 1) * batchesOfPart));
  if (!ctx.shareParts) {
    let sum = await part(0);
    for (let index = 1; index < parts; index++) sum = sumOfSplits(sum, await part(index));
    return sum;
  }
  const name = `group ${group.index}: ${sizes.features} × ${sizes.targets}`;
  const shared = await ctx.shareParts(name, parts, async (index) => splitBytes(await part(index)));
  return shared.map((bytes) => splitOf(bytes, sizes, options, where)).reduce(sumOfSplits);
}

function equationBytes(
  { features, targets }: { readonly features: number; readonly targets: number },
  { gramPrecision, ridge }: FitOptions,
): number {
  const width = gramDtype(features, gramPrecision) === "float64" ? 8 : 4;
  return (ridge.length > 1 ? 2 : 1) * width * features * (features / 2 + targets);
}

function sumOfSplits(a: SplitEquations, b: SplitEquations): SplitEquations {
  if (a.heldOut !== a.seen) sumOf(a.heldOut, b.heldOut);
  return { ...a, seen: sumOf(a.seen, b.seen), tokens: a.tokens + b.tokens };
}

/** Every array of equations, in an order that both sides know. */
function arraysOf({ seen, heldOut }: Pick<SplitEquations, "seen" | "heldOut">) {
  return [...new Set([seen, heldOut])].flatMap(({ gram, cross }) => [...gram.tiles, cross.data]);
}

/** Equations as bytes: their arrays one after the other, and the number of their tokens. */
function splitBytes(split: SplitEquations): Uint8Array {
  const arrays = [...arraysOf(split), Float64Array.of(split.tokens)];
  const bytes = new Uint8Array(arrays.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let at = 0;
  for (const { buffer, byteOffset, byteLength } of arrays) {
    bytes.set(new Uint8Array(buffer, byteOffset, byteLength), at);
    at += byteLength;
  }
  return bytes;
}

function splitOf(
  bytes: Uint8Array,
  sizes: { readonly features: number; readonly targets: number },
  options: FitOptions,
  where: string,
): SplitEquations {
  const split = emptySplit(sizes, options);
  const tokens = new Float64Array(1);
  let at = 0;
  for (const { buffer, byteOffset, byteLength } of [...arraysOf(split), tokens]) {
    new Uint8Array(buffer, byteOffset, byteLength).set(bytes.subarray(at, at + byteLength));
    at += byteLength;
  }
  return { ...split, tokens: tokens[0], where };
}

/** All rows that `gatherEquations` would take products of; undefined where the text has more tokens than `most`. */
export async function gatherFewRows(
  group: CalibratedGroup,
  most: number,
  { tokenWeighting }: FitOptions,
  observe: Parameters<typeof gatherEquations>[3],
): Promise<FitRows | undefined> {
  let tokens = 0;
  for await (const { target } of group.batches()) {
    tokens += target.lengths.reduce((sum, length) => sum + length, 0);
    if (tokens > most) return undefined;
  }
  const parts: FitRows[] = [];
  for await (const batch of group.batches()) {
    const { features, target } = await observe(batch);
    const scales = tokenScales(batch.target, tokenWeighting);
    parts.push({
      features: gatherRows(features, batch.target.lengths, scales),
      target: gatherRows([target], batch.target.lengths, scales),
    });
  }
  return {
    features: stackRows(parts.map(({ features }) => features)),
    target: stackRows(parts.map(({ target }) => target)),
  };
}

/** Reports fewer tokens than features (`GRAM_SINGULAR`). */
export function warnOfFewTokens(
  where: string,
  tokens: number,
  features: number,
  ridge: number,
  ctx: RunContext,
): void {
  if (tokens >= features) return;
  ctx.report?.({
    type: "diagnostic",
    severity: "warning",
    code: "GRAM_SINGULAR",
    message: `${where}: ${tokens} calibration tokens for ${features} activations: the Gram is singular, and ridge ${ridge} decides`,
  });
}

/**
 * The equations of all batches, and the ridge that the held-out ones choose, or the only one there is. Fewer tokens than features are reported
 * (`GRAM_SINGULAR`). Cost: one solution, O(features³), for every ridge where there are several.
 * @param prior - [features, targets]
 */
export async function chooseRidge(
  { seen, heldOut, tokens, where }: SplitEquations,
  prior: Matrix,
  { ridge: ridges }: FitOptions,
  ctx: RunContext,
): Promise<{ equations: NormalEquations; ridge: number }> {
  const single = seen === heldOut;
  const ridge = single ? ridges[0] : await bestRidge(seen, heldOut, prior, ridges, ctx);
  warnOfFewTokens(where, tokens, seen.gram.size, ridge, ctx);
  return { equations: single ? seen : sumOf(seen, heldOut), ridge };
}

/**
 * [features, targets] float32: argmin ‖A·W − T‖² + λ‖W − prior‖², λ = ridge · mean diagonal of the Gram. Spoils the equations, whose memory it
 * works in. O(features³).
 * @throws MATRIX_NOT_POSITIVE_DEFINITE where the ridge cannot help
 */
export async function ridgeFit(
  equations: NormalEquations,
  prior: Matrix,
  ridge: number,
  ctx: RunContext,
): Promise<Matrix<Float32Array>> {
  const weights = await ridgeLeastSquares({ ...equations, ridge, prior, overwrite: true }, ctx);
  return tensor(Float32Array.from(weights.data), weights.shape);
}

/**
 * [batch, sequence, hidden] (target − rest) / scale − bias: what a map must give so that scale · (map + bias) is the update that is missing.
 * @param rest - what is in the stream without the update; default nothing
 */
export function missingUpdate(
  target: Hidden,
  rest: Tensor<Float32Array> | undefined,
  { scale, bias }: { readonly scale: number; readonly bias?: Float32Array | undefined },
): Tensor<Float32Array> {
  const { shape } = target.states;
  const width = shape[2];
  const result = contiguousData(target.states).slice();
  if (rest) {
    const present = contiguousData(rest);
    for (let i = 0; i < result.length; i++) result[i] -= present[i];
  }
  if (scale !== 1) for (let i = 0; i < result.length; i++) result[i] /= scale;
  if (bias) for (let i = 0; i < result.length; i++) result[i] -= bias[i % width];
  return tensor(result, shape);
}
