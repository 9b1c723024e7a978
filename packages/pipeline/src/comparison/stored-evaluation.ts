import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { readTextFile } from "@layerfold/checkpoint";
import { LayerfoldError, suggestion, z } from "@layerfold/core";
import { fileError } from "@layerfold/disk";
import type { EvaluationResults, SampleRecord } from "@layerfold/evaluate";
import { type DataFact, dataFact } from "../manifest.js";
import type { Run } from "../run.js";

const schema = z.looseObject({
  results: z.record(z.string(), z.record(z.string(), z.unknown())),
  group_subtasks: z.record(z.string(), z.array(z.string())).default({}),
  configs: z.record(
    z.string(),
    z.looseObject({
      metric_list: z
        .array(z.looseObject({ metric: z.string(), aggregation: z.string().optional() }))
        .nullish(),
    }),
  ),
  "n-shot": z.record(z.string(), z.number()).default({}),
  higher_is_better: z.record(z.string(), z.record(z.string(), z.boolean().nullable())).default({}),
  model_name: z.string().nullish(),
});

const sampleSchema = z.looseObject({
  doc_id: z.number(),
  filter: z.string(),
  metrics: z.array(z.string()),
  doc_hash: z.string(),
  prompt_hash: z.string(),
  target_hash: z.string(),
});

/** What a comparison reads of `results_*.json`. */
export type ComparedResults = Pick<
  z.output<typeof schema>,
  "results" | "group_subtasks" | "configs" | "n-shot" | "higher_is_better"
>;

/** The same of an evaluation that was made just now. */
export function comparedResults(results: EvaluationResults): ComparedResults {
  return schema.parse(results);
}

/** What a comparison reads of a document: its figures stand beside, by their names. */
export type ComparedSample = Pick<
  SampleRecord,
  "doc_id" | "filter" | "metrics" | "doc_hash" | "prompt_hash" | "target_hash"
> & { readonly [metric: string]: unknown };

/** An evaluation with its documents, measured just now or read from files. */
export interface ComparedEvaluation {
  /** What errors call it. */
  readonly where: string;
  readonly results: ComparedResults;
  /** Of each single task, filter after filter. */
  readonly samples: ReadonlyMap<string, readonly ComparedSample[]>;
}

/** One that was read. */
export interface StoredEvaluation extends ComparedEvaluation {
  /** Of the model, where the file tells it. */
  readonly model?: string | undefined;
  readonly file: string;
  readonly facts: readonly DataFact[];
}

/**
 * Reads an evaluation as `layerfold eval --out --log-samples` or lm-evaluation-harness leaves it.
 * @param path - a folder with `results_*.json`, one with a single such folder in it, or such a file; of several the newest is read, and that is said
 * @param wanted - tasks and groups to be read; default: all
 * @throws RESULTS_MISSING, RESULTS_INVALID, RESULTS_SEVERAL where a folder holds those of several models, SAMPLES_MISSING
 */
export async function readEvaluation(
  path: string,
  wanted: readonly string[] | undefined,
  { ctx }: Pick<Run, "ctx">,
): Promise<StoredEvaluation> {
  const file = await resultsFile(path, ctx.report);
  const { model_name: model, ...results } = parsed(schema, await readTextFile(file), file);
  const date = basename(file).slice("results_".length, -".json".length);
  const samples = new Map<string, ComparedSample[]>();
  const files = [file];
  for (const task of singleNames(results, wanted ?? Object.keys(results.results), file)) {
    const name = join(dirname(file), `samples_${task}_${date}.jsonl`);
    if (!(await stat(name).catch(() => undefined))) {
      throw new LayerfoldError("SAMPLES_MISSING", `the documents of ${task} are not there`, {
        wanted: "an evaluation with --log-samples",
        where: name,
      });
    }
    const lines = (await readTextFile(name)).split("\n");
    const rows = lines.flatMap((line, i) => (line === "" ? [] : [sampleOf(line, `${name}, line ${i + 1}`)]));
    samples.set(task, rows);
    files.push(name);
  }
  const facts = await Promise.all(files.map(dataFact));
  return { where: path, results, samples, file, facts, ...(model && { model }) };
}

/** A record without its row and its requests, which nothing compares. */
function sampleOf(line: string, where: string): ComparedSample {
  const {
    doc: _,
    arguments: __,
    resps: ___,
    filtered_resps: ____,
    ...kept
  } = parsed(sampleSchema, line, where);
  return kept;
}

/**
 * The single tasks of what is named, each once.
 * @throws RESULTS_MISSING for what the results do not have
 */
export function singleNames(
  { results, group_subtasks: groups, configs }: ComparedResults,
  named: readonly string[],
  where: string,
): string[] {
  const singles = (name: string, within: readonly string[]): string[] => {
    if (!Object.hasOwn(results, name)) {
      const known = Object.keys(results);
      throw new LayerfoldError(
        "RESULTS_MISSING",
        `the results do not have this task${suggestion(name, known)}`,
        {
          wanted: known.join(", "),
          got: name,
          where,
        },
      );
    }
    if (Object.hasOwn(configs, name)) return [name];
    if (within.includes(name)) {
      throw new LayerfoldError("RESULTS_INVALID", "a group holds itself", { got: name, where });
    }
    return (groups[name] ?? []).flatMap((child) => singles(child, [...within, name]));
  };
  return [...new Set(named.flatMap((name) => singles(name, [])))];
}

async function resultsFile(path: string, report: Run["ctx"]["report"]): Promise<string> {
  try {
    if ((await stat(path)).isFile()) return path;
    const own = await resultsIn(path);
    if (own.length > 0) return newest(path, own, report);
    const inside: string[] = [];
    for (const entry of await readdir(path, { withFileTypes: true })) {
      if (entry.isDirectory() && (await resultsIn(join(path, entry.name))).length > 0)
        inside.push(entry.name);
    }
    if (inside.length === 1) return resultsFile(join(path, inside[0]), report);
    if (inside.length > 1) {
      throw new LayerfoldError("RESULTS_SEVERAL", "the folder holds results of several models", {
        wanted: `one of ${inside.sort().join(", ")}`,
        where: path,
      });
    }
  } catch (error) {
    throw fileError(error, path);
  }
  throw new LayerfoldError("RESULTS_MISSING", "neither a checkpoint nor results of an evaluation", {
    wanted:
      "a folder with config.json, or with results_*.json as `layerfold eval --out DIR --log-samples` writes it",
    where: path,
  });
}

async function resultsIn(folder: string): Promise<string[]> {
  const names = await readdir(folder);
  return names.filter((name) => /^results_.+\.json$/.test(name) && !name.endsWith(".manifest.json")).sort();
}

/** Names end in a date that sorts. */
function newest(folder: string, names: readonly string[], report: Run["ctx"]["report"]): string {
  const last = names[names.length - 1];
  if (names.length > 1) {
    report?.({
      type: "diagnostic",
      severity: "info",
      code: "RESULTS_NEWEST",
      message: `${folder} holds ${names.length} evaluations; the newest is read, ${last}`,
    });
  }
  return join(folder, last);
}

function parsed<S extends z.ZodType>(shape: S, text: string, where: string): z.output<S> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new LayerfoldError("RESULTS_INVALID", `not JSON: ${(cause as Error).message}`, { where, cause });
  }
  const found = shape.safeParse(value);
  if (found.success) return found.data;
  const [{ message, path }] = found.error.issues;
  throw new LayerfoldError("RESULTS_INVALID", `not results of an evaluation: ${message}`, {
    where: [where, path.join(".")].filter(Boolean).join(", "),
  });
}
