import type { Quantizer, WeightTransform } from "@layerfold/core";
import type { QuantizationScheme, QuantizedFormat } from "@layerfold/quantize";
import { type PluginReference, pluginOf, referenceOf } from "../plugin-reference.js";

/** A scheme as a task names it among its parameters. */
export type SchemeReference = {
  readonly name: string;
  readonly transforms: readonly PluginReference[];
  readonly quantizer: PluginReference;
  readonly format: QuantizedFormat;
  readonly quantized_activations: boolean;
  readonly true_sequential: boolean;
};

export function schemeReference(scheme: QuantizationScheme): SchemeReference {
  return {
    name: scheme.name,
    transforms: scheme.transforms.map(referenceOf),
    quantizer: referenceOf(scheme.quantizer),
    format: scheme.format,
    quantized_activations: scheme.quantizedActivations,
    true_sequential: scheme.trueSequential,
  };
}

/** @throws PLUGIN_CODE, PLUGIN_UNKNOWN where this process has not the plug-ins, or others */
export function schemeOfReference(reference: SchemeReference): QuantizationScheme {
  return {
    name: reference.name,
    transforms: reference.transforms.map((transform) => pluginOf<WeightTransform>(transform)),
    quantizer: pluginOf<Quantizer>(reference.quantizer),
    format: reference.format,
    quantizedActivations: reference.quantized_activations,
    trueSequential: reference.true_sequential,
  };
}
