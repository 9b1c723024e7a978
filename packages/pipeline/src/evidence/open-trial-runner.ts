import type { ModelRunner, RunContext } from "@layerfold/core";
import { openRunner } from "@layerfold/graph";
import type { TrialMaterial } from "./trial.js";

/** Decoded blocks that a trial's model keeps, beside those that it works on. */
const mostCached = 2 ** 30;

/** The dense model, block by block, to try plans on. It keeps fewer blocks at hand where little memory may be used. */
export function openTrialRunner(
  { checkpoint, place }: Pick<TrialMaterial, "checkpoint" | "place">,
  { memory = Number.POSITIVE_INFINITY }: Pick<RunContext, "memory">,
): Promise<ModelRunner> {
  return openRunner(checkpoint, { ...place, cacheBytes: Math.min(mostCached, memory / 8) });
}
