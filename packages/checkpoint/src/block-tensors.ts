import type { BlockSpec, NormSpec, Role } from "@layerfold/core";

/** Collects the tensors of one block, by role, while a family reads its config. */
export interface BlockTensors {
  readonly tensors: Map<Role, string>;
  readonly shapes: Map<Role, readonly number[]>;
  readonly linearLayout: BlockSpec["linearLayout"];
  /** One tensor; `name` is relative to the block, e.g. "mamba.A_log". */
  add(role: Role, name: string, shape: readonly number[]): void;
  /** A linear map: `module`.weight in the block's layout, and `module`.bias where `bias` is set. */
  linear(role: Role, module: string, outputs: number, inputs: number, bias?: boolean): void;
  /** A norm's parameters; returns the spec with roles filled in. */
  norm(role: Role, module: string, size: number, shape: NormShape): NormSpec;
}

/** A norm before its tensors are named. */
export interface NormShape {
  readonly kind: NormSpec["kind"];
  readonly epsilon: number;
  /** Default 0. */
  readonly weightOffset?: number;
  /** Whether it has learned parameters at all; default true. */
  readonly affine?: boolean;
  /** Whether it has a bias; default false. */
  readonly bias?: boolean;
}

/** @param prefix - what the names of the block's tensors begin with, e.g. "model.layers.3." */
export function blockTensors(
  prefix: string,
  linearLayout: BlockSpec["linearLayout"] = "out-in",
): BlockTensors {
  const tensors = new Map<Role, string>();
  const shapes = new Map<Role, readonly number[]>();
  const add = (role: Role, name: string, shape: readonly number[]) => {
    tensors.set(role, prefix + name);
    shapes.set(role, shape);
  };
  return {
    tensors,
    shapes,
    linearLayout,
    add,
    linear(role, module, outputs, inputs, bias = false) {
      add(role, `${module}.weight`, linearLayout === "out-in" ? [outputs, inputs] : [inputs, outputs]);
      if (bias) add(`${role}.bias`, `${module}.bias`, [outputs]);
    },
    norm(role, module, size, { kind, epsilon, weightOffset = 0, affine = true, bias = false }) {
      if (!affine) return { kind, epsilon, weightOffset };
      add(role, `${module}.weight`, [size]);
      if (!bias) return { kind, epsilon, weightOffset, weight: role };
      add(`${role}.bias`, `${module}.bias`, [size]);
      return { kind, epsilon, weightOffset, weight: role, bias: `${role}.bias` };
    },
  };
}
