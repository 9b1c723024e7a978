import { LayerfoldError, quoted, type RunContext } from "@layerfold/core";
import {
  aggregate,
  aggregateGroup,
  aggregationNames,
  compareFigure,
  filtersOf,
  groupsOf,
  type MetricValue,
  metricDefaults,
  metricsOf,
  type PairedDocuments,
  type TaskNode,
  tasksOf,
} from "@layerfold/evaluate";
import type { ComparedFigure } from "./compared-figure.js";
import { byFilter, requireSameDocuments } from "./same-documents.js";
import { type ComparedEvaluation, singleNames } from "./stored-evaluation.js";

/** `acc(mmlu)`, `exact_match(gsm8k,strict-match)`: what gates and tables call a figure. */
export function figureName(metric: string, task: string, filter: string): string {
  return `${metric}(${task}${filter === "none" ? "" : `,${filter}`})`;
}

/** The figures that an evaluation of tasks will have. */
export function expectedFigures(nodes: readonly TaskNode[]): string[] {
  const filters = (node: TaskNode) => [
    ...new Set(tasksOf([node]).flatMap(({ config }) => filtersOf(config).map(({ name }) => name))),
  ];
  const ofTasks = tasksOf(nodes).flatMap((task) =>
    metricsOf(task.config).flatMap(({ metric }) =>
      filters(task).map((filter) => figureName(metric, task.name, filter)),
    ),
  );
  const ofGroups = nodes
    .flatMap(groupsOf)
    .flatMap((group) =>
      group.metrics.flatMap(({ metric, filter_list }) =>
        (filter_list ?? filters(group)).map((filter) => figureName(metric, group.name, filter)),
      ),
    );
  return [...new Set([...ofGroups, ...ofTasks])];
}

/**
 * Compares every figure that two evaluations have of the same tasks and groups.
 * @param wanted - tasks and groups that are compared; default: all that both have, which must be the same
 * @throws TASKS_DIFFER, DOCUMENTS_DIFFER, METRICS_DIFFER, RESULTS_INCONSISTENT where documents do not give the figure that stands in the results
 */
export function compareTasks(
  first: ComparedEvaluation,
  other: ComparedEvaluation,
  wanted: readonly string[] | undefined,
  ctx: Pick<RunContext, "rng" | "report">,
): ComparedFigure[] {
  const named = wanted ?? Object.keys(first.results.results);
  const tasks = singleNames(first.results, named, first.where);
  requireSameTasks(tasks, first, other, wanted === undefined);
  const metrics = new Map(tasks.map((task) => [task, pairedMetrics(task, first, other, ctx.report)]));
  const figures: ComparedFigure[] = [];
  const add = (
    name: string,
    key: string,
    parts: readonly PairedDocuments[],
    weightBySize?: boolean | undefined,
  ) => {
    const [metric, filter] = splitKey(key);
    const figure = figureName(metric, name, filter);
    const {
      documents,
      first: base,
      second,
      ...found
    } = compareFigure(parts, ctx.rng.fork(figure), {
      weightBySize,
    });
    requireStated(base, name, key, first);
    requireStated(second, name, key, other);
    const higher = first.results.higher_is_better[name]?.[metric];
    figures.push({
      figure,
      metric,
      of: name,
      filter,
      higher_is_better: higher ?? metricDefaults[metric]?.higher_is_better ?? null,
      count: documents,
      unit: "documents",
      first: base,
      others: [{ value: second, ...found }],
    });
  };
  for (const group of groupNames(first.results.group_subtasks, named)) {
    const stated = first.results.results[group] ?? {};
    const members = singleNames(first.results, [group], first.where);
    for (const key of figureKeys(stated)) {
      const parts = members.flatMap((task) => metrics.get(task)?.get(key) ?? []);
      const weightBySize = weightingOf(parts, Number(stated[key]));
      if (weightBySize !== undefined) add(group, key, parts, weightBySize);
      else skipped(`${group}, ${key}: not the mean of its tasks' figures`, ctx.report);
    }
  }
  for (const task of tasks) for (const [key, metric] of metrics.get(task) ?? []) add(task, key, [metric]);
  return figures;
}

function requireSameTasks(
  tasks: readonly string[],
  first: ComparedEvaluation,
  other: ComparedEvaluation,
  all: boolean,
): void {
  const others = all
    ? singleNames(other.results, Object.keys(other.results.results), other.where)
    : [...other.samples.keys()];
  const missing = tasks.find((task) => !others.includes(task));
  const extra = all ? others.find((task) => !tasks.includes(task)) : undefined;
  const name = missing ?? extra;
  if (name !== undefined) {
    throw new LayerfoldError("TASKS_DIFFER", "a task was asked of one model alone", {
      wanted: "the same tasks of all, or --tasks with those that all have",
      got: name,
      where: missing === undefined ? other.where : first.where,
    });
  }
  for (const task of tasks) requireSameDocuments(task, first, other);
}

/** By `METRIC,FILTER`. */
function pairedMetrics(
  task: string,
  first: ComparedEvaluation,
  other: ComparedEvaluation,
  report: RunContext["report"],
): Map<string, PairedDocuments> {
  const stated = first.results.results[task] ?? {};
  const [rows, others] = [first, other].map(({ samples }) => byFilter(samples.get(task) ?? []));
  const list = first.results.configs[task]?.metric_list ?? [];
  const found = new Map<string, PairedDocuments>();
  for (const key of figureKeys(stated)) {
    const [metric, filter] = splitKey(key);
    const aggregation =
      list.find((one) => one.metric === metric)?.aggregation ?? metricDefaults[metric]?.aggregation;
    if (aggregation === undefined || !aggregationNames.includes(aggregation)) {
      skipped(`${task}, ${key}: how documents are summed up is not known here`, report);
      continue;
    }
    const [a, b] = [rows, others].map((side, i) => {
      const where = `${[first, other][i].where}, ${task}`;
      return (side.get(filter) ?? []).map((sample) =>
        metricValue(sample[metric], aggregation, `${where}, document ${sample.doc_id}, ${metric}`),
      );
    });
    found.set(key, { aggregation, first: a, second: b });
  }
  return found;
}

/** A group's figure is a mean of its tasks': weighed by their documents, or not, which results do not say. */
function weightingOf(parts: readonly PairedDocuments[], stated: number): boolean | undefined {
  if (parts.length === 0) return undefined;
  const figures = parts.map(({ aggregation, first }) => ({
    ...aggregate(aggregation, first, 0),
    size: first.length,
  }));
  return [true, false].find((bySize) => isClose(aggregateGroup(figures, bySize).value, stated));
}

/** @throws RESULTS_INCONSISTENT */
function requireStated(
  value: number,
  name: string,
  key: string,
  { results, where }: ComparedEvaluation,
): void {
  const stated = results.results[name]?.[key];
  // JSON has no number that is not finite.
  if (stated === null ? !Number.isFinite(value) : isClose(value, Number(stated))) return;
  throw new LayerfoldError(
    "RESULTS_INCONSISTENT",
    "the documents do not give the figure that stands in the results",
    {
      wanted: `${stated}`,
      got: `${value}`,
      where: `${where}, ${name}, ${key}`,
    },
  );
}

function isClose(a: number, b: number): boolean {
  return Object.is(a, b) || Math.abs(a - b) <= 1e-9 * Math.max(Math.abs(a), Math.abs(b));
}

function metricValue(given: unknown, aggregation: string, where: string): MetricValue {
  // What a model gives no probability to: JSON has no other word for it.
  const number = (value: unknown) =>
    value === null && aggregation !== "mean" ? Number.NEGATIVE_INFINITY : value;
  const found = Array.isArray(given)
    ? given.map((one) => (Array.isArray(one) ? one.map(number) : number(one)))
    : number(given);
  if ([found].flat(2).every((value) => typeof value === "number")) return found as MetricValue;
  throw new LayerfoldError("RESULTS_INVALID", "a document's figure is no number", {
    got: quoted(given).slice(0, 80),
    where,
  });
}

/** The groups of what is named, outer ones first. */
function groupNames(groups: Readonly<Record<string, readonly string[]>>, named: readonly string[]): string[] {
  const within = (name: string): string[] =>
    Object.hasOwn(groups, name) ? [name, ...groups[name].flatMap(within)] : [];
  return [...new Set(named.flatMap(within))];
}

/** `METRIC,FILTER` of what a task or group has, standard errors left out. */
function figureKeys(stated: Readonly<Record<string, unknown>>): string[] {
  return Object.keys(stated).filter((key) => key.includes(",") && !splitKey(key)[0].endsWith("_stderr"));
}

function splitKey(key: string): readonly [metric: string, filter: string] {
  const at = key.indexOf(",");
  return [key.slice(0, at), key.slice(at + 1)];
}

function skipped(message: string, report: RunContext["report"]): void {
  report?.({
    type: "diagnostic",
    severity: "warning",
    code: "FIGURE_SKIPPED",
    message: `not compared: ${message}`,
  });
}
