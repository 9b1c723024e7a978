import {
  dropPlan,
  type Hidden,
  type MergePlan,
  type MergeStrategy,
  type PlanGroup,
  type RunContext,
} from "@layerfold/core";
import { openRunner } from "@layerfold/graph";
import { eachToken, foldGroup, planStreams } from "@layerfold/merge";
import { sequenceBatches } from "../inputs/open-model.js";
import type { Evaluator, TrialMaterial } from "./trial.js";

/** Mean cosine of one merged model's last stream after another with the dense model's. */
export async function openOutputCosines(
  { checkpoint, place, text }: TrialMaterial,
  strategy: MergeStrategy,
  ctx: RunContext,
): Promise<Evaluator<MergePlan, number>> {
  const runner = await openRunner(checkpoint, place);
  const merged = (group: PlanGroup) => foldGroup(group, strategy, ctx, runner);
  const streamsOf = planStreams(runner, sequenceBatches(text), merged, ctx);
  const layers = Array.from({ length: runner.layerCount }, (_, layer) => layer);
  const dense = await streamsOf(dropPlan(runner.layerCount, layers));
  return {
    async answer(plan) {
      const cosine = meanTokenCosine(await streamsOf(plan), dense);
      return Number.isNaN(cosine) ? -1 : cosine;
    },
    close: () => runner.close(),
  };
}

function meanTokenCosine(a: readonly Hidden[], b: readonly Hidden[]): number {
  let [sum, tokens] = [0, 0];
  for (const [i, hidden] of a.entries()) {
    const [own, other] = [hidden.states, b[i].states];
    const shift = other.offset - own.offset;
    eachToken(hidden, (start) => {
      let [dot, left, right] = [0, 0, 0];
      for (let j = start; j < start + own.shape[2]; j++) {
        const [x, y] = [own.data[j], other.data[j + shift]];
        dot += x * y;
        left += x * x;
        right += y * y;
      }
      sum += dot / Math.sqrt(left * right);
      tokens++;
    });
  }
  return sum / tokens;
}
