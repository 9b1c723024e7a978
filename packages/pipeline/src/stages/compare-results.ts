import { join } from "node:path";
import { LayerfoldError, throwIfAborted } from "@layerfold/core";
import {
  absoluteOnly,
  checkGate,
  findTask,
  type GateCondition,
  type GateVerdict,
  gateFigure,
  parseGate,
} from "@layerfold/evaluate";
import { type ComparedFigure, joinFigures } from "../comparison/compared-figure.js";
import { comparisonMarkdown } from "../comparison/comparison-markdown.js";
import { generate, readTexts } from "../comparison/given-texts.js";
import { openSides, type Side, sideFact, taskNames } from "../comparison/sides.js";
import { type ComparedEvaluation, comparedResults } from "../comparison/stored-evaluation.js";
import { compareTasks, expectedFigures } from "../comparison/task-figures.js";
import { compareTexts, textFigureNames } from "../comparison/text-figures.js";
import { evaluationFacts } from "../evaluation/evaluation-set.js";
import type { WindowOptions } from "../inputs/open-model.js";
import { shortName } from "../inputs/text-source.js";
import type { DataFact, RunFacts } from "../manifest.js";
import { checkOutputFiles, writeOutputFiles } from "../output-files.js";
import { inputPaths, jsonText } from "../outputs.js";
import { asRun, type Run, type RunOptions } from "../run.js";
import { withTasks, workFolder } from "../work-folder.js";
import { type EvaluateTasksRequest, evaluateTasks } from "./evaluate-tasks.js";

export interface CompareResultsRequest
  extends WindowOptions,
    Pick<EvaluateTasksRequest, "limit" | "fewshot" | "fewshotSeed"> {
  /**
   * Two or more, the first of which the others are held against: folders of results with one line for each document (`layerfold eval --out
   * --log-samples`, or lm-evaluation-harness's), checkpoint folders, or `hf:org/name`.
   */
  readonly models: readonly string[];
  /** What checkpoints are asked, by name, group or task file; of results: those that are compared, default all. */
  readonly tasks?: readonly string[] | undefined;
  /** Folder that holds the tasks' data; needed where checkpoints are asked tasks. */
  readonly data?: string | undefined;
  /** Of checkpoints alone: perplexity, divergence from the first and agreement with it, `FILE` or `FILE[from:to]` each. */
  readonly texts?: readonly string[] | undefined;
  /** Of checkpoints alone: what each goes on with, greedily; default: the beginnings of the first text's first three windows. */
  readonly prompts?: readonly string[] | undefined;
  /** Of what is generated; default 48. */
  readonly maxNewTokens?: number | undefined;
  /** Conditions on the other models' figures; see `parseGate`. */
  readonly gate?: string | undefined;
  /** Folder for compare.json, compare.md and a manifest; what is measured is kept beside it until all is done. */
  readonly out?: string | undefined;
}

export interface ResultComparison {
  readonly models: readonly { readonly name: string; readonly kind: "results" | "checkpoint" }[];
  readonly figures: readonly ComparedFigure[];
  /** How each model goes on with each prompt. */
  readonly generations: readonly { readonly prompt: string; readonly continuations: readonly string[] }[];
  readonly gate?: {
    readonly passed: boolean;
    readonly verdicts: readonly (GateVerdict & { readonly model: string })[];
  };
}

/**
 * Holds models against the first of them, on the same documents: every figure's difference and ratio with 95 % intervals, McNemar's test for right
 * answers, and of checkpoints the divergence of predictions and what they generate. What must be measured first is kept beside `out`, or where `store` says.
 *
 * @returns also whether the gate holds; a gate that does not is no error
 * @throws NOTHING_TO_COMPARE, MODEL_NEEDED, DATA_MISSING, GATE_INVALID, GATE_UNKNOWN, GATE_AMBIGUOUS, TASKS_DIFFER, DOCUMENTS_DIFFER, TOKENS_DIFFER,
 * VOCABULARY_DIFFERS, and what `readEvaluation` and `evaluateTasks` throw
 */
export async function compareResults(
  request: CompareResultsRequest,
  options: RunOptions | Run = {},
): Promise<ResultComparison> {
  const run = asRun(options);
  if (request.models.length < 2) {
    throw new LayerfoldError("NOTHING_TO_COMPARE", "fewer than two models", {
      wanted: "the one that others are held against, and at least one other",
      got: `${request.models.length}`,
    });
  }
  // A gate that cannot be read is found before anything else is, one that nothing measures before anything is computed.
  const gate = request.gate === undefined ? undefined : parseGate(request.gate);
  const files =
    request.out === undefined ? [] : ["compare.json", "compare.md"].map((name) => join(request.out!, name));
  if (files.length > 0) {
    const inputs = inputPaths({ models: request.models, texts: request.texts, files: [request.data] });
    await checkOutputFiles(files, { command: "compare", inputs });
  }
  const sides = await openSides(request, run);
  await requireMeasurable(request, sides, gate);
  const texts = await readTexts(request, sides, run);
  const compared = await withTasks(request.out, run, async (runner, folder) => {
    const onTexts =
      texts && (await compareTexts(texts.models, texts.texts, texts.execution, runner, run.ctx));
    const generations = texts ? await generate(texts, request.maxNewTokens, runner) : [];
    // A folder that is kept is found by this very run; another is gone with it.
    const kept: Run = (await workFolder(request.out, run)) === undefined ? run : { ...run, store: folder };
    const onTasks = await evaluateSides(request, sides, kept);
    return { figures: [...onTasks.figures, ...(onTexts ?? [])], generations, data: onTasks.data };
  });
  const comparison: ResultComparison = {
    models: sides.map(({ name, kind }) => ({ name, kind })),
    figures: compared.figures,
    generations: compared.generations,
    ...(gate && { gate: gateOf(gate, sides, compared.figures) }),
  };
  if (files.length > 0) {
    const contents = [jsonText(comparison), comparisonMarkdown(comparison)];
    const facts: RunFacts = {
      command: "compare",
      arguments: { ...request, data: undefined },
      data: {
        models: await Promise.all(sides.map(sideFact)),
        ...compared.data,
        ...(await evaluationFacts({ texts: request.texts })),
      },
    };
    await writeOutputFiles(new Map(files.map((file, i) => [file, contents[i]])), facts, run);
  }
  return comparison;
}

/** @throws NOTHING_TO_COMPARE, MODEL_NEEDED, DATA_MISSING; GATE_UNKNOWN, GATE_AMBIGUOUS and GATE_INVALID of what would be measured */
async function requireMeasurable(
  { tasks, data, texts = [], prompts = [], ...others }: CompareResultsRequest,
  sides: readonly Side[],
  gate: readonly GateCondition[] | undefined,
): Promise<void> {
  if (sides.every(({ kind }) => kind === "results")) {
    const { limit, fewshot, fewshotSeed, window, stride, maxTokens, maxNewTokens } = others;
    const measuring = { data, limit, fewshot, fewshotSeed, window, stride, maxTokens, maxNewTokens };
    const idle = Object.entries(measuring).find(([, value]) => value !== undefined);
    if (!idle) return;
    throw new LayerfoldError("MODEL_NEEDED", "results of an evaluation are compared as they are", {
      wanted: "checkpoints, or nothing that says how they are measured",
      got: idle.join(" "),
    });
  }
  const mixed = sides.some(({ kind }) => kind === "results");
  if (!tasks?.length && (mixed || texts.length + prompts.length === 0)) {
    throw new LayerfoldError("NOTHING_TO_COMPARE", "nothing says what the checkpoints are measured on", {
      wanted: mixed ? "--tasks NAME,NAME with --data FOLDER" : "--tasks with --data, --text or --prompt",
    });
  }
  if (tasks?.length && data === undefined) {
    throw new LayerfoldError("DATA_MISSING", "the tasks' data is not named", { wanted: "--data FOLDER" });
  }
  const nodes = await Promise.all((tasks ?? []).map(findTask));
  const onTexts = textFigureNames(texts.map(shortName));
  for (const condition of gate ?? []) {
    const figure = gateFigure(condition, [...expectedFigures(nodes), ...onTexts]);
    const isAbsolute = onTexts.includes(figure) && !figure.startsWith("perplexity(");
    if (isAbsolute && condition.compared !== "value") throw absoluteOnly(condition, figure);
  }
}

/** The tasks' figures, of results as they stand, of checkpoints once they are asked. */
async function evaluateSides(
  { tasks, data, limit, fewshot, fewshotSeed }: CompareResultsRequest,
  sides: readonly Side[],
  run: Run,
): Promise<{
  readonly figures: readonly ComparedFigure[];
  readonly data: Record<string, readonly DataFact[]>;
}> {
  const evaluations: ComparedEvaluation[] = [];
  let facts: Record<string, readonly DataFact[]> = {};
  for (const side of sides) {
    throwIfAborted(run.ctx.signal);
    if (side.kind === "results") {
      evaluations.push(side.evaluation);
    } else if (tasks?.length && data !== undefined) {
      const asked = { model: side.path, tasks, data, limit, fewshot, fewshotSeed };
      const { results, samples, data: read } = await evaluateTasks(asked, run);
      evaluations.push({ where: side.path, results: comparedResults(results), samples });
      facts = read;
    }
  }
  const [first, ...others] = evaluations;
  if (!first) return { figures: [], data: {} };
  const names = await taskNames(tasks);
  return {
    figures: joinFigures(others.map((other) => compareTasks(first, other, names, run.ctx))),
    data: facts,
  };
}

function gateOf(
  conditions: readonly GateCondition[],
  sides: readonly Side[],
  figures: readonly ComparedFigure[],
): NonNullable<ResultComparison["gate"]> {
  const verdicts = sides.slice(1).flatMap(({ name: model }, i) =>
    checkGate(
      conditions,
      figures.map(({ figure, first, others }) => ({ figure, first, value: others[i].value })),
    ).map((verdict) => ({ model, ...verdict })),
  );
  return { passed: verdicts.every(({ passed }) => passed), verdicts };
}
