import {
  type Evidence,
  LayerfoldError,
  type Matrix,
  type MergePlan,
  type Planner,
  type TokenStatistics,
  z,
} from "@layerfold/core";

/** @param where - the option that asked for it @throws LAYERS_OUT_OF_RANGE unless 1 ≤ target < layerCount */
export function checkTarget(
  { layerCount }: Pick<Evidence, "layerCount">,
  targetLayerCount: number,
  where?: string,
): void {
  if (Number.isInteger(targetLayerCount) && targetLayerCount >= 1 && targetLayerCount < layerCount) return;
  throw new LayerfoldError("LAYERS_OUT_OF_RANGE", "cannot leave that many layers", {
    wanted: `1 to ${layerCount - 1}`,
    got: `${targetLayerCount}`,
    where,
  });
}

function missing(planner: string, what: string): LayerfoldError {
  return new LayerfoldError("EVIDENCE_MISSING", `the planner ${planner} needs ${what}`, {
    where: `evidence of ${planner}`,
  });
}

/** @throws EVIDENCE_MISSING, EVIDENCE_MISMATCH when the matrix is not [layers, layers] or not finite */
export function requireSimilarity({ similarity, layerCount }: Evidence, planner: string): Matrix {
  if (!similarity) throw missing(planner, "a similarity matrix of the layers");
  checkSimilarity(similarity, layerCount, "the similarity matrix");
  return similarity;
}

/** @throws EVIDENCE_MISMATCH when the matrix is not [layers, layers] or not finite */
export function checkSimilarity({ shape, data }: Matrix, layerCount: number, what: string): void {
  if (shape.length !== 2 || shape.some((length) => length !== layerCount)) {
    throw new LayerfoldError("EVIDENCE_MISMATCH", `${what} is of another model`, {
      wanted: `[${layerCount}, ${layerCount}]`,
      got: `[${shape.join(", ")}]`,
    });
  }
  if (!data.every(Number.isFinite)) {
    throw new LayerfoldError("EVIDENCE_MISMATCH", `${what} has values that are no numbers`);
  }
}

/** @throws EVIDENCE_MISSING, EVIDENCE_MISMATCH */
export function requireTokenStatistics(
  { tokenStatistics, layerCount }: Evidence,
  planner: string,
): TokenStatistics {
  if (!tokenStatistics) throw missing(planner, "token statistics of a calibration text");
  if (tokenStatistics.layerCount !== layerCount) {
    throw new LayerfoldError("EVIDENCE_MISMATCH", "the token statistics are of another model", {
      wanted: `${layerCount} layers`,
      got: `${tokenStatistics.layerCount}`,
    });
  }
  return tokenStatistics;
}

/** What a planner that tries plans goes by; see {@link judgeDescription}. */
export const judgeOption = z.enum(["loss", "divergence", "repaired-loss"]);

export const judgeDescription =
  "what plans are tried by: calibration loss with layers dropped, divergence from the dense model with layers dropped, or the loss after fold and repair, which costs a fold per trial";
type Judge = z.infer<typeof judgeOption>;

const judges = {
  loss: "evaluate",
  divergence: "evaluateDivergence",
  "repaired-loss": "evaluateRepaired",
} as const;

export function judgeNeeds(...used: readonly Judge[]): Planner["needs"] {
  return [...new Set(used.map((judge) => judges[judge]))];
}

/** @throws EVIDENCE_MISSING */
export function requireJudge(
  evidence: Evidence,
  judge: Judge,
  planner: string,
): (plans: readonly MergePlan[]) => Promise<readonly number[]> {
  const found = evidence[judges[judge]];
  if (found) return found;
  const repaired = judge === "repaired-loss" ? " with a repair" : "";
  throw missing(planner, `to try plans${repaired} on a calibration text`);
}

/** @throws EVIDENCE_MISSING */
export function requireFoldedLoss(
  { evaluateFolded }: Evidence,
  planner: string,
): NonNullable<Evidence["evaluateFolded"]> {
  if (evaluateFolded) return evaluateFolded;
  throw missing(planner, "to try folds with a repair on a calibration text");
}

/** @throws EVIDENCE_MISSING */
export function requireOutputCosine(
  { compareOutputs }: Evidence,
  planner: string,
): NonNullable<Evidence["compareOutputs"]> {
  if (compareOutputs) return compareOutputs;
  throw missing(planner, "to try merges on a calibration text");
}
