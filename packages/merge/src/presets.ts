import { LayerfoldError } from "@layerfold/core";

/** A plug-in by id, with the options that differ from its defaults. */
export interface PresetPart {
  readonly id: string;
  readonly options?: Readonly<Record<string, unknown>>;
}

export interface RepairPart extends PresetPart {
  /** Options in the stead of those above where a planner tries plans with the repair. */
  readonly trial?: Readonly<Record<string, unknown>>;
}

/** A named method: a planner, a strategy and, where it has them, a repair and a way of comparing layers. */
export interface Preset {
  readonly id: string;
  readonly summary: string;
  /** Where the method is published; absent for our own. */
  readonly source?: string;
  readonly planner: PresetPart;
  readonly strategy: PresetPart;
  readonly repair?: RepairPart;
  /** What the mean loss of tokens that stood in their window before weighs when plans are tried, beside that of all tokens; default 0. */
  readonly recallWeight?: number;
  readonly embedding?: PresetPart;
  readonly measure?: PresetPart;
}

const mkaPaper =
  "Pruning via Merging: Compressing LLMs via Manifold Alignment Based Layer Merging, arXiv 2406.16330";

const shortGptPaper =
  "ShortGPT: Layers in Large Language Models are More Redundant Than You Expect, arXiv 2403.03853";

export const presets: readonly Preset[] = [
  {
    id: "mka",
    summary: "MKA as the paper tells it: the most similar neighbours fold, again and again",
    source: mkaPaper,
    planner: { id: "best-adjacent-pair" },
    strategy: { id: "weighted" },
    embedding: { id: "diffusion-map" },
    measure: { id: "npib" },
  },
  {
    id: "mka-last-first",
    summary: "MKA in the order of the authors' code: the tail folds into one layer",
    source: mkaPaper,
    planner: { id: "last-first" },
    strategy: { id: "weighted" },
    embedding: { id: "diffusion-map" },
    measure: { id: "npib" },
  },
  {
    id: "mka-released-code",
    summary:
      "what MKA's released script does: the tail is weighed with estimates of its own, and then dropped",
    source: mkaPaper,
    planner: {
      id: "last-first",
      options: { weighting: "row-mean-sigmoid", similarityRefresh: "pooled" },
    },
    strategy: { id: "drop", options: { keep: "first" } },
    embedding: { id: "diffusion-map" },
    measure: { id: "mka-released-code" },
  },
  {
    id: "laco",
    summary:
      "LaCo: from the tail on, later layers' differences are added to an earlier layer while the output keeps its direction",
    source: "LaCo: Large Language Model Pruning via Layer Collapse, arXiv 2402.11187",
    planner: { id: "threshold-walk" },
    strategy: { id: "difference-sum" },
  },
  {
    id: "come",
    summary:
      "CoMe without its distillation: similar neighbours side by side, cut back by channel sensitivity",
    source: "CoMe, arXiv 2510.15304",
    planner: { id: "best-adjacent-pair" },
    strategy: { id: "drop" },
    repair: { id: "concatenate", options: { importance: "sensitivity" } },
    embedding: { id: "identity" },
    measure: { id: "cosine" },
  },
  {
    id: "flatten",
    summary: "FlattenGPT: similar neighbours side by side, cut back by a Nyström approximation",
    source: "FlattenGPT: Depth Compression for Transformer with Layer Flattening, arXiv 2602.08858",
    planner: { id: "best-adjacent-pair" },
    strategy: { id: "drop" },
    repair: { id: "concatenate", options: { importance: "leverage" } },
    embedding: { id: "identity" },
    measure: { id: "cosine" },
  },
  {
    id: "layerfold",
    summary:
      "our own: the partition whose folds cost least, each tried alone, then the best heads and neurons of each group, refitted",
    planner: { id: "best-partition", options: { largestGroup: 3 } },
    strategy: { id: "drop" },
    repair: { id: "component-fold" },
  },
  {
    id: "layerfold-learn",
    summary:
      "the same, slower and better: the folded neurons go on to learn; for some 300,000 tokens of calibration text",
    planner: { id: "best-partition", options: { largestGroup: 3 } },
    strategy: { id: "drop" },
    repair: {
      id: "component-fold",
      options: {
        heads: "joint",
        recallHeads: 2,
        recallLeast: 0.025,
        // Of batches of 4,096 tokens, 72 in all: on 32,768 heads and neurons are chosen, 16,384 are held out.
        choiceEvery: 9,
        heldOutEvery: 18,
        refineEpochs: 3,
        refineTokens: 512,
        refineRate: 2e-2,
        refineBehind: 1,
        refitSingles: false,
      },
      trial: { recallHeads: 0, choiceEvery: 4, refineEpochs: 0 },
    },
    recallWeight: 1,
  },
  {
    id: "layerfold-search",
    summary:
      "our own, slow: plans are judged after fold and repair, and the folded neurons learn their local target",
    planner: {
      id: "evolutionary",
      options: { judge: "repaired-loss", greedyStarts: [2, 3, 4], generations: 10, children: 2 },
    },
    strategy: { id: "drop" },
    repair: { id: "component-fold", options: { refineEpochs: 8 } },
  },
  {
    id: "drop",
    summary: "the layers of least block influence are dropped",
    source: shortGptPaper,
    planner: { id: "lowest-influence" },
    strategy: { id: "drop" },
  },
  {
    id: "shortgpt",
    summary: "ShortGPT: the layers of least block influence are dropped",
    source: shortGptPaper,
    planner: { id: "lowest-influence" },
    strategy: { id: "drop" },
  },
  {
    id: "uidl",
    summary: "the run of layers over which the stream turns least is dropped",
    source: "The Unreasonable Ineffectiveness of the Deeper Layers, arXiv 2403.17887",
    planner: { id: "contiguous-block" },
    strategy: { id: "drop" },
  },
  {
    id: "sleb",
    summary: "the layers that the calibration loss misses least are dropped one by one",
    source: "SLEB: Streamlining LLMs through Redundancy Verification and Elimination, arXiv 2402.09025",
    planner: { id: "greedy-perplexity", options: { firstLayer: 0 } },
    strategy: { id: "drop" },
  },
  {
    id: "evopress-lite",
    summary: "the layers to drop are searched by mutation and selection, at one fidelity",
    source: "EvoPress: Accurate Dynamic Model Compression via Evolutionary Search, arXiv 2410.14649",
    planner: { id: "evolutionary", options: { judge: "divergence" } },
    strategy: { id: "drop" },
  },
  {
    id: "replaceme",
    summary: "a run of layers is dropped and replaced by a linear map in the layer before it",
    source:
      "ReplaceMe: Network Simplification via Depth Pruning and Transformer Block Linearization, arXiv 2505.02819",
    planner: { id: "contiguous-block" },
    strategy: { id: "drop" },
    repair: { id: "linear" },
  },
  {
    id: "linearpatch",
    summary: "a run of layers is dropped and patched by channel scales behind a Hadamard rotation",
    source: "A Simple Linear Patch Revives Layer-Pruned Large Language Models, arXiv 2505.24680",
    planner: { id: "contiguous-block" },
    strategy: { id: "drop" },
    repair: { id: "hadamard-scale" },
  },
];

export const presetIds: readonly string[] = presets.map(({ id }) => id);

/** @throws PRESET_UNKNOWN, naming the known ones */
export function preset(id: string): Preset {
  const found = presets.find((candidate) => candidate.id === id);
  if (found) return found;
  throw new LayerfoldError("PRESET_UNKNOWN", "no method of this name", {
    wanted: presetIds.join(", "),
    got: id,
  });
}
