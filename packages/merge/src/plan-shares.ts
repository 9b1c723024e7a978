import { type Architecture, anchorLayer, elementCount, type MergePlan } from "@layerfold/core";

/** How much of a model a plan takes away. */
export interface PlanShares {
  /** Parameters of the dense model, tied weights counted once. */
  readonly denseParameterCount: number;
  /** Of the folded one. */
  readonly parameterCount: number;
  /** Share of parameters removed, 0 – 1. */
  readonly parameterRatio: number;
  /** Share of layers removed, 0 – 1. */
  readonly layerRatio: number;
}

/** What a plan takes away, from the shapes alone. */
export function planShares({ groups }: MergePlan, { blocks, globals }: Architecture): PlanShares {
  const count = (layers: Iterable<number>) => {
    let total = 0;
    for (const shape of globals.values()) total += elementCount(shape);
    for (const layer of layers) {
      for (const shape of blocks[layer].shapes.values()) total += elementCount(shape);
    }
    return total;
  };
  const denseParameterCount = count(blocks.keys());
  const parameterCount = count(groups.map(anchorLayer));
  return {
    denseParameterCount,
    parameterCount,
    parameterRatio: 1 - parameterCount / denseParameterCount,
    layerRatio: 1 - groups.length / blocks.length,
  };
}
