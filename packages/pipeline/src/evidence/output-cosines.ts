import {
  dropPlan,
  type Hidden,
  type MergePlan,
  type MergeStrategy,
  type PlanGroup,
  type RunContext,
} from "@layerfold/core";
import { eachToken, foldGroup, planStreams } from "@layerfold/merge";
import { sequenceBatches } from "../inputs/open-model.js";
import { openTrialRunner } from "./open-trial-runner.js";
import type { Evaluator, TrialMaterial } from "./trial.js";

/** Mean cosine of one merged model's last stream after another with the dense model's. */
export async function openOutputCosines(
  material: TrialMaterial,
  strategy: MergeStrategy,
  ctx: RunContext,
): Promise<Evaluator<MergePlan, number>> {
  const runner = await openTrialRunner(material, ctx);
  const merged = (group: PlanGroup) => foldGroup(group, strategy, ctx, runner);
  const streams = planStreams(runner, sequenceBatches(material.text), merged, ctx);
  const layers = Array.from({ length: runner.layerCount }, (_, layer) => layer);
  await streams.run(dropPlan(runner.layerCount, layers));
  const dense: Hidden[] = [];
  for await (const hidden of streams.behind(runner.layerCount - 1)) dense.push(hidden);
  return {
    async answer(plan) {
      await streams.run(plan);
      const cosine = await meanTokenCosine(streams.behind(plan.groups.length - 1), dense);
      return Number.isNaN(cosine) ? -1 : cosine;
    },
    async close() {
      await streams.close();
      await runner.close();
    },
  };
}

async function meanTokenCosine(a: AsyncIterable<Hidden>, b: readonly Hidden[]): Promise<number> {
  let [sum, tokens] = [0, 0];
  let batch = 0;
  for await (const hidden of a) {
    const [own, other] = [hidden.states, b[batch++].states];
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
