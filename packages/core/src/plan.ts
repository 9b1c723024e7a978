import { z } from "zod";
import { LayerfoldError } from "./error.js";

/** Consecutive layers of the dense model that become one layer. */
export interface PlanGroup {
  /** Ascending, consecutive indices into the dense model. */
  readonly layers: readonly number[];
  /** One weight per layer; absent means: the strategy decides. All 0 but one 1 is a drop. */
  readonly weights?: readonly number[];
  /** Halves of the block that fall silent: they add nothing to the stream. Of a group of one layer only. */
  readonly without?: readonly BlockPart[];
}

/** Half of a block: what mixes positions (attention, or a state space), or the feed-forward part behind it. */
export type BlockPart = "attention" | "mlp";

/** Which layers fold together. Plain JSON; one layer comes out per group, in order. */
export interface MergePlan {
  readonly version: 1;
  /** Layers of the dense model. */
  readonly num_hidden_layers: number;
  readonly groups: readonly PlanGroup[];
}

const schema = z.strictObject({
  version: z.literal(1),
  num_hidden_layers: z.number().int().min(1),
  groups: z
    .array(
      z.strictObject({
        layers: z.array(z.number().int().min(0)).min(1),
        weights: z.array(z.number()).optional(),
        without: z
          .array(z.enum(["attention", "mlp"]))
          .min(1)
          .optional(),
      }),
    )
    .min(1),
});

/**
 * Checks that a value is a plan: every layer in exactly one group of consecutive layers, in order, with a finite weight for each layer
 * or none at all.
 * @throws PLAN_INVALID, saying which group is wrong
 *
 * @example
 * ```ts
 * const plan = parsePlan({ version: 1, num_hidden_layers: 3, groups: [{ layers: [0] }, { layers: [1, 2], weights: [1, 0] }] });
 * assert(plan.groups.length === 2);
 * ```
 */
export function parsePlan(value: unknown, where = "plan"): MergePlan {
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new LayerfoldError("PLAN_INVALID", issue.message, {
      where: `${where}${issue.path.length > 0 ? `, ${issue.path.join(".")}` : ""}`,
    });
  }
  const plan = parsed.data;
  let next = 0;
  plan.groups.forEach((group, index) => {
    const at = `${where}, group ${index}`;
    for (const layer of group.layers) {
      if (layer !== next) {
        throw new LayerfoldError("PLAN_INVALID", "every layer must stand in exactly one group, in order", {
          wanted: `layer ${next}`,
          got: `layer ${layer}`,
          where: at,
        });
      }
      next++;
    }
    if (group.weights && group.weights.length !== group.layers.length) {
      throw new LayerfoldError("PLAN_INVALID", "a group needs one weight per layer", {
        wanted: `${group.layers.length} weights`,
        got: `${group.weights.length}`,
        where: at,
      });
    }
    if (group.without && group.layers.length > 1) {
      throw new LayerfoldError("PLAN_INVALID", "halves fall silent in groups of one layer only", {
        wanted: "one layer, or no `without`",
        got: groupName(group),
        where: at,
      });
    }
  });
  if (next !== plan.num_hidden_layers) {
    throw new LayerfoldError("PLAN_INVALID", "the groups do not cover the model", {
      wanted: `${plan.num_hidden_layers} layers`,
      got: `${next}`,
      where,
    });
  }
  return {
    ...plan,
    groups: plan.groups.map(({ layers, weights, without }) => ({
      layers,
      ...(weights && { weights }),
      ...(without && { without }),
    })),
  };
}

/** `layer 3`, or `layers 3, 4`. */
export function groupName({ layers }: Pick<PlanGroup, "layers">): string {
  return `layer${layers.length > 1 ? "s" : ""} ${layers.join(", ")}`;
}

/** The layer that a group keeps whole when its weights are a drop (one 1, the rest 0; or a single layer), else undefined. */
export function keptLayer(group: PlanGroup): number | undefined {
  if (group.without) return undefined;
  if (group.layers.length === 1) return group.layers[0];
  const { weights } = group;
  if (!weights) return undefined;
  const ones = weights.flatMap((w, i) => (w === 1 ? [i] : []));
  return ones.length === 1 && weights.every((w) => w === 0 || w === 1) ? group.layers[ones[0]] : undefined;
}

/** The layer in whose place a group's block stands: the one that it keeps, else its first. */
export function anchorLayer(group: PlanGroup): number {
  return keptLayer(group) ?? group.layers[0];
}

/**
 * The plan that keeps the named layers and drops the rest; a dropped layer joins the group of the kept layer before it
 * (of the first kept layer, where none stands before it).
 * @param kept - ascending layer indices, at least one
 */
export function dropPlan(layerCount: number, kept: readonly number[]): MergePlan {
  const groups = kept.map((layer, i) => {
    const start = i === 0 ? 0 : layer;
    const end = i + 1 < kept.length ? kept[i + 1] : layerCount;
    const layers = Array.from({ length: end - start }, (_, j) => start + j);
    return layers.length === 1 ? { layers } : { layers, weights: layers.map((l) => (l === layer ? 1 : 0)) };
  });
  return parsePlan({ version: 1, num_hidden_layers: layerCount, groups });
}

/** The control of a plan: the same groups, each merely keeping its first layer. */
export function dropControl(plan: MergePlan): MergePlan {
  return dropPlan(plan.num_hidden_layers, plan.groups.map(anchorLayer));
}
