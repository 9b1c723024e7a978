import { LayerfoldError } from "@layerfold/core";

/** A plug-in by id, with the options that differ from its defaults. */
export interface PresetPart {
  readonly id: string;
  readonly options?: Readonly<Record<string, unknown>>;
}

/** A named method: a planner, a strategy and, where it has them, a repair and a way of comparing layers. */
export interface Preset {
  readonly id: string;
  readonly summary: string;
  /** Where the method is published; absent for our own. */
  readonly source?: string;
  readonly planner: PresetPart;
  readonly strategy: PresetPart;
  readonly repair?: PresetPart;
  readonly embedding?: PresetPart;
  readonly measure?: PresetPart;
}

const mkaPaper =
  "Pruning via Merging: Compressing LLMs via Manifold Alignment Based Layer Merging, arXiv 2406.16330";

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
    id: "drop",
    summary: "the layers of least block influence are dropped",
    source: "ShortGPT: Layers in Large Language Models are More Redundant Than You Expect, arXiv 2403.03853",
    planner: { id: "lowest-influence" },
    strategy: { id: "drop" },
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
