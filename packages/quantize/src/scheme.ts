import { type DType, LayerfoldError, type Quantizer, type WeightTransform } from "@layerfold/core";
import { awq } from "./awq.js";
import { fp8 } from "./fp8.js";
import { gptq } from "./gptq.js";
import { rtn } from "./rtn.js";
import { smoothquant } from "./smoothquant.js";

/** The file format of a quantised checkpoint. */
export type QuantizedFormat = "compressed-tensors" | "gptq" | "gptq_v2" | "awq";

/** How a checkpoint is quantised: transforms, then a quantizer, then files of a format. */
export interface QuantizationScheme {
  readonly name: string;
  readonly transforms: readonly WeightTransform[];
  readonly quantizer: Quantizer;
  readonly format: QuantizedFormat;
  /** Whoever runs the model rounds every quantised linear map's input to 8 bits, token by token. */
  readonly quantizedActivations: boolean;
  /** Within a block, calibrate each linear map with what the already quantised ones before it give. */
  readonly trueSequential: boolean;
}

export interface SchemeOptions {
  /** Element type of the checkpoint's weights: compressed-tensors stores scales in it. */
  readonly dtype: DType;
  /** Default: GPTQ files for gptq (v2 where zero points differ: GPTQModel refuses such v1 files), AWQ files for awq with 4 bits, else compressed-tensors. */
  readonly format?: QuantizedFormat | undefined;
  /** Options for the plug-ins of the scheme by id, e.g. `{ gptq: { damping: 0.05 } }`; they win over what the name says. */
  readonly set?: Readonly<Record<string, Readonly<Record<string, unknown>>>> | undefined;
}

const grammar = /^(rtn|gptq|awq|smoothquant|gptq-awq|gptq-smoothquant)-w([2348])(a8)?(?:g(\d+))?(-a?sym)?$/;
const examples =
  "METHOD-wBITS[a8][gGROUP][-sym|-asym], METHOD one of rtn, gptq, awq, smoothquant, gptq-awq, gptq-smoothquant; or fp8";

/**
 * A scheme by its name: `gptq-w4g128` is GPTQ with 4-bit weights in groups of 128; `gptq-awq-w4g64` GPTQ on AWQ's scales;
 * `smoothquant-w8a8` 8-bit weights and activations; `fp8` float8 weights and activations. Without a group size a scale covers a whole
 * output channel. Symmetric unless the name says otherwise or the files are AWQ's.
 *
 * @throws SCHEME_UNKNOWN, SCHEME_FORMAT where the format cannot hold it, OPTION_UNKNOWN, OPTION_INVALID
 *
 * @example
 * ```ts
 * const scheme = schemeOf("gptq-w4g128", { dtype: "bfloat16" });
 * assert(scheme.quantizer.options.groupSize === 128);
 * assert(scheme.format === "gptq");
 * ```
 */
export function schemeOf(name: string, { dtype, format, set = {} }: SchemeOptions): QuantizationScheme {
  const scaleDtype = dtype === "float16" || dtype === "bfloat16" ? dtype : ("float32" as const);
  if (name === "fp8") {
    if (format && format !== "compressed-tensors") throw formatError(name, format);
    return {
      name,
      transforms: [],
      quantizer: fp8({ scaleDtype, ...set.fp8 }),
      format: "compressed-tensors",
      quantizedActivations: true,
      trueSequential: false,
    };
  }
  const match = grammar.exec(name);
  if (!match) throw new LayerfoldError("SCHEME_UNKNOWN", "no such scheme", { wanted: examples, got: name });
  const methods = match[1].split("-");
  const bits = Number(match[2]) as 2 | 3 | 4 | 8;
  const quantizedActivations = match[3] !== undefined;
  const isGptq = methods.includes("gptq");
  const gptqFormat = match[5] === "-asym" ? "gptq_v2" : "gptq";
  const usual = isGptq ? gptqFormat : methods[0] === "awq" && bits === 4 ? "awq" : "compressed-tensors";
  const chosen = format ?? (quantizedActivations ? "compressed-tensors" : usual);
  if (quantizedActivations && (bits !== 8 || match[4] || chosen !== "compressed-tensors"))
    throw formatError(name, chosen);
  if (chosen === "awq" && bits !== 4) throw formatError(name, chosen);
  const grid = {
    bits,
    groupSize: match[4] ? Number(match[4]) : -1,
    symmetric: match[5] ? match[5] === "-sym" : chosen !== "awq" && methods[0] !== "awq",
    rangeIncludesZero: chosen !== "awq",
    smallestZeroPoint: chosen === "gptq" ? 1 : 0,
    scaleDtype: chosen === "compressed-tensors" ? scaleDtype : "float16",
  } as const;
  const transforms: WeightTransform[] = [];
  if (methods.includes("awq")) transforms.push(awq({ ...grid, clip: !isGptq, ...set.awq }));
  if (methods.includes("smoothquant")) transforms.push(smoothquant(set.smoothquant));
  return {
    name,
    transforms,
    quantizer: isGptq ? gptq({ ...grid, ...set.gptq }) : rtn({ ...grid, ...set.rtn }),
    format: chosen,
    quantizedActivations,
    trueSequential: isGptq,
  };
}

/**
 * A scheme of plug-ins, one's own among them: weights only, in files of compressed-tensors unless another format is asked for. Codes must be such as
 * the format holds, which is seen when they are packed: compressed-tensors stores scales in the element type of the checkpoint.
 *
 * @param transforms - applied in this order, before the quantizer
 */
export function schemeOfPlugins(
  transforms: readonly WeightTransform[],
  quantizer: Quantizer,
  format: QuantizedFormat = "compressed-tensors",
): QuantizationScheme {
  return {
    name: [...transforms, quantizer].map(({ id }) => id).join("-"),
    transforms,
    quantizer,
    format,
    quantizedActivations: false,
    trueSequential: (quantizer.needs ?? []).length > 0,
  };
}

function formatError(name: string, format: QuantizedFormat): LayerfoldError {
  return new LayerfoldError("SCHEME_FORMAT", "the format cannot hold the scheme", {
    wanted:
      "gptq and gptq_v2: weight-only 2, 3, 4, 8 bits; awq: weight-only 4 bits; compressed-tensors: all, w8a8 without groups",
    got: `${name} in ${format}`,
  });
}
