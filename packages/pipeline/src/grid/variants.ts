import {
  dropControl,
  keptLayer,
  type MergePlan,
  type MergeStrategy,
  type PlanGroup,
  type Repair,
} from "@layerfold/core";
import { drop, reconstruct, weighted } from "@layerfold/merge";

/** The four ways to carry out one plan. */
export const variantNames = ["dropped", "dropped + repair", "merged", "merged + repair"] as const;
export type VariantName = (typeof variantNames)[number];

export interface Variant {
  readonly name: VariantName;
  /** Whether the preset itself carries its plan out so. */
  readonly own: boolean;
  readonly plan: MergePlan;
  readonly strategy: MergeStrategy;
  readonly repair?: Repair;
}

/**
 * The four ways to carry out a plan. What a preset does not say is filled in: a preset that drops is merged by `weighted`, one that
 * repairs nothing is repaired by `reconstruct`; where its repair is itself a merge, the repair without merging is the one that it names, or `reconstruct`.
 */
export function variantsOf(
  plan: MergePlan,
  { strategy, repair }: { readonly strategy: MergeStrategy; readonly repair?: Repair | undefined },
): Variant[] {
  const merges = repair?.merges === true;
  const { drops = false } = strategy;
  const dropped = dropControl(plan);
  const merged = { ...plan, groups: plan.groups.map(merging) };
  const mergedStrategy = drops ? weighted() : strategy;
  const plainRepair = repair && !merges ? repair : (repair?.withoutMerging?.() ?? reconstruct());
  const own = merges || !drops ? (repair ? 3 : 2) : repair ? 1 : 0;
  return [
    { plan: dropped, strategy: drop() },
    { plan: dropped, strategy: drop(), repair: plainRepair },
    { plan: merged, strategy: mergedStrategy },
    merges ? { plan, strategy, repair } : { plan: merged, strategy: mergedStrategy, repair: plainRepair },
  ].map((variant, i) => ({ name: variantNames[i], own: i === own, ...variant }));

  /** A group that was to keep one layer merges all of them alike. */
  function merging(group: PlanGroup): PlanGroup {
    return group.layers.length > 1 && keptLayer(group) !== undefined ? { layers: group.layers } : group;
  }
}

export function mergedGroups({ plan, repair }: Pick<Variant, "plan" | "repair">): number {
  const merges = repair?.merges === true;
  return plan.groups.filter(
    (group) =>
      group.layers.length > 1 &&
      (merges || !group.weights || group.weights.filter((weight) => weight !== 0).length > 1),
  ).length;
}
