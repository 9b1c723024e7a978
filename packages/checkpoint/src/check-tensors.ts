import type { Architecture } from "@layerfold/core";
import { LayerfoldError, type RunContext } from "@layerfold/core";
import type { Family, ModelConfig } from "./family.js";
import { layerOf } from "./layer-name.js";

/** Buffers that old versions of transformers saved; they are computed, not learned. */
const legacyBuffer =
  /\.(rotary_emb\.(inv_freq|cos_cached|sin_cached)|attn\.(bias|masked_bias)|attention\.(bias|masked_bias))$/;

/** Every tensor that the architecture uses, with the shape that the config asks for. */
export function* wantedTensors(
  architecture: Architecture,
): Generator<[name: string, shape: readonly number[]]> {
  yield* architecture.globals;
  for (const block of architecture.blocks) {
    for (const [role, name] of block.tensors) yield [name, block.shapes.get(role)!];
  }
}

/**
 * Holds tensors against a config: nothing may be missing or of another shape. What is not used is reported, but for known buffers.
 * Where the config says that the weights are quantised, a linear map's `weight` may be packed (other shape, or other names beside it).
 *
 * @throws TENSOR_MISSING, LAYER_MISSING, TENSOR_SHAPE
 */
export function checkTensors(
  family: Family,
  config: ModelConfig,
  architecture: Architecture,
  tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>,
  where: string,
  report?: RunContext["report"],
): void {
  const layers = new Set<number | undefined>();
  for (const name of tensors.keys()) layers.add(layerOf(family, name));
  const used = new Set<string>();
  const quantized = config.quantization_config != null;
  const modules = new Map<string, string[]>();
  if (quantized)
    for (const name of tensors.keys())
      modules.set(moduleOf(name), [...(modules.get(moduleOf(name)) ?? []), name]);

  for (const [name, shape] of wantedTensors(architecture)) {
    const found = tensors.get(name);
    const packed = quantized && shape.length === 2 ? modules.get(moduleOf(name)) : undefined;
    if (packed) {
      for (const part of packed) used.add(part);
      continue;
    }
    if (!found) {
      const layer = layerOf(family, name);
      if (layer !== undefined && !layers.has(layer)) {
        throw new LayerfoldError("LAYER_MISSING", `the weights have no layer ${layer}`, {
          wanted: `${architecture.blocks.length} layers, and among them ${name}`,
          where,
        });
      }
      throw new LayerfoldError("TENSOR_MISSING", `the weights lack ${name}`, {
        wanted: `[${shape.join(", ")}]`,
        where,
      });
    }
    if (found.shape.length !== shape.length || found.shape.some((n, axis) => n !== shape[axis])) {
      throw new LayerfoldError("TENSOR_SHAPE", `the config asks for another shape of ${name}`, {
        wanted: `[${shape.join(", ")}]`,
        got: `[${found.shape.join(", ")}]`,
        where,
      });
    }
    used.add(name);
  }
  const extra = [...tensors.keys()].filter((name) => !used.has(name) && !legacyBuffer.test(name));
  // A tied head that was saved as a copy of the embedding is no surprise either.
  const surprises = architecture.head.tied ? extra.filter((name) => name !== "lm_head.weight") : extra;
  if (surprises.length > 0) {
    report?.({
      type: "diagnostic",
      severity: "warning",
      code: "TENSORS_UNUSED",
      message: `${surprises.length} tensors are not used and will not be written: ${surprises.slice(0, 4).join(", ")}${surprises.length > 4 ? ", …" : ""}`,
    });
  }
}

function moduleOf(tensor: string): string {
  return tensor.slice(0, tensor.lastIndexOf("."));
}
