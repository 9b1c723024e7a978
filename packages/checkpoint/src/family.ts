import type { Architecture } from "@layerfold/core";

/** config.json as it stands. */
export type ModelConfig = Readonly<Record<string, unknown>>;

/** How the tensors of one checkpoint are named. */
export interface NamingOptions {
  /** The names lack the family's base prefix ("h.0.…" for "transformer.h.0.…"), as in checkpoints saved from the bare decoder. */
  readonly bare?: boolean;
}

/** One architecture family: how its config reads, and how the config changes when layers go. One file each, in `families/`. */
export interface Family {
  /** The `model_type` values that it covers. */
  readonly modelTypes: readonly string[];
  /** What the names of all tensors but the head's begin with, e.g. "model."; a bare decoder's checkpoint lacks it. */
  readonly basePrefix: string;
  /** What stands between `basePrefix` and the layer's number, e.g. "layers.". */
  readonly layerPrefix: string;
  /** Config field that counts the layers, e.g. `num_hidden_layers`. */
  readonly layerCountField: string;
  /** Reads the config. @throws CONFIG_INVALID where it contradicts itself, CONFIG_UNSUPPORTED for a variant that is not built */
  architecture(config: ModelConfig, naming?: NamingOptions): Architecture;
  /**
   * Writes out what the family derives from the layer's index (layer types and the like), from the original indices, so that the
   * generic re-indexing of `keepLayers` can slice it. Absent where nothing is derived.
   * @throws CONFIG_CANNOT_EXPRESS where the type cannot say which layers `kept` names
   */
  materialize?(config: ModelConfig, kept: readonly number[]): ModelConfig;
}
