import { openCheckpoint } from "@layerfold/checkpoint";
import { isLayerfoldError, LayerfoldError } from "@layerfold/core";
import type { DeviceOptions } from "@layerfold/onnx";
import type { Artefact, Json, Task, TaskInputs, TaskKinds } from "@layerfold/tasks";
import { trialTask } from "../evidence/trial.js";
import { type PluginReference, pluginOf } from "../plugin-reference.js";
import { askDocumentsTask } from "../tasks/ask-documents.js";
import { captureTask, joinedCaptureTask } from "../tasks/capture.js";
import { foldTask } from "../tasks/fold.js";
import { foldFactsTask } from "../tasks/fold-facts.js";
import { generateTask } from "../tasks/generate-answers.js";
import { givenTask, tokensTask } from "../tasks/given-text.js";
import {
  joinedMeasureTask,
  measureBenchmarkTask,
  measureQuestionsTask,
  measureTextTask,
} from "../tasks/measure.js";
import { planTask } from "../tasks/plan.js";
import { quantizeTask } from "../tasks/quantize.js";
import { repairedLossTask } from "../tasks/repaired-loss.js";
import { selfTextTask } from "../tasks/self-text.js";
import { similarityTask } from "../tasks/similarity.js";
import { givenModel, type StoredModel } from "../tasks/stored-model.js";

/** Every kind of task that a worker may be asked for. */
const factories = [
  tokensTask,
  givenTask("questions"),
  givenTask("benchmark"),
  givenTask("documents"),
  givenTask("prompts"),
  selfTextTask,
  captureTask,
  joinedCaptureTask,
  similarityTask,
  trialTask,
  planTask,
  foldTask,
  foldFactsTask,
  repairedLossTask,
  quantizeTask,
  measureTextTask,
  joinedMeasureTask,
  measureQuestionsTask,
  measureBenchmarkTask,
  askDocumentsTask,
  generateTask,
];

/** What this process can run of what others ask for. */
export function pipelineTasks(): TaskKinds {
  const byKind = new Map(factories.map((factory) => [factory.kind, factory]));
  /** A checkpoint is read through once. */
  const models = new Map<string, Promise<Artefact<StoredModel>>>();
  return {
    factory: (kind) => byKind.get(kind) as ((parameters: never, inputs: TaskInputs) => Task) | undefined,
    outside(reference) {
      const { kind, directory, place } = reference as unknown as {
        readonly kind: string;
        readonly directory: string;
        readonly place: DeviceOptions;
      };
      if (kind !== "model") {
        throw new LayerfoldError("STAGE_INVALID", "an input of a kind that is not known here", { got: kind });
      }
      const key = JSON.stringify(reference);
      const opened = models.get(key) ?? modelAt(directory, place);
      models.set(key, opened);
      opened.catch(() => models.delete(key));
      return opened;
    },
    refusal(task) {
      try {
        for (const reference of pluginsIn(task.parameters)) pluginOf(reference);
      } catch (error) {
        if (isLayerfoldError(error)) return error;
        throw error;
      }
      return undefined;
    },
  };
}

async function modelAt(directory: string, place: DeviceOptions): Promise<Artefact<StoredModel>> {
  const checkpoint = await openCheckpoint(directory);
  try {
    return givenModel(directory, await checkpoint.fingerprint(), place);
  } finally {
    await checkpoint.close();
  }
}

/** The plug-ins that a task's parameters name, wherever in them. */
function pluginsIn(parameters: Json | undefined): PluginReference[] {
  if (typeof parameters !== "object" || parameters === null) return [];
  const { kind, id, options, code } = parameters as Readonly<Record<string, Json | undefined>>;
  if ([kind, id, code].every((part) => typeof part === "string") && options !== undefined) {
    return [parameters as unknown as PluginReference];
  }
  return Object.values(parameters).flatMap(pluginsIn);
}
