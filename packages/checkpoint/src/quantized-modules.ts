import { LayerfoldError } from "@layerfold/core";
import type { Family, ModelConfig } from "./family.js";
import { layerOf, renamedTensor } from "./layer-name.js";

/**
 * A quantization_config whose module names follow the layers: `ignore`, `ignored_layers`, `modules_to_not_convert`, the `targets` of the config groups,
 * and the patterns of GPTQ's `dynamic`. Names of removed layers leave.
 *
 * @throws CONFIG_CANNOT_EXPRESS for a pattern that names layers by anything but one plain number
 */
export function renameQuantizedModules(
  family: Family,
  quantization: ModelConfig,
  kept: readonly number[],
): ModelConfig {
  const rename = (name: string) => renamedModule(family, name, kept);
  const result: Record<string, unknown> = { ...quantization };
  for (const field of ["ignore", "ignored_layers", "modules_to_not_convert"]) {
    const names = quantization[field];
    if (Array.isArray(names)) result[field] = names.flatMap(rename);
  }
  const groups = quantization.config_groups as Record<string, { targets?: string[] }> | undefined;
  if (groups) {
    result.config_groups = Object.fromEntries(
      Object.entries(groups).map(([id, group]) => [
        id,
        { ...group, targets: group.targets?.flatMap(rename) },
      ]),
    );
  }
  const dynamic = quantization.dynamic as Record<string, unknown> | null | undefined;
  if (dynamic) {
    result.dynamic = Object.fromEntries(
      Object.entries(dynamic).flatMap(([pattern, value]) => rename(pattern).map((name) => [name, value])),
    );
  }
  return result;
}

/** No name where the layer is gone. Patterns begin with `re:`, `+:` or `-:`; a dynamic key without a prefix is a pattern too. */
function renamedModule(family: Family, name: string, kept: readonly number[]): string[] {
  const layer = layerOf(family, name);
  if (layer !== undefined) {
    const index = kept.indexOf(layer);
    return index < 0 ? [] : [renamedTensor(family, name, index)!];
  }
  // A layer's number in a pattern follows `layers\\.` or, as in `.*\\.3\\..*`, no word at all; `experts\\.3` is none.
  const stem = family.layerPrefix.replace(/\.$/, "").split(".").at(-1)!;
  const before = `(?<=(?:^|\\b${stem}|[^\\w\\\\])\\\\?\\.)`;
  if (new RegExp(`${before}[([][^)\\]]*\\d`).test(name)) {
    throw new LayerfoldError(
      "CONFIG_CANNOT_EXPRESS",
      "a quantisation pattern names several layers by number",
      {
        wanted: `a pattern with one number, or ${stem}\\.\\d+`,
        got: name,
        where: "config.json, quantization_config",
      },
    );
  }
  let gone = false;
  const renamed = name.replace(new RegExp(`${before}\\d+(?=\\\\?\\.|\\$|$)`, "g"), (number) => {
    const index = kept.indexOf(Number(number));
    gone ||= index < 0;
    return String(index);
  });
  return gone ? [] : [renamed];
}
