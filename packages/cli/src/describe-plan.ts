import type { Architecture, MergePlan } from "@layerfold/core";
import { planShares } from "@layerfold/merge";

/** What a plan would do, for `--dry-run`. */
export function planFacts(plan: MergePlan, architecture: Architecture) {
  const { layerRatio, parameterRatio, parameterCount } = planShares(plan, architecture);
  return {
    plan,
    layer_ratio: layerRatio,
    parameter_ratio: parameterRatio,
    parameters: parameterCount,
  };
}

/** The groups of more than one layer and what they take away, e.g. `16 → 12 layers (25.0 %), 20.8 % of parameters: 3+4, 8+9+10+11`. */
export function describePlan(plan: MergePlan, architecture: Architecture): string {
  const { layerRatio, parameterRatio } = planShares(plan, architecture);
  const folds = plan.groups.filter((g) => g.layers.length > 1).map((g) => g.layers.join("+"));
  const share = (value: number) => `${(100 * value).toFixed(1)} %`;
  return `${plan.num_hidden_layers} → ${plan.groups.length} layers (${share(layerRatio)}), ${share(parameterRatio)} of parameters: ${folds.join(", ") || "nothing folds"}`;
}
