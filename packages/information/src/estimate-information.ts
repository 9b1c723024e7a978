import { tensor } from "@layerfold/core";
import { ksg } from "./ksg-mutual-information.js";
import { type NeighborGrid, neighborGrid } from "./neighbor-grid.js";
import type { Points } from "./read-points.js";
import { univariateMutualInformation } from "./univariate-mutual-information.js";

/** The nearest-neighbour estimators: those that take long enough to be worth threads. */
export interface InformationOptions {
  readonly estimator: "ksg1" | "ksg2" | "univariate";
  readonly neighborCount: number;
  readonly nonUniformityThreshold: number;
}

/** One layer's coordinates, with what an estimator needs to search them. */
export interface PreparedPoints {
  readonly points: Points;
  readonly grid?: NeighborGrid;
}

export function preparePoints(points: Points, { estimator }: InformationOptions): PreparedPoints {
  return { points, ...(estimator !== "univariate" && { grid: neighborGrid(points) }) };
}

/** Mutual information of two layers, in nats; a function of its arguments alone, so that it does not matter which thread runs it. */
export function estimateInformation(
  a: PreparedPoints,
  b: PreparedPoints,
  { estimator, ...options }: InformationOptions,
): number {
  if (estimator !== "univariate") return ksg(a.grid!, b.grid!, { ...options, estimator });
  const { data } = univariateMutualInformation(matrixOf(a.points), matrixOf(b.points), options);
  return data.reduce((sum, value) => sum + value, 0) / data.length;
}

function matrixOf({ values, count, dimensions }: Points) {
  return tensor(values, [count, dimensions]);
}
