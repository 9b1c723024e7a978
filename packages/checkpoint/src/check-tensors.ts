import type { Architecture, DType } from "@layerfold/core";
import { LayerfoldError, type RunContext } from "@layerfold/core";
import type { StoredTensor } from "./checkpoint.js";
import { readConfig } from "./config-reader.js";
import type { Family, ModelConfig } from "./family.js";
import { type LayerNaming, layerOf } from "./layer-name.js";
import {
  formOf,
  type ModuleParts,
  modulesOf,
  type QuantizedForm,
  quantizedForms,
} from "./quantization-method.js";

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

/** What `checkTensors` must know of a tensor. */
type Stated = Pick<StoredTensor, "dtype" | "shape">;

/**
 * Holds a config's layer count against the tensors, before anything is built of it.
 * @throws LAYER_MISSING, CONFIG_INVALID
 */
export function checkLayerCount(
  family: LayerNaming & Pick<Family, "layerCountField">,
  config: ModelConfig,
  names: Iterable<string>,
  where: string,
): void {
  const count = readConfig(config).count(family.layerCountField);
  const layers = new Set<number | undefined>();
  for (const name of names) layers.add(layerOf(family, name));
  layers.delete(undefined);
  if (layers.size >= count) return;
  let missing = 0;
  while (layers.has(missing)) missing++;
  throw new LayerfoldError("LAYER_MISSING", `the weights have no layer ${missing}`, {
    wanted: `${count} layers`,
    got: `${layers.size}`,
    where,
  });
}

/**
 * Holds tensors against a config: nothing may be missing or of another shape, and all must be floating-point numbers but for the
 * linear maps that are stored in a form of the config's quantisation. What is not used is reported, but for known buffers; what
 * stands beside a linear map's weight without a reader (a scale, say) would change its meaning, and is refused.
 *
 * @throws TENSOR_MISSING, LAYER_MISSING, TENSOR_SHAPE, QUANTIZATION_UNSUPPORTED, QUANTIZED_TENSOR_INVALID
 */
export function checkTensors(
  family: Family,
  config: ModelConfig,
  architecture: Architecture,
  tensors: ReadonlyMap<string, Stated>,
  where: string,
  report?: RunContext["report"],
): void {
  const layers = new Set<number | undefined>();
  for (const name of tensors.keys()) layers.add(layerOf(family, name));
  const used = new Set<string>();
  const forms = quantizedForms(config);
  const modules = modulesOf(tensors);
  const linears = new Set<string>();

  for (const [name, shape] of wantedTensors(architecture)) {
    const found = tensors.get(name);
    if (shape.length === 2 && name.endsWith(".weight")) {
      const module = name.slice(0, -".weight".length);
      linears.add(module);
      const parts = modules.get(module);
      const form = parts && formOf(forms, parts);
      if (form) {
        for (const part of checkedModule(module, form, parts, found, shape, where)) used.add(part);
        continue;
      }
      const other = parts && [...parts.keys()].find((part) => part !== "bias");
      if (!found && other) throw unreadable(`${module}.${other}`, parts.get(other)!, where);
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
    if (!isPlain(found.dtype)) throw unreadable(name, found.dtype, where);
    checkShape(name, shape, found.shape, where);
    used.add(name);
  }
  reportUnused(architecture, tensors, used, linears, where, report);
}

/** Names of a quantised module's tensors, all of which the form knows. */
function checkedModule(
  module: string,
  { codes, scales, others }: QuantizedForm,
  parts: ModuleParts,
  weight: Stated | undefined,
  shape: readonly number[],
  where: string,
): string[] {
  if (!parts.has(scales)) {
    throw new LayerfoldError("QUANTIZED_TENSOR_INVALID", `the weights lack ${module}.${scales}`, {
      wanted: `the scales of ${module}.${codes}`,
      where,
    });
  }
  if (codes === "weight" && weight) checkShape(`${module}.weight`, shape, weight.shape, where);
  const known = new Set([codes, scales, "bias", ...others]);
  for (const [part, dtype] of parts)
    if (!known.has(part)) throw unreadable(`${module}.${part}`, dtype, where);
  return Array.from(parts.keys(), (part) => `${module}.${part}`);
}

function checkShape(name: string, wanted: readonly number[], got: readonly number[], where: string): void {
  if (got.length === wanted.length && got.every((n, axis) => n === wanted[axis])) return;
  throw new LayerfoldError("TENSOR_SHAPE", `the config asks for another shape of ${name}`, {
    wanted: `[${wanted.join(", ")}]`,
    got: `[${got.join(", ")}]`,
    where,
  });
}

/** Whether the values themselves are stored, and not codes for them. */
function isPlain(dtype: DType): boolean {
  return dtype === "bfloat16" || dtype === "float16" || dtype === "float32" || dtype === "float64";
}

function unreadable(name: string, dtype: DType, where: string): LayerfoldError {
  return new LayerfoldError(
    "QUANTIZATION_UNSUPPORTED",
    `nothing that the config says tells how to read ${name}`,
    {
      wanted: "floating-point weights, or a quantization_config that says how they are stored",
      got: dtype,
      where,
    },
  );
}

function reportUnused(
  architecture: Architecture,
  tensors: ReadonlyMap<string, Stated>,
  used: ReadonlySet<string>,
  linears: ReadonlySet<string>,
  where: string,
  report?: RunContext["report"],
): void {
  const extra = [...tensors.keys()].filter((name) => !used.has(name) && !legacyBuffer.test(name));
  for (const name of extra) {
    if (name.endsWith(".bias") || !isBeside(name, linears)) continue;
    throw unreadable(name, tensors.get(name)!.dtype, where);
  }
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

/** Whether a tensor belongs to one of these modules, as `q_proj.weight.absmax` does to `q_proj`. */
function isBeside(name: string, modules: ReadonlySet<string>): boolean {
  for (let end = name.lastIndexOf("."); end > 0; end = name.lastIndexOf(".", end - 1)) {
    if (modules.has(name.slice(0, end))) return true;
  }
  return false;
}
