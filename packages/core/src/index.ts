export type { ActivationBatch, ActivationSource, Activations, TokenStatistics } from "./activations.js";
export type {
  Activation,
  Architecture,
  AttentionSpec,
  BlockSpec,
  MambaSpec,
  MlpSpec,
  MoeSpec,
  NormSpec,
  RotarySpec,
} from "./architecture.js";
export { type Hidden, type TokenBatch, tokenBatch } from "./batch.js";
export { combineFloats, type FloatTerm } from "./combine-floats.js";
export type {
  Awaitable,
  Diagnostic,
  ProgressEvent,
  ReportEvent,
  Rng,
  RunContext,
  ShareParts,
  StatusEvent,
} from "./context.js";
export {
  bytesPerElement,
  type DType,
  decodeFloats,
  decodeFloatsInto,
  encodeFloats,
  fromBfloat16Bits,
  fromFloat16Bits,
  toBfloat16Bits,
  toFloat16Bits,
} from "./dtype.js";
export { defineEmbedding, type Embedding, type FittedEmbedding } from "./embedding.js";
export type { MatmulEngine, MatmulOptions } from "./engine.js";
export { type ErrorDetails, errorWithin, isLayerfoldError, LayerfoldError, throwIfAborted } from "./error.js";
export type { ChoiceItem, EvaluationTask } from "./evaluation-task.js";
export { checkFinite } from "./finite.js";
export { firstOf } from "./first-of.js";
export type { LanguageModel, PassContext } from "./language-model.js";
export type { BlockOutput, BlockView, ModelRunner, Role, Tap } from "./model-runner.js";
export { parseJson } from "./parse-json.js";
export {
  anchorLayer,
  type BlockPart,
  dropControl,
  dropPlan,
  groupName,
  keptLayer,
  type MergePlan,
  type PlanGroup,
  parsePlan,
} from "./plan.js";
export {
  definePlanner,
  type Evidence,
  type EvidenceKind,
  type Planner,
  type RemeasuredLayers,
} from "./planner.js";
export {
  definePlugin,
  type Plugin,
  type PluginDefinition,
  type PluginFactory,
  parseOptions,
  z,
} from "./plugin.js";
export {
  type CalibrationStatistics,
  defineQuantizer,
  defineWeightTransform,
  type QuantizedTensor,
  type Quantizer,
  type StatisticsKind,
  type WeightTransform,
} from "./quantizer.js";
export { nameOrQuoted, quoted } from "./quoted.js";
export { defineRepair, type LayerFacts, type Repair, type RepairedBlock } from "./repair.js";
export { defineSimilarity, type SimilarityMeasure, type SimilarityTraits } from "./similarity.js";
export { defineStrategy, type MergeStrategy } from "./strategy.js";
export { suggestion } from "./suggestion.js";
export {
  contiguousData,
  elementCount,
  type Floats,
  isContiguous,
  type Matrix,
  matrixSize,
  rowMajorStride,
  submatrix,
  type Tensor,
  tensor,
  zeros,
} from "./tensor.js";
export { threadCount } from "./thread-count.js";
export type {
  TokenBranch,
  TokenMemory,
  TreeModel,
  TreeReading,
  TreeScores,
  TreeTarget,
} from "./tree-model.js";
