import type { TaskDocument } from "./documents.js";
import { filtersOf } from "./filters.js";
import { pythonRegex } from "./python-regex.js";
import { codePoints, pythonText } from "./python-text.js";
import { type Metric, metricsOf, type TaskConfig } from "./task-config.js";

/** What a model gave to a request: a log-likelihood and whether it is the most probable text, a log-likelihood alone, or a text. null: not finite. */
export type Response = readonly [logLikelihood: number | null, greedy: boolean] | number | null | string;

/** A document's figure: a number, one with what it is divided by, or the right choice with the probabilities of all. */
export type MetricValue = number | readonly [number, number] | readonly [number, readonly number[]];

/** What one filter makes of a document's responses. */
export interface ScoredDocument {
  readonly filter: string;
  readonly filtered: readonly Response[];
  readonly metrics: Readonly<Record<string, MetricValue>>;
}

/** Scores documents by the metrics of their task. */
export interface TaskScorer {
  /** One entry for each filter of the task. */
  score(document: TaskDocument, responses: readonly Response[]): ScoredDocument[];
}

/** @throws TASK_FIELD_UNSUPPORTED */
export function taskScorer(config: TaskConfig): TaskScorer {
  const filters = filtersOf(config);
  const metrics = metricsOf(config);
  const matchers = metrics.map((metric) => exactMatcher(metric, config.task));
  return {
    score(document, responses) {
      if (config.output_type !== "generate_until") {
        const scores = byType[config.output_type](document, responses);
        const wanted = metrics.map(({ metric }) => [metric, scores(metric)] as const);
        return filters.map(({ name }) => ({
          filter: name,
          filtered: responses,
          metrics: Object.fromEntries(wanted),
        }));
      }
      return filters.map(({ name, apply }) => {
        const answer = apply(String(responses[0]));
        const scores = metrics.map(
          ({ metric }, i) => [metric, matchers[i](answer, referencesOf(document))] as const,
        );
        return { filter: name, filtered: [answer], metrics: Object.fromEntries(scores) };
      });
    },
  };
}

function referencesOf({ target, choices }: TaskDocument): string[] {
  if (choices && typeof target === "number") return [choices[target]];
  return Array.isArray(target) ? target.map(pythonText) : [pythonText(target)];
}

type Scores = (metric: string) => MetricValue;

const byType = {
  multiple_choice: choiceScores,
  loglikelihood(_: TaskDocument, [response]: readonly Response[]): Scores {
    const [logLikelihood, greedy] = response as readonly [number | null, boolean];
    return (metric) =>
      metric === "perplexity" ? finite(logLikelihood) : Number(greedy && logLikelihood !== null);
  },
  loglikelihood_rolling({ counted }: TaskDocument, [response]: readonly Response[]): Scores {
    const { words = 0, bytes = 0 } = counted ?? {};
    return (metric) => [finite(response as number | null), metric === "word_perplexity" ? words : bytes];
  },
};

const finite = (logLikelihood: number | null) => logLikelihood ?? Number.NEGATIVE_INFINITY;

function choiceScores({ choices = [], gold = 0 }: TaskDocument, responses: readonly Response[]): Scores {
  const pairs = responses as readonly (readonly [number | null, boolean])[];
  const all = pairs.map(([logLikelihood]) => logLikelihood);
  const sums = all.slice(0, choices.length);
  // A choice that cannot be scored makes no answer right.
  const scored = all.every((sum) => sum !== null);
  const right = [gold].flat();
  const chosen = (length: (choice: string) => number) => {
    const scores = sums.map((sum, i) => finite(sum) / length(choices[i]));
    return scores.indexOf(Math.max(...scores));
  };
  const hit = (choice: number) => Number(scored && right.includes(choice));
  return (metric) => {
    if (metric === "acc_norm") return hit(chosen(codePoints));
    if (metric === "acc_bytes") return hit(chosen((choice) => Buffer.byteLength(choice)));
    if (metric === "exact_match") return Number(scored && right.some((index) => pairs[index][1]));
    if (metric === "acc_mutual_info") {
      const gains = sums.map((sum, i) => finite(sum) - finite(all[choices.length + i]));
      return hit(gains.indexOf(Math.max(...gains)));
    }
    if (metric === "brier_score") {
      const most = Math.max(...sums.map(finite));
      const masses = sums.map((sum) => Math.exp(finite(sum) - most));
      const total = masses.reduce((a, b) => a + b, 0);
      return [right[0], masses.map((mass) => mass / total)];
    }
    return hit(chosen(() => 1));
  };
}

/** Whether an answer is one of the references, after what a metric leaves out of both. */
function exactMatcher(
  metric: Metric,
  task: string,
): (answer: string, references: readonly string[]) => number {
  const ignored = (metric.regexes_to_ignore ?? []).map((source) =>
    pythonRegex(source, `${task}, regexes_to_ignore`),
  );
  const bare = (text: string) => {
    let left = ignored.reduce((rest, expression) => rest.replace(expression, ""), text);
    if (metric.ignore_case) left = left.toLowerCase();
    if (metric.ignore_punctuation) left = left.replace(/[!-/:-@[-`{-~]/g, "");
    return metric.ignore_numbers ? left.replace(/[0-9]/g, "") : left;
  };
  return (answer, references) => Number(references.some((reference) => bare(reference) === bare(answer)));
}
