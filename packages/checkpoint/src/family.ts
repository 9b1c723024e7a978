import type { Architecture } from "./architecture.js";

/** config.json as it stands. */
export type ModelConfig = Readonly<Record<string, unknown>>;

/** One architecture family: how its config reads, and how the config changes when layers go. One file each, in `families/`. */
export interface Family {
  /** The `model_type` values that it covers. */
  readonly modelTypes: readonly string[];
  /** Reads the config; throws CONFIG_INVALID where it contradicts itself. */
  architecture(config: ModelConfig): Architecture;
  /**
   * Name that tensor `name` of layer `from` bears in layer `to`; undefined for a tensor that stands outside the blocks.
   * Also how a tensor's layer is found.
   */
  readonly blockPrefix: RegExp;
  /** Config field that counts the layers, e.g. `num_hidden_layers`. */
  readonly layerCountField: string;
  /**
   * The config of the model that keeps these layers (ascending indices of the original); count, per-layer lists, index lists and
   * thresholds all follow. Throws CONFIG_CANNOT_EXPRESS where the type cannot say it. Absent: the generic re-indexing is enough.
   */
  reindexConfig?(config: ModelConfig, kept: readonly number[]): ModelConfig;
}
