import type { TokenSequence } from "@layerfold/checkpoint";
import type { MergePlan, MergeStrategy, Repair } from "@layerfold/core";
import { seededRng } from "@layerfold/linalg";
import { type Artefact, defineTask, type Json, jsonCodec } from "@layerfold/tasks";
import { openRepairedLosses } from "../evidence/repaired-losses.js";
import { type PluginReference, pluginOf } from "../plugin-reference.js";
import { allThreads } from "./resources.js";
import { type StoredModel, sharedCheckpoint } from "./stored-model.js";
import { taskCode } from "./task-code.js";

/** The loss of a plan after fold and repair: nats per token on one text, the repair fitted to another. */
export const repairedLossTask = defineTask({
  kind: "repaired-loss",
  code: taskCode(import.meta.url),
  codec: jsonCodec<number>(),
  resources: allThreads,
  async run(
    {
      plan,
      strategy,
      repair,
      seed,
    }: {
      readonly plan: Json;
      readonly strategy: PluginReference;
      readonly repair: PluginReference;
      readonly seed: number;
    },
    {
      model,
      fitted,
      judging,
    }: {
      readonly model: Artefact<StoredModel>;
      readonly fitted: Artefact<readonly TokenSequence[]>;
      readonly judging: Artefact<readonly TokenSequence[]>;
    },
    ctx,
  ) {
    const { checkpoint, place } = await sharedCheckpoint(model, ctx);
    const parts = { fitted: await fitted.read(), judging: await judging.read() };
    const trial = { strategy: pluginOf<MergeStrategy>(strategy), repair: pluginOf<Repair>(repair) };
    const quiet = { ...ctx, rng: seededRng(seed), report: undefined };
    const losses = await openRepairedLosses({ checkpoint, place, text: [] }, trial, quiet, parts);
    try {
      return await losses.answer(plan as unknown as MergePlan);
    } finally {
      await losses.close();
    }
  },
});
