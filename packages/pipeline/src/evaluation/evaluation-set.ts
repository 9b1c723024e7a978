import type { Question, Tokenizer, TokenSequences } from "@layerfold/checkpoint";
import { LayerfoldError } from "@layerfold/core";
import { type Benchmark, benchmarkTexts, choicePrompt } from "@layerfold/evaluate";
import { sharedTokens, sharing } from "../calibration/overlap.js";
import { type Calibration, calibrationPart, selfMade } from "../calibration/read-calibration.js";
import {
  readBenchmarkRows,
  readQuestionRows,
  readSequences,
  type WindowOptions,
} from "../inputs/open-model.js";
import { fileSource, shortName, sourceName } from "../inputs/text-source.js";
import { questionWindow } from "../inputs/window.js";
import { type DataFact, textFact } from "../manifest.js";
import { moduleTask } from "../module-path.js";
import type { Run } from "../run.js";

/** What quality is judged on. */
export interface EvaluationSet {
  readonly tokenizer: Tokenizer;
  /** The first is the one that single figures speak of. */
  readonly texts: readonly EvaluationText[];
  /** Most tokens of a question that the model is shown. */
  readonly contextLength: number;
  /** Asked by answer letter. */
  readonly questions?: readonly Question[];
  readonly tasks: readonly EvaluationTask[];
}

export interface EvaluationText extends TokenSequences {
  /** File name and part. */
  readonly name: string;
  readonly window: number;
}

export interface EvaluationTask {
  /** The benchmark's name and part. */
  readonly name: string;
  readonly benchmark: Benchmark;
}

/** Texts and tasks as the command line names them. */
export interface EvaluationRequest extends WindowOptions {
  /** `FILE` or `FILE[from:to]` each. */
  readonly texts?: readonly string[] | undefined;
  readonly questions?: string | undefined;
  /** `NAME:FILE` or `NAME:FILE[from:to]` each, NAME a benchmark or the path of a module with a task of one's own. */
  readonly tasks?: readonly string[] | undefined;
}

/**
 * Reads all that quality is judged on, so that bad input is found before the first long computation.
 * @param context - most tokens that the model takes
 * @throws TEXT_SOURCE, TASK_UNKNOWN, TEXT_RANGE, WINDOW_TOO_LONG, and what reading texts, questions and tasks throws
 */
export async function readEvaluationSet(
  request: EvaluationRequest,
  context: number,
  tokenizer: Tokenizer,
  run: Run,
): Promise<EvaluationSet> {
  const contextLength = questionWindow(request.window, context);
  const texts: EvaluationText[] = [];
  for (const text of request.texts ?? []) {
    texts.push({ ...(await readSequences(text, context, tokenizer, request, run)), name: shortName(text) });
  }
  const tasks: EvaluationTask[] = [];
  for (const task of request.tasks ?? []) tasks.push(await readTaskRows(task, run));
  const questions =
    request.questions === undefined ? undefined : await readQuestionRows(request.questions, run);
  return { tokenizer, contextLength, texts, tasks, ...(questions && { questions }) };
}

async function readTaskRows(task: string, run: Run): Promise<EvaluationTask> {
  const { id, source } = taskSource(task);
  const benchmark = await readBenchmarkRows(id, source, run);
  return { name: `${benchmark.id}${sourceName(source).slice(source.file.length)}`, benchmark };
}

function taskSource(task: string) {
  const own = moduleTask(task);
  if (own) return { id: own.task, source: fileSource(own.rest) };
  const colon = task.indexOf(":");
  if (colon < 1) {
    throw new LayerfoldError("TEXT_SOURCE", "cannot read the name of a task", {
      wanted: "NAME:FILE or NAME:FILE[FROM:TO]",
      got: task,
    });
  }
  return { id: task.slice(0, colon), source: fileSource(task.slice(colon + 1)) };
}

function taskFact(task: string): Promise<DataFact> {
  const { id, source } = taskSource(task);
  return textFact({ ...source, task: id });
}

/** Every file that quality is judged on, for a manifest. */
export async function evaluationFacts(
  request: EvaluationRequest,
): Promise<Record<string, readonly DataFact[]>> {
  const facts = (texts: readonly string[]) => Promise.all(texts.map((text) => textFact(fileSource(text))));
  const { texts = [], tasks = [], questions } = request;
  return {
    ...(texts.length > 0 && { evaluate: await facts(texts) }),
    ...(questions !== undefined && { questions: await facts([questions]) }),
    ...(tasks.length > 0 && { tasks: await Promise.all(tasks.map(taskFact)) }),
  };
}

/** The token sequences of each text, of the questions and of each task. */
function evaluationSequences({
  texts,
  questions,
  tasks,
  tokenizer,
}: EvaluationSet): { readonly name: string; readonly rows: readonly ArrayLike<number>[] }[] {
  const encoded = (rows: readonly string[]) => rows.map((row) => tokenizer.encode(row));
  return [
    ...texts.map(({ name, sequences }) => ({ name, rows: sequences.map(({ ids }) => ids) })),
    ...(questions ? [{ name: "questions", rows: encoded(questions.map(choicePrompt)) }] : []),
    ...tasks.map(({ name, benchmark }) => ({ name, rows: encoded(benchmarkTexts(benchmark)) })),
  ];
}

/** A calibration held apart from what is judged, and what the reader must know of it. */
export interface SeparatedCalibration {
  readonly calibration: Calibration;
  /** That windows were left out. */
  readonly excluded: readonly string[];
  /** What the calibration saw of what is judged. */
  readonly contaminated: readonly string[];
  /** Names of what is new to the calibration. */
  readonly unseen: readonly string[];
}

/**
 * Holds calibration and judged text apart. Windows that the model made up itself and in which judged text stands are left out, since
 * nobody could have given others.
 * @throws CALIBRATION_OVERLAPS where a text does that was given, unless allowed
 */
export function separateCalibration(
  given: Calibration,
  evaluationSet: EvaluationSet,
  allowed: boolean,
): SeparatedCalibration {
  const judged = evaluationSequences(evaluationSet);
  const own = selfMade(given);
  const known = new Set(
    sharing(
      own,
      judged.flatMap(({ rows }) => rows),
    ),
  );
  const calibration = calibrationPart(
    given,
    given.sequences.filter((sequence) => !known.has(sequence)),
  );
  const seen = calibration.sequences.map(({ ids }) => ids);
  const found = judged.map(({ name, rows }) => ({ name, shared: sharedTokens(seen, rows) }));
  const share = (shared: number) => `${(shared * 100).toFixed(1)} % of its tokens`;
  const worst = found.find(({ shared }) => shared > 0);
  if (worst && !allowed) {
    throw new LayerfoldError(
      "CALIBRATION_OVERLAPS",
      "text that is judged on also stands in the calibration text",
      {
        wanted: "other texts or other parts of them, or --allow-overlap",
        got: share(worst.shared),
        where: worst.name,
      },
    );
  }
  return {
    calibration,
    excluded:
      known.size > 0
        ? [
            `${known.size} of ${own.length} windows of the model's own text hold judged text and were left out of the calibration.`,
          ]
        : [],
    contaminated: found
      .filter(({ shared }) => shared > 0)
      .map(
        ({ name, shared }) =>
          `${name}: ${share(shared)} also stand in the calibration text, so its figure is contaminated.`,
      ),
    unseen: found.filter(({ shared }) => shared === 0).map(({ name }) => name),
  };
}
