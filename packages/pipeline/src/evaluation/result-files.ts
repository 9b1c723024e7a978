import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Tokenizer } from "@layerfold/checkpoint";
import { LayerfoldError } from "@layerfold/core";
import { checkWritable, fileError, realPath, writeWholeFile } from "@layerfold/disk";
import { type EvaluatedTask, type EvaluationResults, metricsOf, type TaskNode } from "@layerfold/evaluate";
import { stringify } from "yaml";
import type { RunFacts } from "../manifest.js";
import { writeOutputFiles } from "../output-files.js";
import type { Run } from "../run.js";
import { version } from "../version.js";

/** First line of what we write for the hub, by which we know it again. */
const mark = "# Written by layerfold eval.";

/** What is written of an evaluation. */
export interface EvaluationToWrite {
  /** Of the model. */
  readonly name: string;
  readonly nodes: readonly TaskNode[];
  readonly results: EvaluationResults;
  readonly tasks: ReadonlyMap<string, EvaluatedTask>;
  readonly contextLength: number;
  readonly tokenizer: Tokenizer;
  readonly request: {
    readonly limit?: number | undefined;
    readonly fewshotSeed?: number | undefined;
    readonly logSamples?: boolean | undefined;
  };
}

/** `org__name`, as the harness names folders. */
function folderName(model: string): string {
  return model.replace(/["<>:/|\\?*[\]]+/g, "__");
}

/** Whether result files may be written, before any work is done. @throws as `fileError` */
export async function checkEvaluationFiles(out: string, model: string): Promise<void> {
  try {
    await checkWritable(await realPath(join(out, folderName(model))));
  } catch (error) {
    throw fileError(error, out);
  }
}

/**
 * Writes an evaluation's files into `OUT/MODEL`, as the harness lays them out: `results_DATE.json`, with `logSamples` `samples_TASK_DATE.jsonl`, a manifest,
 * and for the hub `.eval_results/TASK.yaml`. The date stands in names alone, so that the same evaluation has the same bytes.
 * @returns the files
 * @throws OUTPUT_EXISTS where a file for the hub stands that we did not write
 */
export async function writeEvaluationFiles(
  out: string,
  evaluation: EvaluationToWrite,
  facts: RunFacts,
  run: Pick<Run, "seed" | "place">,
): Promise<string[]> {
  const { name, results, tasks, contextLength, tokenizer, request } = evaluation;
  const folder = join(out, folderName(name));
  const date = new Date().toISOString().replaceAll(":", "-").replace("Z", "");
  const whole = {
    ...results,
    config: {
      model: "layerfold",
      model_args: `pretrained=${name}`,
      limit: request.limit ?? null,
      bootstrap_iters: 100_000,
      fewshot_seed: request.fewshotSeed ?? 1234,
    },
    layerfold_version: version,
    tokenizer_eos_token: tokenId(tokenizer.endId),
    tokenizer_bos_token: tokenId(tokenizer.beginId),
    max_length: contextLength,
    model_source: "layerfold",
    model_name: name,
    model_name_sanitized: folderName(name),
  };
  const contents = new Map([[join(folder, `results_${date}.json`), `${JSON.stringify(whole, null, 2)}\n`]]);
  for (const [task, { samples }] of request.logSamples ? tasks : []) {
    const lines = samples.map((sample) => `${JSON.stringify(sample)}\n`).join("");
    contents.set(join(folder, `samples_${task}_${date}.jsonl`), lines);
  }
  const forHub = hubFiles(evaluation);
  for (const file of forHub.keys()) await requireOwn(join(folder, ".eval_results", file));
  await writeOutputFiles(contents, facts, run);
  for (const [file, text] of forHub) {
    const path = join(folder, ".eval_results", file);
    await mkdir(join(folder, ".eval_results"), { recursive: true });
    await writeWholeFile(path, text);
  }
  return [...contents.keys(), ...Array.from(forHub.keys(), (file) => join(folder, ".eval_results", file))];
}

function tokenId(id: number | undefined): readonly string[] | null {
  return id === undefined ? null : [`${id}`];
}

async function requireOwn(file: string): Promise<void> {
  const text = await readFile(file, "utf8").catch(() => undefined);
  if (text === undefined || text.startsWith(mark)) return;
  throw new LayerfoldError("OUTPUT_EXISTS", "a file stands there that this command did not write", {
    wanted: "another folder, or the file moved away",
    where: file,
  });
}

/** What the hub shows beside a model: a file for each task or group that was asked for and whose data set is on the hub, accuracies in percent. */
function hubFiles({ nodes, results, tasks }: EvaluationToWrite): Map<string, string> {
  const files = new Map<string, string>();
  for (const node of nodes) {
    const found = results.results[node.name] ?? {};
    const first = node.kind === "task" ? tasks.get(node.name) : tasks.get(firstTask(node)?.name ?? "");
    const dataset = first?.config.dataset_path;
    if (!first || !dataset?.includes("/")) continue;
    const metrics = metricsOf(first.config);
    const { metric } = metrics.find((one) => one.metric === "acc_norm") ?? metrics[0];
    const key = Object.keys(found).find((name) => name.startsWith(`${metric},`));
    if (key === undefined) continue;
    const value = Number(found[key]);
    const percent = /^(acc|exact_match)/.test(metric) ? 100 * value : value;
    const { fewshot, available, summary } = first;
    const part = summary.count < available ? ", a part of the documents" : "";
    const entry = {
      dataset: { id: dataset, task_id: node.name },
      value: Number(percent.toFixed(4)),
      notes: `${key}, ${fewshot}-shot${part}; layerfold ${version}, task file of lm-evaluation-harness 0.4`,
    };
    files.set(`${node.name}.yaml`, `${mark}\n${stringify([entry])}`);
  }
  return files;
}

function firstTask(node: TaskNode): TaskNode | undefined {
  return node.kind === "task" ? node : firstTask(node.children[0]);
}
