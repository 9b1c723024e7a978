import type { Planner } from "@layerfold/core";

/** Whether a planner's evidence, and so its plan, depends on how the plan will be carried out: on the strategy, or on the repair too. */
export function judgesBy({ needs }: Pick<Planner, "needs">): "strategy" | "repair" | undefined {
  if (needs.includes("evaluateRepaired") || needs.includes("evaluateFolded")) return "repair";
  return needs.includes("compareOutputs") ? "strategy" : undefined;
}

/** Whether a planner's evidence is what the layers do to the whole calibration text. */
export function seesActivations({ needs }: Pick<Planner, "needs">): boolean {
  return needs.includes("similarity") || needs.includes("tokenStatistics");
}
