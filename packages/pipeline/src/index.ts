export { describeTrials, type SizedCalibration, sizedCalibration } from "./calibration/calibration-size.js";
export {
  answerFacts,
  type CalibratedModel,
  type Calibration,
  type CalibrationFact,
  type CalibrationOptions,
  readAnswers,
  readCalibration,
} from "./calibration/read-calibration.js";
export type { ComparedFigure, ComparedValue } from "./comparison/compared-figure.js";
export { comparisonMarkdown } from "./comparison/comparison-markdown.js";
export { checkSpace, expectedBytes, type SpaceNeed } from "./disk-space.js";
export {
  type EvaluationRequest,
  type EvaluationSet,
  evaluationFacts,
  readEvaluationSet,
  type SeparatedCalibration,
  separateCalibration,
} from "./evaluation/evaluation-set.js";
export { openAsked, openEvaluated } from "./evaluation/open-evaluated.js";
export { type TaskQuality, taskQuality } from "./evaluation/task-quality.js";
export type { WeighedAnswers } from "./evidence/judged-text.js";
export { judgesBy } from "./evidence/judges-by.js";
export type { QualityPlan, QualityRow, QualityTable } from "./grid/render-quality.js";
export { openModel, openModelCheckpoint, sequenceBatches } from "./inputs/open-model.js";
export { parseCalibration, type TextSource } from "./inputs/text-source.js";
export { readTokenRows } from "./inputs/token-rows.js";
export { judgedCells, taskText } from "./judged-cells.js";
export {
  type DataFact,
  dataFact,
  type FileFact,
  fileFingerprint,
  type Manifest,
  manifestOf,
  modelFact,
  modelName,
  type PluginFact,
  platformFact,
  type RunFacts,
  writeManifest,
} from "./manifest.js";
export { availableMemory, needsWhole, parseMemory, withExecution } from "./memory.js";
export { checkOutputFiles, writeOutputFiles } from "./output-files.js";
export { type CommandInputs, inputPaths, jsonText, outputOf } from "./outputs.js";
export { type PluginReference, referenceOf } from "./plugin-reference.js";
export { foldParts, type PresetParts, presetParts, type ReplacedParts, withParts } from "./preset-parts.js";
export { readAblationRecipe } from "./recipe/ablation-recipe.js";
export { type RecipeSource, readRecipe } from "./recipe/read-recipe.js";
export { type Part, type Recipe, recipeJsonSchema } from "./recipe/recipe-schema.js";
export { recipeTemplate } from "./recipe/recipe-template.js";
export { validateRecipe } from "./recipe/validate-recipe.js";
export { knownIds, makePlugin, pluginFacts } from "./registry.js";
export { repairChoices } from "./repair-choices.js";
export type { ResultRow } from "./results.js";
export { asRun, createRun, modelFolder, type Run, type RunOptions } from "./run.js";
export { type Ablation, ablate } from "./stages/ablate.js";
export { type CaptureRequest, capture } from "./stages/capture.js";
export { type CompareLayersRequest, compareBlocks, compareLayers } from "./stages/compare-layers.js";
export {
  type CompareResultsRequest,
  compareResults,
  type ResultComparison,
} from "./stages/compare-results.js";
export {
  type CompressRequest,
  type CompressResult,
  compress,
  compressPlans,
} from "./stages/compress.js";
export { type EvaluateTasksRequest, evaluateTasks, type TaskEvaluation } from "./stages/evaluate-tasks.js";
export { type ExportGgufRequest, exportGguf } from "./stages/export-gguf.js";
export { type FoldRequest, type FoldResult, fold } from "./stages/fold.js";
export { measureModel, type Quality, type TextQuality } from "./stages/measure.js";
export { type Measured, type MeasureRequest, measure } from "./stages/measure-checkpoint.js";
export { type MeasuredFold, measuredFold } from "./stages/measured-fold.js";
export { calibratedModel, openWorkbench, type WorkbenchRequest } from "./stages/open-workbench.js";
export { type PlanRequest, type PlanResult, plan } from "./stages/plan.js";
export { plannerFromFile, readPlan } from "./stages/plan-file.js";
export { type QuantizeRequest, type QuantizeResult, quantize, quantizeInputs } from "./stages/quantize.js";
export { type RecipeResult, type RunRecipeOptions, runRecipe } from "./stages/run-recipe.js";
export {
  type BlockSimilarityFile,
  type Comparison,
  loadSimilarity,
  type SimilarityFile,
} from "./stages/similarity.js";
export {
  captureOf,
  type Fold,
  foldOf,
  type GivenEvidence,
  planOf,
  similarityOf,
  type Workbench,
} from "./stages/workbench.js";
export { runTask, type TaskRunner, taskRunner } from "./task-runner.js";
export type { StoredCapture } from "./tasks/capture.js";
export type { StoredFold } from "./tasks/fold.js";
export { givenText, givenValue } from "./tasks/given-text.js";
export { type QuantizeParameters, quantizeTask, type StoredQuantization } from "./tasks/quantize.js";
export { matrixOf, type StoredMatrix } from "./tasks/similarity.js";
export { givenModel, type ModelInput, type StoredModel } from "./tasks/stored-model.js";
export { version } from "./version.js";
export { withTasks } from "./work-folder.js";
export { type ExecutorChoice, executorNames, type PoolRequest } from "./workers/executors.js";
export { removeStore } from "./workers/open-store.js";
export { type QueueWorkerRequest, runWorker, type WorkerRequest } from "./workers/run-worker.js";
export { statusOfStore } from "./workers/status-of-store.js";
export {
  openTaskWorker,
  type TaskPlace,
  type TaskWorker,
  type TaskWorkerRequest,
} from "./workers/task-worker.js";
