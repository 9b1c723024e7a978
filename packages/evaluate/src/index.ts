export type { Accuracy, Share } from "./accuracy.js";
export type { BatchOptions } from "./batch-budget.js";
export { answeredTexts, type Benchmark, benchmarkIds, benchmarkTexts, readBenchmark } from "./benchmark.js";
export { type BenchmarkScore, scoreBenchmark } from "./benchmark-score.js";
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
export { dataNames, findData, readSplit } from "./harness/find-data.js";
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
