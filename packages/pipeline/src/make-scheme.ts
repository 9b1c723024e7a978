import type { Checkpoint } from "@layerfold/checkpoint";
import type { Quantizer, WeightTransform } from "@layerfold/core";
import {
  type QuantizationScheme,
  type QuantizedFormat,
  schemeOf,
  schemeOfPlugins,
} from "@layerfold/quantize";
import { isModulePath } from "./module-path.js";
import { makePlugin } from "./registry.js";
import type { Run } from "./run.js";

/**
 * A scheme by its name (`gptq-w4g128`; settings of `quantizer` are those of the method that the name begins with), or of plug-ins, one's own by path
 * among them: `./my-quantizer.ts`, or transforms before a quantizer, `smoothquant,./my-quantizer.ts`. Those take their settings from `transform`
 * and `quantizer`.
 *
 * @throws SCHEME_UNKNOWN, SCHEME_FORMAT, OPTION_UNKNOWN, OPTION_INVALID, PLUGIN_UNKNOWN, PLUGIN_MODULE
 */
export async function makeScheme(
  name: string,
  { dtype }: Pick<Checkpoint, "dtype">,
  format: QuantizedFormat | undefined,
  { settings }: Pick<Run, "settings">,
): Promise<QuantizationScheme> {
  const parts = name.split(",");
  const options = settings.of("quantizer");
  if (parts.length === 1 && !isModulePath(name)) {
    return schemeOf(name, { dtype, format, set: { [name.split("-")[0]]: options } });
  }
  const transforms: WeightTransform[] = [];
  for (const part of parts.slice(0, -1)) {
    transforms.push(await makePlugin<WeightTransform>("transform", part, settings.of("transform")));
  }
  const quantizer = await makePlugin<Quantizer>("quantizer", parts[parts.length - 1], options);
  return schemeOfPlugins(transforms, quantizer, format);
}
