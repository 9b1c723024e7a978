import { readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { textExtension } from "@layerfold/checkpoint";
import { type EvaluationTask, LayerfoldError, type RunContext } from "@layerfold/core";
import { prepareDocuments, type TaskDocument } from "./harness/documents.js";
import { fewshotSource } from "./harness/fewshot.js";
import { findData, readTaskRows } from "./harness/find-data.js";
import type { Row } from "./harness/python-text.js";
import { readTaskConfig, type TaskConfig } from "./harness/task-config.js";
import { builtInTasks, findTask, singleTasks } from "./harness/task-index.js";
import { readTask } from "./task.js";

/** A task with its documents, ready to be asked: plain JSON. */
export interface Benchmark {
  readonly id: string;
  readonly config: TaskConfig;
  readonly documents: readonly TaskDocument[];
}

/** Names that `readBenchmark` knows. */
export const benchmarkIds = builtInTasks;

/**
 * Reads a task's documents from one file of its data: JSON lines, CSV or Parquet. Examples before each document are looked for beside the file, and there
 * are none, and that is told, where there is no such data. Of `mmlu` a subject's CSV or a folder of them, whose questions show five answered ones of
 * `../dev` (or `dev` in the folder) first.
 *
 * @param benchmark - a known name, the path of a task file, or a task of one's own
 * @throws TASK_UNKNOWN naming the known ones, TASK_INVALID, TASK_FIELD_UNSUPPORTED, QUESTIONS_EMPTY, TASK_ROW_INVALID, TASK_TEMPLATE_FAILED,
 * TASK_TEMPLATE_SLOW, and what `readDataFile` throws
 */
export async function readBenchmark(
  benchmark: string | EvaluationTask,
  path: string,
  report?: RunContext["report"],
): Promise<Benchmark> {
  if (typeof benchmark !== "string") return readOwnTask(benchmark, path, report);
  const node = await findTask(benchmark);
  if (node.kind === "task") {
    const rows = await readTaskRows(path, node.config, report);
    const shown = await examplesBeside(path, node.config, report);
    const documents = prepareDocuments(node.config, rows, { ...shown, where: path });
    return { id: benchmark, config: node.config, documents };
  }
  if (benchmark !== "mmlu") {
    throw new LayerfoldError("TASK_UNKNOWN", "several tasks cannot be read from one file", {
      wanted: singleTasks(node)
        .slice(0, 8)
        .map(({ name }) => name)
        .join(", "),
      got: benchmark,
    });
  }
  const subjects = await subjectFiles(path);
  const template = singleTasks(node)[0].config;
  const documents: TaskDocument[] = [];
  let config = template;
  for (const file of subjects) {
    config = subjectConfig(template, file);
    const rows = await readTaskRows(file, config, report);
    const shown = await examplesBeside(file, config, report);
    const subject = config.dataset_name ?? "";
    for (const document of prepareDocuments(config, rows, { ...shown, where: file })) {
      documents.push({ ...document, id: documents.length, subject });
    }
  }
  return { id: benchmark, config: subjects.length === 1 ? config : { ...template, task: "mmlu" }, documents };
}

/** One subject of MMLU, known or not. */
function subjectConfig(template: TaskConfig, file: string): TaskConfig {
  const subject = basename(file).replace(/(_(test|dev|val))?\.csv(\.gz)?$/, "");
  const { dataset_name: name, description } = template;
  const words = (text: string) => text.replaceAll("_", " ");
  return {
    ...template,
    task: `mmlu_${subject}`,
    task_alias: subject,
    dataset_name: subject,
    description: description.replace(words(name ?? ""), words(subject)),
  };
}

async function subjectFiles(path: string): Promise<string[]> {
  if (textExtension(path) === ".csv") return [path];
  const inside = await readdir(path).catch((cause) => {
    throw new LayerfoldError("FILE_MISSING", "cannot read the subjects", { where: path, cause });
  });
  const folder = inside.includes("test") ? join(path, "test") : path;
  const files = (await readdir(folder)).filter((name) => /_(test|val)\.csv(\.gz)?$/.test(name)).sort();
  if (files.length > 0) return files.map((name) => join(folder, name));
  throw new LayerfoldError("QUESTIONS_EMPTY", "there is no subject", {
    wanted: "SUBJECT_test.csv",
    where: folder,
  });
}

/** The examples of a task whose documents are in a file: from the folder of it or the one above. */
async function examplesBeside(
  file: string,
  config: TaskConfig,
  report: RunContext["report"],
): Promise<{ readonly fewshot: number; readonly fewshotRows?: readonly Row[] }> {
  const count = config.num_fewshot ?? 0;
  if (count === 0) return { fewshot: 0 };
  const { split, rows } = fewshotSource(config);
  if (rows) return { fewshot: count, fewshotRows: rows };
  const here = { ...config, dataset_path: "." };
  for (const place of split === undefined ? [] : [dirname(file), join(dirname(file), "..")]) {
    const found = await findData(place, here, split!);
    if (!found) continue;
    const shown: Row[] = [];
    for (const one of found) shown.push(...(await readTaskRows(one, config, report)));
    return { fewshot: Math.min(count, shown.length), fewshotRows: shown };
  }
  report?.({
    type: "diagnostic",
    severity: "info",
    code: "FEWSHOT_MISSING",
    message: `${config.task}: no examples stand before the questions, since there is no data for its split ${split} beside ${file}`,
  });
  return { fewshot: 0 };
}

/** A task in code: its rows as documents of a task with choices. */
async function readOwnTask(
  task: EvaluationTask,
  path: string,
  report: RunContext["report"],
): Promise<Benchmark> {
  const items = await readTask(task, path, report);
  const config = readTaskConfig(
    { task: task.id, output_type: "multiple_choice", doc_to_choice: "choices", doc_to_target: "answer" },
    path,
  );
  const documents = items.map(({ context, choices, answer, subject }, id) => ({
    id,
    row: { context, choices, answer },
    target: answer,
    choices,
    gold: answer,
    requests: choices.map((choice, i) => ({
      kind: "loglikelihood" as const,
      context: (typeof context === "string" ? context : context[i]).trimEnd(),
      continuation: ` ${choice}`,
    })),
    ...(subject !== undefined && { subject }),
  }));
  return { id: task.id, config, documents };
}

/** What a benchmark shows a model, document by document: for telling whether the model's calibration saw it. */
export function benchmarkTexts({ documents }: Benchmark): string[] {
  return documents.map((document) => {
    const request = document.requests[[document.gold ?? 0].flat()[0]];
    return request.kind === "rolling" ? request.text : request.context;
  });
}

/**
 * A benchmark's documents with their right answers: text to calibrate on.
 * @param options - `wrong`: each document once with every one of its answers, as a model reads them that has to choose
 */
export function answeredTexts({ documents }: Benchmark, { wrong = false } = {}): string[] {
  return documents.flatMap(({ requests, choices, gold, target }) => {
    const texts = requests.slice(0, choices?.length ?? 1).map((request) => {
      if (request.kind === "rolling") return request.text;
      const answer = request.kind === "generate" ? ` ${[target].flat()[0]}` : request.continuation;
      return request.context + answer;
    });
    return wrong ? texts : [texts[[gold ?? 0].flat()[0]]];
  });
}
