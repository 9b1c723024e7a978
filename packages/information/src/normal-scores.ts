import type { Rng } from "@layerfold/core";
import { randomTieRanks } from "@layerfold/linalg";
import { normalQuantile } from "./normal-quantile.js";
import type { Points } from "./read-points.js";

/**
 * Every coordinate replaced by its normal scores Φ⁻¹((rank + ½)/n): standard normal margins whatever the data, which leaves mutual
 * information unchanged and every coordinate on one scale. Equal values get their ranks in an order drawn from `rng`, so that no two
 * samples coincide.
 *
 * Ranks themselves would lie on a lattice, where distances tie and nearest-neighbour counts are biased.
 */
export function normalScores({ values, count, dimensions }: Points, rng: Rng): Points {
  const score = Float64Array.from({ length: count }, (_, rank) => normalQuantile((rank + 0.5) / count));
  const out = new Float64Array(values.length);
  for (let c = 0; c < dimensions; c++) {
    const ranks = randomTieRanks(
      Float64Array.from({ length: count }, (_, i) => values[i * dimensions + c]),
      rng,
    );
    for (let i = 0; i < count; i++) out[i * dimensions + c] = score[ranks[i]];
  }
  return { values: out, count, dimensions };
}
