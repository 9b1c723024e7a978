import { LayerfoldError, quoted, z } from "@layerfold/core";
import type { ModelConfig } from "./family.js";

const names = z.array(z.string(), "a list of names").nullish();
const part = z.looseObject({}, "an object").nullish();
const group = z.looseObject(
  { targets: names, weights: part, input_activations: part, output_activations: part },
  "an object",
);
const schema = z.looseObject(
  {
    ignore: names,
    modules_to_not_convert: names,
    config_groups: z.record(z.string(), group, "an object").nullish(),
    dynamic: z.record(z.string(), z.unknown(), "an object").nullish(),
  },
  "an object",
);

/**
 * Holds the lists and groups of a quantization_config to the types that all who read them rely on. What it means is not looked at.
 * @throws CONFIG_INVALID naming the field
 */
export function checkQuantization({ quantization_config: quantization }: ModelConfig): void {
  if (quantization == null) return;
  const parsed = schema.safeParse(quantization);
  if (parsed.success) return;
  const { path, message } = parsed.error.issues[0];
  const got = path.reduce<unknown>(
    (value, key) => (value as Record<PropertyKey, unknown>)[key],
    quantization,
  );
  const field = ["quantization_config", ...path].join(".");
  throw new LayerfoldError("CONFIG_INVALID", `cannot use ${field}`, {
    wanted: typeof path.at(-1) === "number" ? "a name" : message,
    got: quoted(got).slice(0, 200),
    where: `config.json, ${field}`,
  });
}
