export type { Accuracy, Share } from "./accuracy.js";
export type { BatchOptions } from "./batch-budget.js";
export { answeredTexts, type Benchmark, benchmarkIds, benchmarkTexts, readBenchmark } from "./benchmark.js";
export { type BenchmarkScore, scoreBenchmark } from "./benchmark-score.js";
export {
  type CompareFigureOptions,
  compareFigure,
  type PairedDocuments,
  type PairedFigure,
} from "./comparison/compare-figure.js";
export {
  absoluteOnly,
  checkGate,
  type GateCondition,
  type GateFigure,
  type GateVerdict,
  gateFigure,
  parseGate,
} from "./comparison/gate.js";
export type { Interval } from "./comparison/interval.js";
export { mcnemarExact, newcombeDifference, type PairedAnswers } from "./comparison/paired-proportions.js";
export { type Aggregate, aggregate, aggregateGroup, type GroupPart } from "./harness/aggregate.js";
export { type AskOptions, askDocuments } from "./harness/ask-documents.js";
export { type DataFileOptions, dataExtensions, readDataFile } from "./harness/data-file.js";
export {
  evaluatedSplit,
  type PrepareOptions,
  prepareDocuments,
  type TaskDocument,
  type TaskRequest,
} from "./harness/documents.js";
export { fewshotSource } from "./harness/fewshot.js";
export { filtersOf } from "./harness/filters.js";
export { dataNames, findData, readSplit } from "./harness/find-data.js";
export { type GenerationOptions, generateAnswers, type Prompt } from "./harness/generate-answers.js";
export { aggregationNames, metricDefaults } from "./harness/metric-names.js";
export type { MetricValue, Response, ScoredDocument } from "./harness/metrics.js";
export type { Row, Value } from "./harness/python-text.js";
export {
  type EvaluatedTask,
  type EvaluationResults,
  evaluationResults,
  type SampleRecord,
  sampleRecords,
  tasksOf,
} from "./harness/results.js";
export { type AskedModel, readsTree } from "./harness/score-sequences.js";
export { type SummaryOptions, summarizeGroup, summarizeTask, type TaskSummary } from "./harness/summary.js";
export { type Metric, metricsOf, readTaskConfig, type TaskConfig } from "./harness/task-config.js";
export {
  builtInTasks,
  findTask,
  type GroupMetric,
  groupsOf,
  isTaskPath,
  type SingleTask,
  singleTasks,
  type TaskGroup,
  type TaskNode,
} from "./harness/task-index.js";
export { type Divergence, klToDense } from "./kl-to-dense.js";
export { answeredQuestions, choicePrompt, multipleChoice } from "./multiple-choice.js";
export { type PairedDifference, pairedDifference } from "./paired-difference.js";
export { countTargets, type Perplexity, perplexity } from "./perplexity.js";
export type { QuestionOptions } from "./prompts.js";
export { rememberedLogits } from "./remembered-logits.js";
export { defineTask, readTask } from "./task.js";
