import {
  type Checkpoint,
  endTokens,
  openCheckpoint,
  openTokenizer,
  type Tokenizer,
} from "@layerfold/checkpoint";
import { LayerfoldError } from "@layerfold/core";
import { type BenchmarkScore, multipleChoice, perplexity } from "@layerfold/evaluate";
import type { RunningSummary } from "@layerfold/quantize";
import { type EvaluationRequest, readEvaluationSet } from "../evaluation/evaluation-set.js";
import { openAsked, openEvaluated } from "../evaluation/open-evaluated.js";
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
  const directory = await modelFolder(path, run);
  const tokenizer = await openTokenizer(directory);
  const execution = (opened: Checkpoint) => withExecution(run, opened).execution;
  const { architecture, stops } = await lookAt(directory, tokenizer, run);
  const evaluationSet = await readEvaluationSet(request, architecture.maxPositionEmbeddings, tokenizer, run);
  const { questions, contextLength } = evaluationSet;
  const texts: Measured["texts"][number][] = [];
  const tasks: Measured["tasks"][number][] = [];
  let answered: Measured["questions"];
  let running: RunningSummary | undefined;
  if (evaluationSet.texts.length > 0 || questions) {
    const opened = await openEvaluated(directory, execution, run.ctx, run.place);
    ({ running } = opened);
    try {
      for (const { name, sequences, beginTokenGiven, window } of evaluationSet.texts) {
        const { windowLosses: _, ...found } = await perplexity(opened.model, sequences, {}, run.ctx);
        texts.push({ text: name, ...found, begin_token_given: beginTokenGiven, window });
      }
      answered =
        questions && (await multipleChoice(opened.model, tokenizer, questions, { contextLength }, run.ctx));
    } finally {
      await opened.close();
    }
  }
  if (evaluationSet.tasks.length > 0) {
    const opened = await openAsked(directory, execution, run.ctx, run.place);
    ({ running } = opened);
    try {
      for (const task of evaluationSet.tasks) {
        const { quality, chosen } = await taskQuality(opened.model, evaluationSet, task, run.ctx, stops);
        tasks.push({ ...quality, ...(chosen && { chosen }) });
      }
    } finally {
      await opened.close();
    }
  }
  return { texts, tasks, ...(answered && { questions: answered }), ...(running && { running }) };
}

/** What a checkpoint says of itself before it is opened to run. */
async function lookAt(directory: string, tokenizer: Tokenizer, { ctx }: Pick<Run, "ctx">) {
  const checkpoint = await openCheckpoint(directory, { report: ctx.report });
  try {
    return { architecture: checkpoint.architecture, stops: await endTokens(checkpoint, tokenizer) };
  } finally {
    await checkpoint.close();
  }
}
