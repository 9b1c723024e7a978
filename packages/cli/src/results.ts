/** One measured model. Ratios are shares removed, 0 … 1; tied weights are counted once. What was not measured is null. */
export interface ResultRow {
  readonly id: string;
  /** For people. */
  readonly label: string;
  readonly method: string;
  readonly planner: string | null;
  readonly strategy: string | null;
  readonly repair: string | null;
  /** Layers of the dense model that no longer stand alone: all of a group but the layer whose place it takes. */
  readonly removed_layers: readonly number[];
  readonly num_hidden_layers: number;
  readonly layer_ratio: number;
  readonly parameter_ratio: number;
  readonly perplexity: number | null;
  readonly perplexity_ratio: number | null;
  /** Mean nats per token, KL(dense ‖ this). */
  readonly kl_to_dense: number | null;
  readonly accuracy: number | null;
  readonly accuracy_stderr: number | null;
  readonly seconds: number;
  /** Largest resident size of the process so far. */
  readonly peak_rss_bytes: number;
  /** Id of the row that this row is the control of. */
  readonly control: string | null;
}
