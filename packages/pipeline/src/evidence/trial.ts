import type { TokenSequence } from "@layerfold/checkpoint";
import { type MergeStrategy, type Repair, type RunContext, throwIfAborted } from "@layerfold/core";
import { streamMemory } from "@layerfold/disk";
import { seededRng } from "@layerfold/linalg";
import type { DeviceOptions } from "@layerfold/onnx";
import { type Artefact, type Closable, defineTask, type Json, jsonCodec, jsonDigest } from "@layerfold/tasks";
import { tokensOf } from "../calibration/read-calibration.js";
import { type PluginReference, pluginOf } from "../plugin-reference.js";
import { allThreads } from "../tasks/resources.js";
import type { ComparisonReference } from "../tasks/similarity.js";
import { bytesOf, type StoredModel, sharedCheckpoint } from "../tasks/stored-model.js";
import { taskCode } from "../tasks/task-code.js";
import { openFoldedLosses } from "./folded-losses.js";
import { openOutputCosines } from "./output-cosines.js";
import { openPlanDivergences } from "./plan-divergences.js";
import { openPlanLosses } from "./plan-losses.js";
import { openRemeasured } from "./remeasured.js";
import { openRepairedLosses } from "./repaired-losses.js";

/** What may be asked of plans, or of groups of layers. */
export type TrialQuestion = "loss" | "divergence" | "repaired" | "folded" | "outputs" | "similarity";

/** Finds one answer after another, and keeps for the next what two have in common. */
export interface Evaluator<Asked, Answer> extends Closable {
  answer(asked: Asked): Promise<Answer>;
}

/** All that the answers depend on besides what is asked. Of what a question does not look at, null. */
export type TrialConditions = {
  readonly question: TrialQuestion;
  readonly strategy: PluginReference | null;
  readonly repair: PluginReference | null;
  readonly comparison: ComparisonReference | null;
  readonly pooling: string | null;
  /** Weight of tokens that stood in their window before. */
  readonly recall_weight: number;
  /** Weight of the answers beside the text. */
  readonly answer_weight: number;
  readonly seed: number;
};

interface TrialInputs {
  readonly model: Artefact<StoredModel>;
  readonly text: Artefact<readonly TokenSequence[]>;
  /** Answered questions, weighed beside the text. */
  readonly answers: Artefact<readonly TokenSequence[]> | undefined;
  readonly [name: string]: Artefact | undefined;
}

/** Some plans or groups of layers, tried on a text: an answer for each, in order. */
export const trialTask = defineTask({
  kind: "trial",
  code: taskCode(import.meta.url),
  codec: jsonCodec<readonly Json[]>(),
  resources: allThreads,
  async run(
    { asked, ...conditions }: TrialConditions & { readonly asked: readonly Json[] },
    inputs: TrialInputs,
    ctx,
  ) {
    const key = jsonDigest([
      conditions,
      inputs.model.digest,
      inputs.text.digest,
      inputs.answers?.digest ?? null,
    ] as Json);
    const evaluator = await ctx.shared(`trials ${key}`, async (shared) => {
      // It outlives the task: it does not speak in its name, and is stopped in the name of whoever asks.
      const asker: { -readonly [K in keyof RunContext]: RunContext[K] } = {
        engine: ctx.engine,
        memory: ctx.memory,
        rng: seededRng(conditions.seed),
      };
      const { checkpoint, place } = await sharedCheckpoint(inputs.model, { shared });
      const text = await inputs.text.read();
      const answers = await inputs.answers?.read();
      const opened = await openEvaluator(conditions, { checkpoint, place, text, answers }, asker);
      const queue = oneAtATime(opened, (signal) => {
        asker.signal = signal;
      });
      return {
        ...queue,
        bytes:
          bytesOf(checkpoint) +
          Math.min(streamBytes(checkpoint, [...text, ...(answers ?? [])]), streamMemory(ctx.memory)),
      };
    });
    const answers: Json[] = [];
    for (const one of asked) {
      throwIfAborted(ctx.signal);
      answers.push(await evaluator.answer(one, ctx.signal));
    }
    return answers;
  },
});

/** What evaluators are opened with. */
export interface TrialMaterial {
  readonly checkpoint: Awaited<ReturnType<typeof sharedCheckpoint>>["checkpoint"];
  /** Where it runs. */
  readonly place?: DeviceOptions;
  readonly text: readonly TokenSequence[];
  readonly answers?: readonly TokenSequence[] | undefined;
}

function openEvaluator(
  conditions: TrialConditions,
  material: TrialMaterial,
  ctx: RunContext,
): Promise<Evaluator<Json, Json>> {
  const { question, comparison, pooling } = conditions;
  const beside = {
    recallWeight: conditions.recall_weight,
    ...(material.answers && {
      answers: { sequences: material.answers, weight: conditions.answer_weight },
    }),
  };
  const strategy = () => pluginOf<MergeStrategy>(conditions.strategy!);
  const repair = () => pluginOf<Repair>(conditions.repair!);
  const open = (): Promise<Evaluator<never, Json>> => {
    switch (question) {
      case "loss":
        return openPlanLosses(material, beside, ctx);
      case "divergence":
        return openPlanDivergences(material, ctx);
      case "outputs":
        return openOutputCosines(material, strategy(), ctx);
      case "repaired":
        return openRepairedLosses(material, { beside, strategy: strategy(), repair: repair() }, ctx);
      case "folded":
        return openFoldedLosses(material, { beside, strategy: strategy(), repair: repair() }, ctx);
      case "similarity":
        return openRemeasured(material, comparison!, pooling!, ctx);
    }
  };
  return open() as Promise<Evaluator<Json, Json>>;
}

/** Most that an evaluator keeps: the stream behind every block, float32. */
function streamBytes(
  { architecture }: TrialMaterial["checkpoint"],
  sequences: readonly TokenSequence[],
): number {
  return 4 * (architecture.blocks.length + 1) * architecture.hiddenSize * tokensOf(sequences);
}

/** What an evaluator keeps is of the last question: a second one waits. @param listenTo - whose signal stops the next answer */
function oneAtATime(evaluator: Evaluator<Json, Json>, listenTo: (signal: AbortSignal | undefined) => void) {
  let last: Promise<unknown> = Promise.resolve();
  return {
    answer(asked: Json, signal: AbortSignal | undefined): Promise<Json> {
      const answer = last.then(() => {
        listenTo(signal);
        return evaluator.answer(asked);
      });
      last = answer.catch(() => undefined);
      return answer;
    },
    async close() {
      await last;
      await evaluator.close();
    },
  };
}
