export { checkRepair, layerFacts, type RepairChoice } from "./check-repair.js";
export { checkPlan, compatibleLayers, withoutWeights } from "./compatible-layers.js";
export { type FoldedCheckpoint, type FoldRequest, foldCheckpoint } from "./fold-checkpoint.js";
export { foldedBlocks, foldGroup, foldStoredGroup } from "./folded-blocks.js";
export { foldedRunner } from "./folded-runner.js";
export { type PlanShares, planShares } from "./plan-shares.js";
export { type PlanStreams, planStreams } from "./plan-streams.js";
export { bestAdjacentPair } from "./planners/best-adjacent-pair.js";
export { bestPartition } from "./planners/best-partition.js";
export { contiguousBlock } from "./planners/contiguous-block.js";
export { evolutionary } from "./planners/evolutionary.js";
export { greedyHalves } from "./planners/greedy-halves.js";
export { greedyKl } from "./planners/greedy-kl.js";
export { greedyPerplexity } from "./planners/greedy-perplexity.js";
export { lastFirst } from "./planners/last-first.js";
export { lowestInfluence } from "./planners/lowest-influence.js";
export { random } from "./planners/random.js";
export { reverse } from "./planners/reverse.js";
export { thresholdWalk } from "./planners/threshold-walk.js";
export { type Preset, type PresetPart, preset, presetIds, presets, type RepairPart } from "./presets.js";
export { channelScale } from "./repairs/channel-scale.js";
export { componentFold } from "./repairs/component-fold.js";
export { concatenate } from "./repairs/concatenate.js";
export { hadamardScale } from "./repairs/hadamard-scale.js";
export { linear } from "./repairs/linear.js";
export { magnitude } from "./repairs/magnitude.js";
export { type Recalled, recalledTokens } from "./repairs/recall.js";
export { reconstruct } from "./repairs/reconstruct.js";
export { residualLinear } from "./repairs/residual-linear.js";
export { searchedWeights } from "./repairs/searched-weights.js";
export { aligned } from "./strategies/aligned.js";
export { breadcrumbs } from "./strategies/breadcrumbs.js";
export { dare } from "./strategies/dare.js";
export { differenceSum } from "./strategies/difference-sum.js";
export { drop } from "./strategies/drop.js";
export { slerp } from "./strategies/slerp.js";
export { taskArithmetic } from "./strategies/task-arithmetic.js";
export { type NormPolicy, normPolicy, type TensorFormula, tensorwise } from "./strategies/tensorwise.js";
export { ties } from "./strategies/ties.js";
export { weighted } from "./strategies/weighted.js";

// What planners of one's own are made of.

export {
  checkTarget,
  requireFoldedLoss,
  requireJudge,
  requireOutputCosine,
  requireSimilarity,
  requireTokenStatistics,
} from "./required-evidence.js";

// What repairs of one's own are made of: the way through a plan, least-squares fits, and blocks taken apart and put together.

export { type SymmetricTiles, symmetricMap } from "@layerfold/linalg";
export { placedBlock } from "./attention-scale.js";
export {
  type BareLinear,
  firstReason,
  plainNorm,
  selectRows,
  specOf,
  stackRows,
  storedWeight,
  transposed,
  vectorOf,
  weightOf,
  whyNormStays,
  withoutNorm,
  withTensors,
} from "./repairs/block-linear.js";
export {
  type CalibratedGroup,
  eachToken,
  type FrontToBackOptions,
  frontToBack,
  type GroupBatch,
  groupByGroup,
  squaredDifference,
} from "./repairs/front-to-back.js";
export {
  attentionOf,
  checkSameAttention,
  type HeadGroup,
  headGroupsOf,
  headOutputs,
  headTensors,
  whyHeadsStay,
  whyHeadsStayApart,
  withHeadGroups,
  withQueryKeyNormOf,
} from "./repairs/heads.js";
export { type HiddenStore, type HiddenStores, hiddenStores } from "./repairs/hidden-store.js";
export {
  chooseRidge,
  type FitOptions,
  fitOptions,
  gatherEquations,
  missingUpdate,
  ridgeFit,
  type SplitEquations,
  tokenScales,
} from "./repairs/least-squares.js";
export { withMappedUpdate } from "./repairs/mapped-update.js";
export {
  downOutput,
  feedForwardOf,
  joinNeurons,
  mlpOf,
  type Neurons,
  neuronsOf,
  neuronTensors,
  selectNeurons,
  streamWithoutMlp,
  whyDownStays,
  whyMergedMlpStays,
  whyMlpStays,
  whyNeuronsStay,
  withNeurons,
} from "./repairs/neurons.js";
export {
  addRows,
  blockSaliency,
  type ComponentFit,
  componentFit,
  emptyEquations,
  featureSaliency,
  gatherRows,
  type NormalEquations,
  ofFeatures,
  sumOf,
  withoutFeatures,
} from "./repairs/normal-equations.js";
export { hiddenEquations, refitDown } from "./repairs/refit-down.js";
export { whyUpdatesStay, withScaledUpdates } from "./repairs/scaled-updates.js";
