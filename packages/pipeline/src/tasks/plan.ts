import type { TokenSequence } from "@layerfold/checkpoint";
import type { MergePlan, Planner } from "@layerfold/core";
import { seededRng } from "@layerfold/linalg";
import { type Artefact, defineTask, jsonCodec } from "@layerfold/tasks";
import { taskEvidence } from "../evidence/task-evidence.js";
import type { TrialConditions } from "../evidence/trial.js";
import { type PluginReference, pluginOf } from "../plugin-reference.js";
import type { StoredCapture } from "./capture.js";
import { noResources } from "./resources.js";
import type { StoredMatrix } from "./similarity.js";
import { type StoredModel, sharedCheckpoint } from "./stored-model.js";
import { taskCode } from "./task-code.js";

/** What a plan depends on besides the texts. */
export type PlanParameters = {
  readonly planner: PluginReference;
  /** Layers that remain. */
  readonly target: number;
  /** Tokens of the text that plans are tried on. */
  readonly planning_tokens: number;
  readonly conditions: Omit<TrialConditions, "question">;
};

interface PlanInputs {
  readonly model: Artefact<StoredModel>;
  readonly text: Artefact<readonly TokenSequence[]> | undefined;
  readonly answers: Artefact<readonly TokenSequence[]> | undefined;
  readonly capture: Artefact<StoredCapture> | undefined;
  readonly similarity: Artefact<StoredMatrix> | undefined;
  readonly [name: string]: Artefact | undefined;
}

/** Which layers fold together. Holds nothing while its trials run. */
export const planTask = defineTask({
  kind: "plan",
  code: taskCode(import.meta.url),
  codec: jsonCodec<MergePlan>(),
  resources: noResources,
  async run(
    { planner: reference, target, planning_tokens, conditions }: PlanParameters,
    inputs: PlanInputs,
    ctx,
  ) {
    const { model, text, answers, capture, similarity } = inputs;
    const planner = pluginOf<Planner>(reference);
    const { checkpoint } = await sharedCheckpoint(model, ctx);
    const evidence = taskEvidence(
      {
        architecture: checkpoint.architecture,
        model,
        similarity: await similarity?.read(),
        tokenStatistics: (await capture?.read())?.activations.statistics,
        text: await text?.read(),
        answers: await answers?.read(),
        planningTokens: planning_tokens,
        conditions,
      },
      ctx,
    );
    return planner.plan(evidence, target, { ...ctx, rng: seededRng(conditions.seed) });
  },
});
