import {
  contiguousData,
  type Evidence,
  LayerfoldError,
  type Matrix,
  type MergePlan,
  type PlanGroup,
  parsePlan,
  type RunContext,
  tensor,
  throwIfAborted,
  z,
} from "@layerfold/core";
import { checkSimilarity, checkTarget, requireSimilarity } from "../required-evidence.js";

/** Options of the planners that fold neighbours one pair after another (MKA). */
export const foldOptions = {
  weighting: z
    .enum(["similarity", "row-mean-sigmoid", "fixed"])
    .default("similarity")
    .describe(
      "the earlier member's share a in a·θ_l + (1 − a)·θ_m: `similarity` = S_lm clamped to [0, 1]; `row-mean-sigmoid` = sigmoid(s_l / (s_l + s_m)) of S's row means, as the authors' code has it; `fixed` = `ratio`",
    ),
  ratio: z.number().min(0).max(1).default(0.5).describe("the earlier member's share, for `fixed`"),
  similarityRefresh: z
    .enum(["remeasured", "pooled"])
    .default("remeasured")
    .describe(
      "after a fold, the folded layer's row of S is measured on the merged model, or is the mean of its members' rows",
    ),
};

export interface FoldOptions {
  readonly weighting: "similarity" | "row-mean-sigmoid" | "fixed";
  readonly ratio: number;
  readonly similarityRefresh: "remeasured" | "pooled";
}

/** Which pair of current neighbours folds next: the index of its earlier member, chosen among `candidates`. */
export type ChoosePair = (candidates: readonly number[], similarity: Matrix) => number;

/**
 * Folds one pair of neighbours after another until `targetLayerCount` are left. A fold of a fold accumulates: with groups of weights
 * u and v the new group has a·u followed by (1 − a)·v, so a plan alone repeats the merge.
 *
 * @throws EVIDENCE_MISSING, EVIDENCE_MISMATCH, LAYERS_OUT_OF_RANGE; PLAN_IMPOSSIBLE when no compatible neighbours are left
 */
export async function foldPairs(
  planner: string,
  evidence: Evidence,
  targetLayerCount: number,
  options: FoldOptions,
  choose: ChoosePair,
  ctx: RunContext,
): Promise<MergePlan> {
  checkTarget(evidence, targetLayerCount);
  const { layerCount } = evidence;
  let similarity = requireSimilarity(evidence, planner);
  let groups: PlanGroup[] = Array.from({ length: layerCount }, (_, layer) => ({ layers: [layer] }));
  const remeasure = options.similarityRefresh === "remeasured" ? evidence.remeasure : undefined;
  if (options.similarityRefresh === "remeasured" && !remeasure) {
    ctx.report?.({
      type: "diagnostic",
      severity: "warning",
      code: "SIMILARITY_POOLED",
      message: `${planner}: nothing to run the merged model on, so a fold's similarity is the mean of its members'`,
    });
  }
  while (groups.length > targetLayerCount) {
    throwIfAborted(ctx.signal);
    const candidates = groups.slice(1).flatMap((group, at) => {
      const fits = evidence.compatible(groups[at].layers[0], group.layers[0]);
      return fits ? [at] : [];
    });
    if (candidates.length === 0) {
      throw new LayerfoldError("PLAN_IMPOSSIBLE", "no two neighbouring layers can be folded any more", {
        wanted: `${targetLayerCount} layers`,
        got: `${groups.length}`,
      });
    }
    const at = choose(candidates, similarity);
    groups = foldAt(groups, at, ratioOf(similarity, at, options));
    const plan = parsePlan({ version: 1, num_hidden_layers: layerCount, groups });
    ctx.report?.({
      type: "progress",
      stage: "plan",
      done: layerCount - groups.length,
      total: layerCount - targetLayerCount,
      unit: "folds",
    });
    if (groups.length === targetLayerCount) return plan;
    similarity = pooled(similarity, at);
    if (remeasure) {
      const compared = comparedWith(at, groups.length, options);
      const [measured] = await remeasure([{ plan, groups: compared }]);
      checkSimilarity(measured, compared.length, "the similarity matrix of the merged model");
      similarity = withRow(similarity, measured, at, compared);
    }
  }
  return parsePlan({ version: 1, num_hidden_layers: layerCount, groups });
}

function weightsOf(group: PlanGroup): readonly number[] {
  return group.weights ?? [1];
}

function foldAt(groups: readonly PlanGroup[], at: number, a: number): PlanGroup[] {
  const [earlier, later] = [groups[at], groups[at + 1]];
  const folded = {
    layers: [...earlier.layers, ...later.layers],
    weights: [...weightsOf(earlier).map((w) => a * w), ...weightsOf(later).map((w) => (1 - a) * w)],
  };
  return [...groups.slice(0, at), folded, ...groups.slice(at + 2)];
}

/** Element (row, column) of a matrix. */
export function valueAt({ data, offset, stride }: Matrix, row: number, column: number): number {
  return data[offset + row * stride[0] + column * stride[1]];
}

function ratioOf(similarity: Matrix, at: number, { weighting, ratio }: FoldOptions): number {
  if (weighting === "fixed") return ratio;
  if (weighting === "similarity") return Math.min(1, Math.max(0, valueAt(similarity, at, at + 1)));
  const size = similarity.shape[0];
  const mean = (row: number) => {
    let sum = 0;
    for (let column = 0; column < size; column++) sum += valueAt(similarity, row, column);
    return sum / size;
  };
  const [l, m] = [mean(at), mean(at + 1)];
  return 1 / (1 + Math.exp(-l / (l + m)));
}

/** Rows and columns `at` and `at + 1` become one, their mean; a fold is as alike to itself as its earlier member was. */
function pooled(similarity: Matrix, at: number): Matrix {
  const size = similarity.shape[0] - 1;
  const members = (index: number) => (index < at ? [index] : index === at ? [at, at + 1] : [index + 1]);
  const data = new Float64Array(size * size);
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < size; j++) {
      if (i === at && j === at) {
        data[i * size + j] = valueAt(similarity, at, at);
        continue;
      }
      let sum = 0;
      const rows = members(i);
      const columns = members(j);
      for (const row of rows) for (const column of columns) sum += valueAt(similarity, row, column);
      data[i * size + j] = sum / (rows.length * columns.length);
    }
  }
  return tensor(data, [size, size]);
}

/** Layers whose likeness to the folded one somebody will look at: all, where its row's mean counts, else its neighbours, and itself. */
function comparedWith(at: number, size: number, { weighting }: FoldOptions): number[] {
  const all = Array.from({ length: size }, (_, index) => index);
  return weighting === "row-mean-sigmoid" ? all : all.filter((index) => Math.abs(index - at) <= 1);
}

/** The matrix with row and column `at` taken, as far as it goes, from another one, whose rows are those of `groups`. */
function withRow(similarity: Matrix, source: Matrix, at: number, groups: readonly number[]): Matrix {
  const size = similarity.shape[0];
  const data = Float64Array.from(contiguousData(similarity));
  const row = groups.indexOf(at);
  for (const [column, index] of groups.entries()) {
    data[at * size + index] = valueAt(source, row, column);
    data[index * size + at] = valueAt(source, column, row);
  }
  return tensor(data, [size, size]);
}
