import type { TokenSequence } from "@layerfold/checkpoint";
import type { Execution } from "@layerfold/graph";
import type { Task } from "@layerfold/tasks";
import type { EvaluationSet } from "../evaluation/evaluation-set.js";
import type { TaskQuality } from "../evaluation/task-quality.js";
import { shardsOf } from "../shards.js";
import type { TaskRunner } from "../task-runner.js";
import { givenText, givenValue } from "../tasks/given-text.js";
import {
  joinedMeasureTask,
  type MeasuredText,
  measureBenchmarkTask,
  measureQuestionsTask,
  measureTextTask,
} from "../tasks/measure.js";
import type { ModelInput } from "../tasks/stored-model.js";

/** How well a model does; single figures are those of the first text and of the questions, null where there are none. */
export interface Quality {
  readonly perplexity: number | null;
  /** On the first text. */
  readonly kl_to_dense: number | null;
  readonly accuracy: number | null;
  readonly accuracy_stderr: number | null;
  readonly texts: readonly TextQuality[];
  readonly tasks: readonly TaskQuality[];
}

export interface TextQuality {
  readonly text: string;
  readonly perplexity: number;
  readonly tokens: number;
  /** Summed negative log-likelihood of each window, nats, and the tokens that count in it. */
  readonly window_losses: readonly number[];
  readonly window_tokens: readonly number[];
}

/** A model on one text, in as many shards as it has. */
export function textMeasure(
  models: { readonly model: ModelInput; readonly dense: ModelInput | undefined },
  sequences: readonly TokenSequence[],
  execution: Execution,
): Task<MeasuredText> {
  const shards = shardsOf(sequences, ({ ids, scoredFrom }) => ids.length > scoredFrom);
  const tasks = shards.map((shard) => measureTextTask({ execution }, { ...models, text: givenText(shard) }));
  return tasks.length === 1 ? tasks[0] : joinedMeasureTask({}, Object.fromEntries(tasks.entries()));
}

/**
 * Measures a checkpoint as it lies on disk: a task for each text, for the questions and for each benchmark.
 * @param execution - how the models run
 * @param dense - to measure the divergence from, on the first text; absent for the dense model itself
 */
export async function measureModel(
  model: ModelInput,
  { texts, questions, tasks, contextLength }: EvaluationSet,
  dense: ModelInput | undefined,
  runner: TaskRunner,
  execution: Execution = "whole",
): Promise<Quality> {
  const [onTexts, answers, onTasks] = await Promise.all([
    runner.run(
      texts.map(({ sequences }, index) =>
        textMeasure({ model, dense: index === 0 ? dense : undefined }, sequences, execution),
      ),
    ),
    runner.run(
      questions
        ? [
            measureQuestionsTask(
              { execution, context_length: contextLength },
              { model, questions: givenValue("questions", questions) },
            ),
          ]
        : [],
    ),
    runner.run(
      tasks.map(({ name, benchmark }) =>
        measureBenchmarkTask(
          { execution, name, context_length: contextLength },
          { model, benchmark: givenValue("benchmark", benchmark) },
        ),
      ),
    ),
  ]);
  return {
    perplexity: onTexts[0]?.perplexity ?? null,
    kl_to_dense: onTexts[0]?.kl_to_dense ?? null,
    accuracy: answers[0]?.accuracy ?? null,
    accuracy_stderr: answers[0]?.stderr ?? null,
    texts: onTexts.map(({ kl_to_dense: _, top1_agreement: __, ...found }, index) => ({
      text: texts[index].name,
      ...found,
    })),
    tasks: onTasks,
  };
}
