import type { Checkpoint, PiecewiseTensor, StoredReader, StoredTensor } from "@layerfold/checkpoint";
import {
  bytesPerElement,
  combineFloats,
  type MergeStrategy,
  type PlanGroup,
  type Role,
} from "@layerfold/core";
import { queryFactor } from "./attention-scale.js";
import { rolesOf, silencedRoles } from "./repairs/scaled-updates.js";

/** A tensor of the checkpoint and its factor in a sum; one of factor 0 is only held to be finite. */
export interface StoredTerm {
  readonly stored: StoredTensor;
  readonly factor: number;
}

/**
 * The sums that a group's tensors are, so that they can be formed piece by piece; undefined where only the whole block can be made: by a
 * strategy without `coefficients`, of layers that differ in more than their values, or of weights that are no plain floats.
 *
 * @throws as the strategy's `coefficients`, and as `queryFactor`
 */
export function linearTerms(
  { architecture: { blocks }, config, tensors }: Pick<Checkpoint, "architecture" | "config" | "tensors">,
  { layers, weights = layers.map(() => 1 / layers.length), without }: PlanGroup,
  strategy: MergeStrategy,
): ReadonlyMap<Role, readonly StoredTerm[]> | undefined {
  const specs = layers.map((layer) => blocks[layer]);
  const [first, ...others] = specs;
  if (config.quantization_config != null || others.some((spec) => queryFactor(spec, first) !== 1))
    return undefined;
  const roles = [...first.tensors.keys()];
  let factorsOf: (role: Role) => readonly number[];
  if (without) {
    const silenced = silencedRoles(first, without);
    const every = without.every((part) => roles.some((role) => rolesOf[part].test(role)));
    if (!silenced || !every) return undefined;
    factorsOf = (role) => [silenced(role) ? 0 : 1];
  } else {
    const { coefficients } = strategy;
    if (!coefficients) return undefined;
    factorsOf = (role) => coefficients(weights, role);
  }
  const terms = new Map<Role, readonly StoredTerm[]>();
  for (const role of roles) {
    const stored = specs.map((spec) => tensors.get(spec.tensors.get(role) ?? ""));
    const shape = stored[0]?.shape.join();
    if (!stored.every((tensor) => tensor && isFloat.test(tensor.dtype) && tensor.shape.join() === shape))
      return undefined;
    const factors = factorsOf(role);
    terms.set(
      role,
      stored.map((tensor, i) => ({ stored: tensor!, factor: factors[i] })),
    );
  }
  return terms;
}

const isFloat = /^b?float(16|32|64)$/;

/** Makes tensors of stored ones, piece by piece. */
export interface LinearTensors {
  /**
   * A sum of stored tensors of one shape, as bytes of the first one's element type.
   * @param whole - the same made at once: asked where a value is not finite or does not fit, for the error that says where, or for what fits
   * after all
   */
  sum(name: string, terms: readonly StoredTerm[], whole: () => Promise<Uint8Array>): PiecewiseTensor;
  /** A stored tensor's bytes, under another name. */
  copy(name: string, stored: StoredTensor): PiecewiseTensor;
}

/** Memory: the pieces of all terms, for as many pieces as are written at a time. */
export function linearTensors(reader: StoredReader): LinearTensors {
  // Buffers of pieces that are done: new ones would have to be cleared and mapped each time.
  const spare: Uint8Array[] = [];
  const take = (length: number) => {
    const found = spare.findIndex((buffer) => buffer.length >= length);
    return found < 0 ? new Uint8Array(length) : spare.splice(found, 1)[0];
  };
  return {
    sum(name, terms, whole) {
      const [{ stored }] = terms;
      const { dtype, shape } = stored;
      return {
        name,
        dtype,
        shape,
        async fill(target, start) {
          const size = bytesPerElement(dtype);
          const buffers: Uint8Array[] = [];
          const parts = terms.map(async ({ stored, factor }) => {
            const each = bytesPerElement(stored.dtype);
            const length = (target.length / size) * each;
            const buffer = take(length);
            buffers.push(buffer);
            const bytes = buffer.subarray(0, length);
            await reader.bytes(stored, bytes, (start / size) * each);
            return { bytes, dtype: stored.dtype, factor };
          });
          if (!combineFloats(await Promise.all(parts), dtype, target)) {
            target.set((await whole()).subarray(start, start + target.length));
          }
          spare.push(...buffers);
        },
      };
    },
    copy(name, stored) {
      const { dtype, shape } = stored;
      const fill = (target: Uint8Array, start: number) => reader.bytes(stored, target, start);
      return { name, dtype, shape, copyOf: stored, fill };
    },
  };
}
