import type { BlockSpec } from "./architecture.js";
import type { Hidden, TokenBatch } from "./batch.js";
import type { Matrix, Tensor } from "./tensor.js";

/**
 * What a tensor of a block is for, independent of a family's file names. Weights of linear maps lie as the checkpoint has them;
 * the architecture says whether that is [out, in] or [in, out]. Roles in use:
 * `norm.attention`, `norm.attention.post`, `norm.mlp`, `norm.mlp.post`,
 * `attention.query`, `attention.key`, `attention.value`, `attention.qkv`, `attention.output`, `attention.query_norm`, `attention.key_norm`,
 * `mlp.gate`, `mlp.up`, `mlp.gate_up`, `mlp.down`, `router`, `experts.N.gate|up|down`, `mamba.*`; a bias is the role with `.bias`.
 */
export type Role = string;

/** One block's tensors by role, decoded to float32. */
export interface BlockView {
  /** Index in the model that it was read from. */
  readonly layer: number;
  /** Two blocks can stand for one another only if their types and tensor shapes agree. */
  readonly type: string;
  /** How the tensors lie and what they are for; whatever takes heads or neurons apart asks for it. */
  readonly spec?: BlockSpec;
  readonly tensors: ReadonlyMap<Role, Tensor>;
}

/**
 * A value inside a block that can be returned beside its output, [batch, sequence, …] float32:
 * `attention.input` (what q, k, v read: after the norm) · `attention.heads` (what the output projection reads, [.., heads·headSize]) ·
 * `attention.update` (what attention adds to the stream) · `residual.mid` (the stream between attention and MLP; the block's input in
 * parallel layouts) · `mlp.input` (what gate and up read: after the norm) · `mlp.hidden` (what the down projection reads) ·
 * `mlp.update` (what the MLP adds to the stream) · `experts.N.hidden` (what expert N's down projection reads; zeros for tokens that did
 * not choose it).
 */
export type Tap =
  | "attention.input"
  | "attention.heads"
  | "attention.update"
  | "residual.mid"
  | "mlp.input"
  | "mlp.hidden"
  | "mlp.update"
  | `experts.${number}.hidden`;

export interface BlockOutput {
  /** The residual stream after the block. */
  readonly hidden: Hidden;
  readonly taps: ReadonlyMap<Tap, Tensor<Float32Array>>;
}

/** Runs a decoder block by block; at most a few blocks' weights are in memory at a time. */
export interface ModelRunner {
  readonly layerCount: number;
  readonly hiddenSize: number;
  readonly vocabularySize: number;
  /** The stream before block 0. */
  embed(batch: TokenBatch): Promise<Hidden>;
  /**
   * Runs one block.
   * @param layer - 0 … layerCount−1
   * @param options.replace - run these tensors in place of the layer's own (same roles, types and, but for widths inside the block, shapes)
   * @param options.taps - inner values to return
   * @param options.tapsOnly - leave out what no tap needs; `hidden` is then unspecified
   * @param options.given - inner values as an earlier run of these tensors gave them: what only they need may be left out
   */
  runBlock(
    layer: number,
    input: Hidden,
    options?: {
      readonly replace?: BlockView | undefined;
      readonly taps?: readonly Tap[] | undefined;
      readonly tapsOnly?: boolean | undefined;
      readonly given?: ReadonlyMap<Tap, Tensor<Float32Array>> | undefined;
    },
  ): Promise<BlockOutput>;
  /** Final norm and vocabulary projection: logits [batch, sequence, vocabulary] float32. */
  head(hidden: Hidden): Promise<Tensor<Float32Array>>;
  /**
   * log p(targets[i] | rows[i]) in nats; few logits are in memory, and none are returned.
   * @param rows - [count, hidden] of the stream behind the last block
   */
  logProbabilities(rows: Matrix<Float32Array>, targets: Int32Array): Promise<Float32Array>;
  /** The block's tensors, read from the checkpoint when asked. */
  block(layer: number): Promise<BlockView>;
  close(): Promise<void>;
}
