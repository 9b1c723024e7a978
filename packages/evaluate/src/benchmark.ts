import { access, readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Tokenizer, textExtension } from "@layerfold/checkpoint";
import {
  type ChoiceItem,
  type EvaluationTask,
  type LanguageModel,
  LayerfoldError,
  type RunContext,
  z,
} from "@layerfold/core";
import type { Accuracy } from "./accuracy.js";
import { choiceLikelihood } from "./choice-likelihood.js";
import { lastWord } from "./last-word.js";
import type { QuestionOptions } from "./prompts.js";
import { readTask } from "./task.js";
import { arc } from "./tasks/arc.js";
import { hellaswag } from "./tasks/hellaswag.js";
import { mmluSubject, readMmlu } from "./tasks/mmlu.js";
import { openbookqa } from "./tasks/openbookqa.js";
import { piqa } from "./tasks/piqa.js";
import { winogrande } from "./tasks/winogrande.js";

/** The rows of a public benchmark, ready to be asked. */
export type Benchmark =
  | { readonly kind: "choice"; readonly id: string; readonly rows: readonly ChoiceItem[] }
  | { readonly kind: "last-word"; readonly id: string; readonly rows: readonly string[] };

/** What a model scores on a benchmark, by the names of lm-evaluation-harness. */
export interface BenchmarkScore {
  readonly acc: Accuracy;
  /** By length; absent where there is but one way to go on. */
  readonly acc_norm?: Accuracy;
  /** Of the last words. */
  readonly perplexity?: number;
  /** Index of each row's chosen answer, by sum and by sum over length. */
  readonly chosen?: { readonly acc: readonly number[]; readonly acc_norm: readonly number[] };
}

const tasks: Readonly<Record<string, EvaluationTask>> = {
  arc_easy: arc,
  arc_challenge: arc,
  piqa,
  hellaswag,
  winogrande,
  openbookqa,
};

export const benchmarkIds: readonly string[] = [...Object.keys(tasks), "mmlu", "lambada"];

/**
 * Reads a benchmark's rows: JSON lines; of `mmlu` a subject's CSV or a folder of them, whose questions show five answered ones of
 * `../dev` (or `dev` in the folder) first, where they are there; of `lambada` texts whose last word is wanted.
 * @param benchmark - a known id, or a task of one's own
 * @throws TASK_UNKNOWN naming the known ones, QUESTIONS_EMPTY, TASK_ROW_INVALID, and what `readTextFile` throws
 */
export async function readBenchmark(
  benchmark: string | EvaluationTask,
  path: string,
  report?: RunContext["report"],
): Promise<Benchmark> {
  if (typeof benchmark !== "string") {
    return { kind: "choice", id: benchmark.id, rows: await readTask(benchmark, path, report) };
  }
  const id = benchmark;
  if (id === "lambada") return { kind: "last-word", id, rows: await readTask(lastWords, path, report) };
  if (id === "mmlu") return { kind: "choice", id, rows: await readSubjects(path, report) };
  const task = Object.hasOwn(tasks, id) ? tasks[id] : undefined;
  if (!task) {
    throw new LayerfoldError("TASK_UNKNOWN", "no task of this name", {
      wanted: benchmarkIds.join(", "),
      got: id,
    });
  }
  return { kind: "choice", id, rows: await readTask(task, path, report) };
}

/** Asks a benchmark's rows. @throws QUESTIONS_EMPTY, TEXT_TOO_SHORT, QUESTION_TOO_LONG, INTERRUPTED */
export async function scoreBenchmark(
  model: LanguageModel,
  tokenizer: Tokenizer,
  benchmark: Benchmark,
  options: QuestionOptions,
  ctx: RunContext,
): Promise<BenchmarkScore> {
  const named = { name: benchmark.id, ...options };
  if (benchmark.kind === "last-word") return lastWord(model, tokenizer, benchmark.rows, named, ctx);
  const { acc, acc_norm, chosen } = await choiceLikelihood(model, tokenizer, benchmark.rows, named, ctx);
  return { acc, acc_norm, chosen };
}

/** What a benchmark shows a model, row by row: for telling whether the model's calibration saw it. */
export function benchmarkTexts(benchmark: Benchmark): string[] {
  if (benchmark.kind === "last-word") return [...benchmark.rows];
  return benchmark.rows.map((item) => contextOf(item, item.answer));
}

/**
 * A benchmark's rows with their right answers: text to calibrate on.
 * @param options - `wrong`: each row once with every one of its answers, as a model reads them that has to choose
 */
export function answeredTexts(benchmark: Benchmark, { wrong = false } = {}): string[] {
  if (benchmark.kind === "last-word") return [...benchmark.rows];
  return benchmark.rows.flatMap((item) => {
    const answered = item.choices.map((choice, i) => `${contextOf(item, i)} ${choice}`);
    return wrong ? answered : [answered[item.answer]];
  });
}

/** What stands before an answer. */
function contextOf({ context }: ChoiceItem, answer: number): string {
  return typeof context === "string" ? context : context[answer];
}

/** The rows of LAMBADA, whose question is the last word. */
const lastWords: Pick<EvaluationTask<string>, "item"> = {
  item(row, where) {
    const parsed = z.object({ text: z.string().refine((text) => text.trim().includes(" ")) }).safeParse(row);
    if (parsed.success) return parsed.data.text;
    throw new LayerfoldError("TASK_ROW_INVALID", "not a row of lambada", {
      wanted: "text of at least two words",
      where,
    });
  },
};

async function readSubjects(path: string, report: RunContext["report"]): Promise<ChoiceItem[]> {
  if (textExtension(path) === ".csv") return readSubject(path, report);
  const folder = (await readable(join(path, "test"))) ? join(path, "test") : path;
  const names = await readdir(folder).catch((cause) => {
    throw new LayerfoldError("FILE_MISSING", "cannot read the subjects", { where: path, cause });
  });
  const files = names.filter((name) => /_(test|val)\.csv(\.gz)?$/.test(name)).sort();
  if (files.length === 0) {
    throw new LayerfoldError("QUESTIONS_EMPTY", "there is no subject", {
      wanted: "SUBJECT_test.csv",
      where: folder,
    });
  }
  const items: ChoiceItem[] = [];
  for (const name of files) items.push(...(await readSubject(join(folder, name), report)));
  return items;
}

async function readSubject(file: string, report: RunContext["report"]): Promise<ChoiceItem[]> {
  const examples = join(dirname(file), "..", "dev", `${mmluSubject(file)}_dev.csv`);
  return readMmlu(file, { report, ...((await readable(examples)) && { examples }) });
}

async function readable(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
