import { openTokenizer } from "@layerfold/checkpoint";
import { LayerfoldError } from "@layerfold/core";
import { type BenchmarkScore, multipleChoice, perplexity } from "@layerfold/evaluate";
import type { RunningSummary } from "@layerfold/quantize";
import { type EvaluationRequest, readEvaluationSet } from "../evaluation/evaluation-set.js";
import { openEvaluated } from "../evaluation/open-evaluated.js";
import { type TaskQuality, taskQuality } from "../evaluation/task-quality.js";
import { withExecution } from "../memory.js";
import { asRun, modelFolder, type Run, type RunOptions } from "../run.js";

export interface MeasureRequest extends EvaluationRequest {
  /** Checkpoint folder, or `hf:org/name`; a quantised one runs on its packed codes. */
  readonly model: string;
}

export interface Measured {
  readonly texts: readonly {
    readonly text: string;
    readonly perplexity: number;
    readonly tokens: number;
    readonly begin_token_given: boolean;
    readonly window: number;
  }[];
  readonly questions?: Awaited<ReturnType<typeof multipleChoice>>;
  readonly tasks: readonly (TaskQuality & { readonly chosen?: BenchmarkScore["chosen"] })[];
  /** Of a quantised checkpoint: how its weights ran. */
  readonly running?: RunningSummary;
}

/**
 * Perplexity on texts, accuracy on questions and on public benchmarks, of one model alone.
 * @throws NOTHING_TO_EVALUATE, and what reading the model and the texts throws
 */
export async function measure(
  { model: path, ...request }: MeasureRequest,
  options: RunOptions | Run = {},
): Promise<Measured> {
  const run = asRun(options);
  if (!request.texts?.length && request.questions === undefined && !request.tasks?.length) {
    throw new LayerfoldError("NOTHING_TO_EVALUATE", "nothing to evaluate", {
      wanted: "--perplexity FILE, --questions FILE, --task NAME:FILE or several of them",
    });
  }
  const { checkpoint, model, running, close } = await openEvaluated(
    await modelFolder(path, run),
    (opened) => withExecution(run, opened).execution,
    run.ctx,
    run.place,
  );
  try {
    const tokenizer = await openTokenizer(checkpoint.directory);
    const context = checkpoint.architecture.maxPositionEmbeddings;
    const evaluationSet = await readEvaluationSet(request, context, tokenizer, run);
    const texts: Measured["texts"][number][] = [];
    for (const { name, sequences, beginTokenGiven, window } of evaluationSet.texts) {
      const { windowLosses: _, ...found } = await perplexity(model, sequences, {}, run.ctx);
      texts.push({ text: name, ...found, begin_token_given: beginTokenGiven, window });
    }
    const { questions, contextLength } = evaluationSet;
    const answered =
      questions && (await multipleChoice(model, tokenizer, questions, { contextLength }, run.ctx));
    const tasks: Measured["tasks"][number][] = [];
    for (const task of evaluationSet.tasks) {
      const { quality, chosen } = await taskQuality(model, evaluationSet, task, run.ctx);
      tasks.push({ ...quality, ...(chosen && { chosen }) });
    }
    return { texts, tasks, ...(answered && { questions: answered }), ...(running && { running }) };
  } finally {
    await close();
  }
}
