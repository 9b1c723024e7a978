import { createHash } from "node:crypto";
import type { TaskDocument, TaskRequest } from "./documents.js";
import type { Response } from "./metrics.js";
import { pythonText } from "./python-text.js";
import type { TaskSummary } from "./summary.js";
import { metricsOf, type TaskConfig } from "./task-config.js";
import { groupsOf, singleTasks, type TaskNode } from "./task-index.js";

/** One line of `samples_TASK_*.jsonl`: a document under one filter, as lm-evaluation-harness writes it; the document's figures stand beside, by name. */
export interface SampleRecord {
  readonly doc_id: number;
  readonly doc: TaskDocument["row"];
  readonly target: string;
  /** `gen_args_0`, `gen_args_1`, … for each request; in it `arg_0` the context, `arg_1` what goes on or how it is generated. */
  readonly arguments: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** [requests][1] a log-likelihood with whether it is the most probable text, a log-likelihood or a text; numbers as Python prints them. */
  readonly resps: readonly (readonly [string | readonly [string, string]])[];
  readonly filtered_resps: readonly (string | readonly [string, string])[];
  readonly filter: string;
  readonly metrics: readonly string[];
  /** SHA-256, hex, of the row, of the first request's context and of the target. */
  readonly doc_hash: string;
  readonly prompt_hash: string;
  readonly target_hash: string;
  readonly [metric: string]: unknown;
}

/** The records of a task, filter after filter. */
export function sampleRecords(
  { generation_kwargs }: TaskConfig,
  documents: readonly TaskDocument[],
  responses: readonly (readonly Response[])[],
  { scored }: Pick<TaskSummary, "scored">,
): SampleRecord[] {
  const filters = scored[0]?.length ?? 0;
  return Array.from({ length: filters }, (_, filter) =>
    documents.map((document, i) => {
      const { id, row, target, requests } = document;
      const { filter: name, filtered, metrics } = scored[i][filter];
      const calls = requests.map((request, index) => [
        `gen_args_${index}`,
        argumentsOf(request, generation_kwargs),
      ]);
      return {
        doc_id: id,
        doc: row,
        target: pythonText(target),
        arguments: Object.fromEntries(calls),
        resps: responses[i].map((response) => [printed(response)] as const),
        filtered_resps: filtered.map(printed),
        filter: name,
        metrics: Object.keys(metrics),
        doc_hash: sha256(JSON.stringify(row, null, 2)),
        prompt_hash: sha256(requests[0].kind === "rolling" ? requests[0].text : requests[0].context),
        target_hash: sha256(pythonText(target)),
        ...metrics,
      };
    }),
  ).flat();
}

function argumentsOf(request: TaskRequest, given: TaskConfig["generation_kwargs"]): Record<string, unknown> {
  if (request.kind === "rolling") return { arg_0: request.text };
  if (request.kind === "loglikelihood") return { arg_0: request.context, arg_1: request.continuation };
  return {
    arg_0: request.context,
    arg_1: {
      do_sample: false,
      temperature: 0,
      max_gen_toks: request.maxTokens,
      ...given,
      until: request.until,
    },
  };
}

function printed(response: Response): string | readonly [string, string] {
  if (typeof response === "string") return response;
  if (response === null || typeof response === "number") return printedNumber(response);
  return [printedNumber(response[0]), response[1] ? "True" : "False"];
}

function printedNumber(value: number | null): string {
  if (value === null) return "-inf";
  return Number.isInteger(value) ? value.toFixed(1) : String(value);
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** What one task of an evaluation gave. */
export interface EvaluatedTask {
  readonly config: TaskConfig;
  /** Documents of the split, asked or not. */
  readonly available: number;
  /** Examples before each document. */
  readonly fewshot: number;
  readonly summary: TaskSummary;
  readonly samples: readonly SampleRecord[];
}

/** What the harness calls `results_*.json`, without what a clock or the machine says: the same evaluation gives the same bytes. */
export interface EvaluationResults {
  /** Of tasks and groups: `METRIC,FILTER` and `METRIC_stderr,FILTER`, with `name`, `alias` and `sample_len`. */
  readonly results: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Those of groups that have figures. */
  readonly groups?: EvaluationResults["results"];
  readonly group_subtasks: Readonly<Record<string, readonly string[]>>;
  readonly configs: Readonly<Record<string, unknown>>;
  readonly versions: Readonly<Record<string, unknown>>;
  readonly "n-shot": Readonly<Record<string, number>>;
  readonly higher_is_better: Readonly<Record<string, Readonly<Record<string, boolean>>>>;
  readonly "n-samples": Readonly<Record<string, { readonly original: number; readonly effective: number }>>;
  readonly task_hashes: Readonly<Record<string, string>>;
}

/**
 * @param nodes - tasks and groups as they were asked for
 * @param tasks - what each single task gave, by its name
 * @param groupSummaries - figures of groups, by their names
 */
export function evaluationResults(
  nodes: readonly TaskNode[],
  tasks: ReadonlyMap<string, EvaluatedTask>,
  groupSummaries: ReadonlyMap<string, Pick<TaskSummary, "count" | "figures">>,
): EvaluationResults {
  const groups = [...new Map(nodes.flatMap(groupsOf).map((group) => [group.name, group])).values()];
  const results: Record<string, Record<string, unknown>> = {};
  const shots: Record<string, number> = {};
  const directions: Record<string, Record<string, boolean>> = {};
  for (const [name, { config, fewshot, summary }] of tasks) {
    results[name] = {
      name,
      alias: config.task_alias ?? name,
      sample_len: summary.count,
      ...printedFigures(summary),
    };
    shots[name] = fewshot;
    directions[name] = Object.fromEntries(
      metricsOf(config).map(({ metric, higher_is_better }) => [metric, higher_is_better]),
    );
  }
  const withFigures: Record<string, Record<string, unknown>> = {};
  for (const { name, alias, children, metrics } of groups) {
    const summary = groupSummaries.get(name);
    results[name] = {
      name,
      alias,
      ...(metrics.length > 0 && summary && { sample_len: summary.count, ...printedFigures(summary) }),
    };
    if (metrics.length > 0) withFigures[name] = results[name];
    const inside = children.map((child) => child.name);
    const common = new Set(inside.map((child) => shots[child]));
    const [shot] = common;
    if (common.size === 1 && shot !== undefined) shots[name] = shot;
    directions[name] = Object.assign({}, ...inside.map((child) => directions[child] ?? {}));
  }
  return {
    results,
    ...(Object.keys(withFigures).length > 0 && { groups: withFigures }),
    group_subtasks: Object.fromEntries(
      groups.map(({ name, children }) => [name, children.map((child) => child.name)]),
    ),
    configs: sorted(
      [...tasks].map(([name, { config, fewshot }]) => [name, { ...config, num_fewshot: fewshot }]),
    ),
    versions: sorted([
      ...[...tasks].map(([name, { config }]) => [name, config.metadata?.version ?? "Yaml"] as const),
      ...groups.map(({ name, version }) => [name, version] as const),
    ]),
    "n-shot": sorted(Object.entries(shots)),
    higher_is_better: sorted(Object.entries(directions)),
    "n-samples": Object.fromEntries(
      [...tasks].map(([name, { available, summary }]) => [
        name,
        { original: available, effective: summary.count },
      ]),
    ),
    task_hashes: Object.fromEntries(
      [...tasks].map(([name, { samples }]) => [
        name,
        sha256(
          samples
            .map(({ doc_hash, prompt_hash, target_hash }) => doc_hash + prompt_hash + target_hash)
            .join(""),
        ),
      ]),
    ),
  };
}

function printedFigures({ figures }: Pick<TaskSummary, "figures">): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(figures).flatMap(([key, { value, stderr }]) => {
      const [metric, filter] = [key.slice(0, key.indexOf(",")), key.slice(key.indexOf(",") + 1)];
      return [
        [key, value],
        [`${metric}_stderr,${filter}`, stderr ?? "N/A"],
      ];
    }),
  );
}

function sorted<T>(entries: readonly (readonly [string, T])[]): Record<string, T> {
  return Object.fromEntries([...entries].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}

/** All single tasks of several nodes, each once. */
export function tasksOf(nodes: readonly TaskNode[]) {
  return [...new Map(nodes.flatMap(singleTasks).map((task) => [task.name, task])).values()];
}
