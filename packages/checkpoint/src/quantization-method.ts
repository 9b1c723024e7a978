import { type DType, LayerfoldError, nameOrQuoted } from "@layerfold/core";
import { readConfig } from "./config-reader.js";
import type { ModelConfig } from "./family.js";

/** How a method stores one quantised linear map: suffixes of its tensors behind the module's name. */
export interface QuantizedForm {
  /** Holds the codes, in one of these types. */
  readonly codes: string;
  readonly dtypes: readonly DType[];
  readonly scales: string;
  /** What else may stand there; the readers know what it means. */
  readonly others: readonly string[];
}

/** Scales for what flows through a module, which no weight depends on. */
const flow = ["input_scale", "input_zero_point", "output_scale", "output_zero_point", "k_scale", "v_scale"];

/** What `quantize` has readers for, by `quant_method`. */
const methods: Readonly<Record<string, readonly QuantizedForm[]>> = {
  gptq: [{ codes: "qweight", dtypes: ["int32"], scales: "scales", others: ["qzeros", "g_idx"] }],
  awq: [{ codes: "qweight", dtypes: ["int32"], scales: "scales", others: ["qzeros"] }],
  "compressed-tensors": [
    {
      codes: "weight_packed",
      dtypes: ["int32"],
      scales: "weight_scale",
      others: ["weight_shape", "weight_zero_point", "weight_g_idx", ...flow],
    },
    {
      codes: "weight",
      dtypes: ["int8", "float8_e4m3"],
      scales: "weight_scale",
      others: ["weight_zero_point", ...flow],
    },
  ],
  // Blocks of rows and columns as DeepSeek and Qwen have them, and one scale per tensor or row.
  fp8: [
    {
      codes: "weight",
      dtypes: ["float8_e4m3"],
      scales: "weight_scale_inv",
      others: ["activation_scale", ...flow],
    },
    { codes: "weight", dtypes: ["float8_e4m3"], scales: "weight_scale", others: flow },
  ],
};

/**
 * How the linear maps of a checkpoint may be stored, by its config's `quant_method`; none where it says nothing.
 * @throws CONFIG_INVALID, QUANTIZATION_UNSUPPORTED for a method that has no reader
 */
export function quantizedForms(config: ModelConfig): readonly QuantizedForm[] {
  const quantization = readConfig(config).object("quantization_config");
  if (!quantization) return [];
  const method = nameOrQuoted(quantization.quant_method);
  if (Object.hasOwn(methods, method)) return methods[method];
  throw new LayerfoldError("QUANTIZATION_UNSUPPORTED", "cannot read this quantisation", {
    wanted: `a quant_method among ${Object.keys(methods).join(", ")}`,
    got: describe(quantization),
    where: "config.json, quantization_config",
  });
}

/** The method as people call it. */
function describe(quantization: ModelConfig): string {
  const { quant_method: method, load_in_4bit, bnb_4bit_quant_type, quant_algo } = quantization;
  const kind =
    method === "bitsandbytes" ? (load_in_4bit ? (bnb_4bit_quant_type ?? "4-bit") : "int8") : quant_algo;
  return [method ?? "none named", kind].filter(Boolean).map(nameOrQuoted).join(" ");
}

/** Types of the tensors of one module by suffix. */
export type ModuleParts = ReadonlyMap<string, DType>;

/** The form in which a module is stored; undefined where it is not quantised, or in none that the method knows. */
export function formOf(forms: readonly QuantizedForm[], parts: ModuleParts): QuantizedForm | undefined {
  const fitting = forms.filter(({ codes, dtypes }) => dtypes.includes(parts.get(codes) as DType));
  return fitting.find(({ scales }) => parts.has(scales)) ?? fitting[0];
}

/** Tensors by module: `model.norm.weight` is the part `weight` of `model.norm`. */
export function modulesOf(
  tensors: ReadonlyMap<string, { readonly dtype: DType }>,
): ReadonlyMap<string, ModuleParts> {
  const modules = new Map<string, Map<string, DType>>();
  for (const [name, { dtype }] of tensors) {
    const end = name.lastIndexOf(".");
    const module = name.slice(0, end);
    const parts = modules.get(module) ?? new Map<string, DType>();
    modules.set(module, parts.set(name.slice(end + 1), dtype));
  }
  return modules;
}

/** Names of the quantised modules of an opened checkpoint, e.g. `model.layers.0.mlp.down_proj`. */
export function quantizedModules(checkpoint: {
  readonly config: ModelConfig;
  readonly tensors: ReadonlyMap<string, { readonly dtype: DType }>;
}): string[] {
  const forms = quantizedForms(checkpoint.config);
  if (forms.length === 0) return [];
  return [...modulesOf(checkpoint.tensors)].flatMap(([name, parts]) => (formOf(forms, parts) ? [name] : []));
}
