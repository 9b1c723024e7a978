export type { Accuracy, Share } from "./accuracy.js";
export type { BatchOptions } from "./batch-budget.js";
export {
  answeredTexts,
  type Benchmark,
  type BenchmarkScore,
  benchmarkIds,
  benchmarkTexts,
  readBenchmark,
  scoreBenchmark,
} from "./benchmark.js";
export { type ChoiceScores, choiceLikelihood } from "./choice-likelihood.js";
export { type Divergence, klToDense } from "./kl-to-dense.js";
export { type LastWord, lastWord } from "./last-word.js";
export { answeredQuestions, choicePrompt, multipleChoice } from "./multiple-choice.js";
export { type PairedDifference, pairedDifference } from "./paired-difference.js";
export { countTargets, type Perplexity, perplexity } from "./perplexity.js";
export type { QuestionOptions } from "./prompts.js";
export { rememberedLogits } from "./remembered-logits.js";
export { choiceRow, defineTask, readTask } from "./task.js";
export { arc } from "./tasks/arc.js";
export { hellaswag } from "./tasks/hellaswag.js";
export { type MmluOptions, mmluSubject, readMmlu } from "./tasks/mmlu.js";
export { openbookqa } from "./tasks/openbookqa.js";
export { piqa } from "./tasks/piqa.js";
export { winogrande } from "./tasks/winogrande.js";
