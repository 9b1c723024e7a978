import type { Architecture, BlockView, DType, Tensor } from "@layerfold/core";
import type { Family, ModelConfig } from "./family.js";

/** Where one tensor lies on disk. */
export interface StoredTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Absolute path with symbolic links resolved. */
  readonly file: string;
  /** From the start of the file. */
  readonly byteOffset: number;
  readonly byteLength: number;
}

/** An opened checkpoint. Nothing but headers and configs is in memory; tensors are read when asked. */
export interface Checkpoint {
  readonly directory: string;
  readonly config: ModelConfig;
  readonly family: Family;
  readonly architecture: Architecture;
  /** Element type of the blocks' largest floating-point weights. */
  readonly dtype: DType;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Values as float32. @throws TENSOR_MISSING */
  read(name: string): Promise<Tensor<Float32Array>>;
  /** The stored bytes. @throws TENSOR_MISSING */
  readBytes(name: string): Promise<Uint8Array>;
  /** All of a block's tensors by role, float32. */
  block(layer: number): Promise<BlockView>;
  /** SHA-256 over config and tensor bytes, hex; reads every byte once, then remembered. */
  fingerprint(): Promise<string>;
  close(): Promise<void>;
}
