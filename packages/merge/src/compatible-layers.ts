import { type Architecture, keptLayer, LayerfoldError, type MergePlan, parsePlan } from "@layerfold/core";

/** Whether the blocks of two layers can stand for one another: equal type, roles and shapes. */
export function compatibleLayers({ blocks }: Architecture, a: number, b: number): boolean {
  return describe(blocks[a]) === describe(blocks[b]);
}

function describe({ type, shapes }: Architecture["blocks"][number]): string {
  return `${type}: ${[...shapes]
    .map(([role, shape]) => `${role} [${shape.join(", ")}]`)
    .sort()
    .join(", ")}`;
}

/**
 * Holds a plan against a model: as many layers, and blocks of one kind wherever several become one. A group that merely keeps one
 * layer may hold any kinds.
 *
 * @throws PLAN_INVALID, PLAN_MISMATCH, LAYERS_INCOMPATIBLE
 */
export function checkPlan(plan: MergePlan, architecture: Architecture): MergePlan {
  const checked = parsePlan(plan);
  const { blocks } = architecture;
  if (checked.num_hidden_layers !== blocks.length) {
    throw new LayerfoldError("PLAN_MISMATCH", "the plan is for another model", {
      wanted: `${blocks.length} layers`,
      got: `${checked.num_hidden_layers}`,
    });
  }
  checked.groups.forEach((group, index) => {
    if (keptLayer(group) !== undefined) return;
    const [first, ...others] = group.layers;
    for (const other of others) {
      if (compatibleLayers(architecture, first, other)) continue;
      throw new LayerfoldError("LAYERS_INCOMPATIBLE", "the plan folds blocks of different kinds", {
        wanted: `layer ${first}: ${describe(blocks[first])}`,
        got: `layer ${other}: ${describe(blocks[other])}`,
        where: `plan, group ${index}`,
      });
    }
  });
  return checked;
}

/** The same groups, for which the strategy decides: every layer counts alike. */
export function withoutWeights(plan: MergePlan): MergePlan {
  return { ...plan, groups: plan.groups.map(({ layers }) => ({ layers })) };
}
