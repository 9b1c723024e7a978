import { type Aggregate, aggregate, aggregateGroup } from "./aggregate.js";
import type { TaskDocument } from "./documents.js";
import { type MetricValue, type Response, type ScoredDocument, taskScorer } from "./metrics.js";
import { metricsOf, type TaskConfig } from "./task-config.js";
import type { TaskGroup } from "./task-index.js";
import { singleTasks } from "./task-index.js";

/** What a model scores on a task. */
export interface TaskSummary {
  /** Documents. */
  readonly count: number;
  /** By `METRIC,FILTER`, as `acc,none`. */
  readonly figures: Readonly<Record<string, Aggregate>>;
  /** [documents][filters] */
  readonly scored: readonly (readonly ScoredDocument[])[];
}

export interface SummaryOptions {
  /** Draws of a bootstrap; default: the harness's 100,000. */
  readonly iterations?: number | undefined;
}

/** Scores the documents of a task and sums them up. @param responses - [documents][requests] */
export function summarizeTask(
  config: TaskConfig,
  documents: readonly TaskDocument[],
  responses: readonly (readonly Response[])[],
  { iterations }: SummaryOptions = {},
): TaskSummary {
  const scorer = taskScorer(config);
  const scored = documents.map((document, i) => scorer.score(document, responses[i]));
  const figures: Record<string, Aggregate> = {};
  const filters = scored[0]?.map(({ filter }) => filter) ?? [];
  filters.forEach((filter, index) => {
    for (const { metric, aggregation } of metricsOf(config)) {
      const values: MetricValue[] = scored.map((each) => each[index].metrics[metric]);
      figures[`${metric},${filter}`] = aggregate(aggregation, values, iterations);
    }
  });
  return { count: documents.length, figures, scored };
}

/** A group's figures from those of its tasks. @param tasks - by name; those that were not asked are left out */
export function summarizeGroup(
  group: TaskGroup,
  tasks: ReadonlyMap<string, Pick<TaskSummary, "count" | "figures">>,
): Pick<TaskSummary, "count" | "figures"> {
  const asked = singleTasks(group).flatMap(({ name }) => tasks.get(name) ?? []);
  const figures: Record<string, Aggregate> = {};
  for (const { metric, filter_list, weight_by_size } of group.metrics) {
    const found = new Set(asked.flatMap(({ figures: own }) => Object.keys(own)));
    const filters =
      filter_list ??
      [...found]
        .filter((key) => key.startsWith(`${metric},`))
        .map(filterOf)
        .sort();
    for (const filter of filters) {
      const key = `${metric},${filter}`;
      const parts = asked.flatMap(({ count, figures: own }) =>
        own[key] ? [{ ...own[key], size: count }] : [],
      );
      if (parts.length > 0) figures[key] = aggregateGroup(parts, weight_by_size);
    }
  }
  return { count: asked.reduce((sum, { count }) => sum + count, 0), figures };
}

const filterOf = (key: string) => key.slice(key.indexOf(",") + 1);
