import { stat } from "node:fs/promises";
import { join } from "node:path";
import { openCheckpoint } from "@layerfold/checkpoint";
import { LayerfoldError } from "@layerfold/core";
import { findTask, isTaskPath } from "@layerfold/evaluate";
import { type DataFact, modelFact, modelName } from "../manifest.js";
import { modelFolder, type Run } from "../run.js";
import type { CompareResultsRequest } from "../stages/compare-results.js";
import { readEvaluation, type StoredEvaluation } from "./stored-evaluation.js";

/** One of the models that are compared. */
export type Side =
  | { readonly kind: "results"; readonly name: string; readonly evaluation: StoredEvaluation }
  | { readonly kind: "checkpoint"; readonly name: string; readonly path: string; readonly directory: string };

/** Reads what stands of each, and finds where checkpoints lie. @throws MODEL_NEEDED, and what `readEvaluation` throws */
export async function openSides(
  { models, tasks, texts, prompts }: CompareResultsRequest,
  run: Run,
): Promise<Side[]> {
  const sides: Side[] = [];
  for (const path of models) {
    if (path.startsWith("hf:") || (await stat(join(path, "config.json")).catch(() => undefined))) {
      const name = path.startsWith("hf:") ? path.slice(3) : modelName(path);
      sides.push({ kind: "checkpoint", name, path, directory: await modelFolder(path, run) });
      continue;
    }
    const evaluation = await readEvaluation(path, await taskNames(tasks), run);
    if (texts?.length || prompts?.length) {
      throw new LayerfoldError("MODEL_NEEDED", "results of an evaluation can be asked nothing more", {
        wanted: "checkpoints, or neither --text nor --prompt",
        got: path,
      });
    }
    sides.push({ kind: "results", name: shortModel(evaluation.model ?? path), evaluation });
  }
  return withOwnNames(sides, models);
}

/** `org/name` as it is, of a path what people call the model. */
function shortModel(name: string): string {
  return /^[^/\\.][^/\\]*(\/[^/\\]+)?$/.test(name) ? name : modelName(name);
}

/** Names of tasks, those of task files by what stands in them. */
export async function taskNames(tasks: readonly string[] | undefined): Promise<string[] | undefined> {
  return (
    tasks && Promise.all(tasks.map(async (task) => (isTaskPath(task) ? (await findTask(task)).name : task)))
  );
}

/** Models of one name are told apart by what was given, or by their place. */
function withOwnNames(sides: readonly Side[], given: readonly string[]): Side[] {
  const isAlone = (name: string, names: readonly string[]) =>
    names.filter((one) => one === name).length === 1;
  const names = sides.map(({ name }) => name);
  const longer = names.map((name, i) => (isAlone(name, names) ? name : given[i]));
  return sides.map((side, i) => ({
    ...side,
    name: isAlone(longer[i], longer) ? longer[i] : `${longer[i]} (${i + 1})`,
  }));
}

/** The content of a model, or of its results. */
export async function sideFact(side: Side): Promise<DataFact> {
  if (side.kind === "results") return side.evaluation.facts[0];
  const checkpoint = await openCheckpoint(side.directory);
  try {
    return await modelFact(side.path, checkpoint);
  } finally {
    await checkpoint.close();
  }
}
